"""Where and with what a cell ran: the columns that every Record carries beside its numbers."""

from __future__ import annotations

import functools
import hashlib
import platform
import socket
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import torch

import adaprob_ray


@functools.cache
def _git(*arguments: str) -> str:
    """What git says of the checkout that this package runs from; "" outside one, or where it failed."""
    root = Path(adaprob_ray.__file__).parents[1]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@functools.cache
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


@functools.cache
def _source_digest() -> str:
    """Of every source file of this package, whatever its checkout says of itself."""
    root = Path(adaprob_ray.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def fingerprint(where: Mapping[str, Any]) -> str:
    """Of all that decides a training's bits beside its cell: the source, the device, the threads, the libraries.

    `where`: what `provenance` says.
    """
    words = [f"{name} {where[name]}" for name in ("device", "threads", "torch_version", "numpy_version")]
    cpu = torch.backends.cpu.get_cpu_capability()
    return hashlib.sha256("\n".join([_source_digest(), cpu, *words]).encode()).hexdigest()


def device_words(device: torch.device) -> str:
    """The card's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({_processor()})"


def provenance(device: torch.device, *, threads: int, exclusive: bool) -> dict[str, Any]:
    """commit, started_at, host, device, exclusive, threads and versions. A dirty checkout says so in `run_dirty`."""
    # An installed package may lie below somebody else's checkout: only one that tracks this file is ours.
    ours = bool(_git("ls-files", "--error-unmatch", adaprob_ray.__file__))
    return {
        "commit": (ours and _git("rev-parse", "HEAD")) or f"version {adaprob_ray.__version__}",
        "run_dirty": ours and bool(_git("status", "--porcelain", "--untracked-files=no")),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "device": device_words(device),
        "exclusive": exclusive,
        "threads": threads,
        "python_version": platform.python_version(),
        "torch_version": torch.__version__,
        "numpy_version": numpy.__version__,
    }
