"""What one machine says of itself: versions, store, data, GPUs, shared memory, disk and clock, as plain values.

`probe` runs as a Ray task on each node of a cluster, and in this process where there is no cluster. It raises nothing that it
can report: the checks in doctor_checks.py judge what it returns.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adaprob_ray
from adaprob_ray.data.folder import prepared_folders
from adaprob_ray.errors import AdaprobError, InputError, NoStore, StoreError
from adaprob_ray.store.objects import Objects
from adaprob_ray.user_code.folders import importable, look_in
from adaprob_ray.user_code.source import source_revision

if TYPE_CHECKING:
    from adaprob_ray.sweep.registry import DatasetEntry

SHARED_MEMORY = Path("/dev/shm")
NVIDIA_DRIVER = Path("/dev/nvidiactl")
# A matrix of this many rows and columns is 4 MiB: enough for the card to compute, little next to other users' cells.
TRIAL_ROWS = 1024


def probe(
    *,
    location: str | None,
    marker: str,
    data_root: str,
    datasets: Mapping[str, DatasetEntry],
    has_gpus: bool,
    modules: Mapping[str, int],
    folders: Sequence[str],
) -> dict[str, Any]:
    """Collect the facts of the machine that runs this.

    Args:
        location: of the store, None to leave it alone.
        marker: name of an object that the driver has put there.
        data_root: folder of the data sets.
        datasets: to verify there, by name, as the driver knows them. No registry is imported, which would take seconds.
        has_gpus: whether Ray counts GPUs on this machine.
        modules: digests of the user's modules that cells need, by name.
        folders: in which they are looked for.

    Returns:
        Values that any Python can unpickle, by the names that doctor_checks.py reads.
    """
    facts = {
        "versions": versions(),
        "store": None if location is None else try_store(location, marker),
        "data": verify_data(Path(data_root), datasets),
        "modules": import_modules(modules, folders),
        "gpus": list_gpus() if has_gpus or NVIDIA_DRIVER.exists() else [],
        "shared_memory_bytes": shutil.disk_usage(SHARED_MEMORY).total if SHARED_MEMORY.is_dir() else None,
        **temporary_folder(),
    }
    return {**facts, "clock": time.time()}  # last, so that the driver receives it within milliseconds


def versions() -> dict[str, str]:
    """Versions of Python and of what the results depend on; "none" for what is not installed.

    `source` is a hash of this package's files: two checkouts may have one version and different code.
    """
    installed = {"python": platform.python_version()}
    for name in ("ray", "torch", "numpy"):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "none"
    root = Path(adaprob_ray.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return {**installed, "adaprob_ray": adaprob_ray.__version__, "source": digest.hexdigest()[:8]}


def try_store(location: str, marker: str) -> dict[str, Any]:
    """Create, read and delete an object in the store.

    Returns:
        `fault`: why that is impossible, or None; `sees_marker`: whether the driver's object is there; `creates_once`: whether
        a second create of one object is refused, on which leases and commits depend.
    """
    result: dict[str, Any] = {"fault": None, "sees_marker": True, "creates_once": True}
    name = f"doctor-{uuid.uuid4().hex}"
    try:
        objects = Objects.open(location, create=False)
        result["sees_marker"] = objects.get(marker) is not None
        try:
            objects.create(name, {"create": 1})
            again = objects.create(name, {"create": 2})
            result["creates_once"] = not again and objects.document(name) == {"create": 1}
        finally:
            with suppress(StoreError):
                objects.delete([name])
        if objects.get(name) is not None:
            result["fault"] = f"store {location}: an object cannot be deleted"
    except NoStore:
        result["sees_marker"] = False
    except AdaprobError as error:
        result["fault"] = str(error)
    return result


def verify_data(data_root: Path, datasets: Mapping[str, DatasetEntry]) -> dict[str, str | None]:
    """The fault in each data set under `data_root`, None for a sound one."""
    try:
        folders = prepared_folders(data_root)
    except InputError as error:
        return dict.fromkeys(datasets, str(error))
    faults: dict[str, str | None] = {}
    for name, dataset in datasets.items():
        if name in folders and folders[name].revision != dataset.revision:
            faults[name] = f"{name}: the images in {data_root} differ from those on the driver's machine"
        else:
            faults[name] = dataset.verify(data_root)
    return faults


def import_modules(modules: Mapping[str, int], folders: Sequence[str]) -> dict[str, str | None]:
    """The fault of each module of the user: it cannot be imported here, or is another one than the driver's; else None."""
    look_in(*folders)
    faults: dict[str, str | None] = {}
    for name, revision in modules.items():
        try:
            with importable():
                importlib.import_module(name)
            same = source_revision(name) == revision
            faults[name] = None if same else f"{name}: {sys.modules[name].__file__} differs from the driver's"
        except Exception as error:  # whatever the user's code raises as it is imported
            faults[name] = " ".join(f"{name}: {type(error).__name__}: {error}".split())[:300]
    return faults


def list_gpus() -> list[dict[str, Any]] | str:
    """Name and memory of each card that PyTorch sees, or why it sees none."""
    try:
        import torch

        if not torch.cuda.is_available():
            return "PyTorch finds no usable CUDA device"
        cards = [torch.cuda.get_device_properties(card) for card in range(torch.cuda.device_count())]
        return [{"name": card.name, "bytes": card.total_memory} for card in cards]
    except (ImportError, RuntimeError, AssertionError) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def try_gpus() -> list[str]:
    """Multiply a small matrix on each card that was granted to this task; one line for each card that fails."""
    import torch

    faults = []
    for card in range(torch.cuda.device_count()):
        try:
            matrix = torch.ones(TRIAL_ROWS, TRIAL_ROWS, device=f"cuda:{card}")
            total = float((matrix @ matrix).sum())
            if total != TRIAL_ROWS**3:
                faults.append(f"card {card}: the sum of a product must be {TRIAL_ROWS**3}, got {total:g}")
        except RuntimeError as error:  # torch.OutOfMemoryError and torch.AcceleratorError are RuntimeErrors
            faults.append(f"card {card}: {' '.join(str(error).split())[:200]}")
    torch.cuda.empty_cache()
    return faults


def temporary_folder() -> dict[str, Any]:
    """The folder of temporary files, its free bytes, and why a file cannot be written there, or None."""
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(os.urandom(4096))
            file.flush()
        return {"temp": folder, "temp_free_bytes": shutil.disk_usage(folder).free, "temp_fault": None}
    except OSError as error:
        return {"temp": os.environ.get("TMPDIR", "/tmp"), "temp_free_bytes": 0, "temp_fault": str(error)}
