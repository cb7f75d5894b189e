"""Where and with what a cell ran: the columns that every Record carries beside its numbers."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
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


# Beside the libraries: what chooses kernels by the processor, and so the order of sums.
_KERNELS = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA")
_CPU_LINES = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
_BITLESS = (
    "cli/",
    "runtime/progress.py",
    "runtime/tensorboard.py",
    "runtime/explain.py",
)  # no number depends on them


@functools.cache
def _source_digest() -> str:
    """Of the code of this package without comments and docstrings, whatever its checkout says of itself."""
    root = Path(adaprob_ray.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_BITLESS):
            digest.update(f"{name}\0{_code(path.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()


def _code(text: str) -> str:
    """The syntax tree, in which lone strings have become `pass`."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [ast.Pass() if _is_text(statement) else statement for statement in body]
    return ast.dump(tree)


def _is_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


@functools.cache
def _processor_details() -> str:
    """Family, model and features, as far as the system tells: names of processors in clouds are no more than a brand."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else platform.processor()
    return "\n".join(dict.fromkeys(line for line in text.splitlines() if line.partition(":")[0].strip() in _CPU_LINES))


def fingerprint(where: Mapping[str, Any]) -> str:
    """Of all that decides a training's bits beside its cell: source, processor or card, threads, libraries.

    `where`: what `provenance` says.
    """
    names = ("device", "threads", "python_version", "torch_version", "numpy_version")
    words = [f"{name} {where[name]}" for name in names]
    words += [f"{name} {os.environ.get(name)}" for name in _KERNELS]
    words += [_source_digest(), _processor_details(), torch.backends.cpu.get_cpu_capability()]
    words.append(str(torch.backends.cudnn.version()))
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


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
