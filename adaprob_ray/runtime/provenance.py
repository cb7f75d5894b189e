"""Where and with what a cell ran: columns that every Record has in addition to its settings and metrics."""

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
from adaprob_ray.runtime.cpu_columns import ONEDNN_CAPS, cpu_columns, cpu_flags, cpu_model, cpuinfo

# Files and folders of this package on which no number depends: they plan, schedule, store, show and explain.
NUMBER_FREE_SOURCES = (
    "__main__.py",
    "cli/",
    "contract/",
    "costs.py",
    "describe.py",
    "pytest_plugin.py",
    "reporting/",
    "runtime/cell_seconds.py",
    "runtime/cell_source.py",
    "runtime/cluster_address.py",
    "runtime/cluster_capacity.py",
    "runtime/cluster_probe.py",
    "runtime/confidence.py",
    "runtime/doctor.py",
    "runtime/doctor_checks.py",
    "runtime/expected_seconds.py",
    "runtime/explain.py",
    "runtime/forecast.py",
    "runtime/installation.py",
    "runtime/launch.py",
    "runtime/leases.py",
    "runtime/local.py",
    "runtime/machine_resources.py",
    "runtime/method_source.py",
    "runtime/node_probe.py",
    "runtime/packing.py",
    "runtime/parent_watch.py",
    "runtime/planning.py",
    "runtime/private_folder.py",
    "runtime/process_limits.py",
    "runtime/progress.py",
    "runtime/ray_environment.py",
    "runtime/ray_executor.py",
    "runtime/request_checks.py",
    "runtime/rerun.py",
    "runtime/scratch.py",
    "runtime/search.py",
    "runtime/search_layout.py",
    "runtime/search_results.py",
    "runtime/search_source.py",
    "runtime/searcher.py",
    "runtime/simulated_cluster.py",
    "runtime/simulation.py",
    "runtime/status_reader.py",
    "runtime/status_report.py",
    "runtime/storage_guard.py",
    "runtime/survey.py",
    "runtime/tensorboard.py",
    "runtime/tensorboard_driver.py",
    "runtime/tensorboard_events.py",
    "runtime/tensorboard_history.py",
    "runtime/tensorboard_layout.py",
    "runtime/tensorboard_mirror.py",
    "runtime/trainable.py",
    "search/",
    "store/",
    "streams.py",
    "sweep/plan.py",
    "sweep/ready_cells.py",
    "sweep/select.py",
    "unlearning/",
)


def provenance(device: torch.device, *, threads: int, exclusive: bool) -> dict[str, Any]:
    """Commit, time, host, device, processor, threads and versions. `run_dirty` tells whether the checkout had changes."""
    # An installed package may lie inside another project's checkout: it is ours only if it tracks this package.
    is_tracked = bool(_git("ls-files", "--error-unmatch", adaprob_ray.__file__))
    return {
        "commit": (is_tracked and _git("rev-parse", "HEAD")) or f"version {adaprob_ray.__version__}",
        "run_dirty": is_tracked and bool(_git("status", "--porcelain", "--untracked-files=no")),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "device": device_name(device),
        "exclusive": exclusive,
        "threads": threads,
        **cpu_columns(),
        "python_version": platform.python_version(),
        "torch_version": torch.__version__,
        "numpy_version": numpy.__version__,
    }


def device_name(device: torch.device) -> str:
    """The card's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({cpu_model(cpuinfo())})"


def fingerprint(columns: Mapping[str, Any]) -> str:
    """A hash of all that decides a training's bits except its cell: source, device, processor, threads, libraries.

    Args:
        columns: The columns of `provenance`.
    """
    names = ("device", "threads", *cpu_columns(), "python_version", "torch_version", "numpy_version")
    inputs = [f"{name} {columns[name]}" for name in names]
    # The caps are in a column too, but only on x86; MKL chooses its kernels by flags that are in no column.
    inputs += [f"{name} {os.environ.get(name)}" for name in ONEDNN_CAPS]
    inputs += [*sorted(cpu_flags()), str(torch.backends.cudnn.version()), _source_digest()]
    return hashlib.sha256("\n".join(inputs).encode()).hexdigest()


@functools.cache
def _git(*arguments: str) -> str:
    """What git says of the checkout that this package runs from; "" outside one, or where git fails."""
    root = Path(adaprob_ray.__file__).parents[1]
    try:
        process = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            encoding="utf-8",
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return process.stdout.strip()


@functools.cache
def _source_digest() -> str:
    """A hash of this package's code without comments and docstrings, whether or not it is in a checkout."""
    root = Path(adaprob_ray.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(NUMBER_FREE_SOURCES):
            digest.update(f"{name}\0{syntax_tree(path.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()


def syntax_tree(source: str) -> str:
    """The syntax tree of Python source, with `pass` in place of docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [
                ast.Pass()
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                else statement
                for statement in body
            ]
    return ast.dump(tree)
