"""Data sets that `adaprob-ray data prepare` has written from image files: one file of arrays and a manifest of their sizes.

ROOT/prepared/NAME.npz holds the fields of `RawImages` and `files_F`, the name of each source file (`train_source` and
`test_source` number these); ROOT/prepared/NAME.json holds sizes and the sha256 of the .npz. A sweep is planned from the
manifest alone, and a worker needs only these two files, not the original images.

Axis: F source files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from adaprob_ray.data.dataset import RawImages
from adaprob_ray.errors import InputError

FOLDER = "prepared"
FIELDS = ("train_NHWC", "train_labels", "train_source", "test_NHWC", "test_labels", "test_source")


def write(root: Path, name: str, images: RawImages, files_F: Sequence[str], **facts: Any) -> None:
    """Write one data set; the manifest comes last, so that a data set with a manifest is complete. Raises OSError."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {field: getattr(images, field) for field in FIELDS}
    temporary = folder / f".{name}.{os.getpid()}.npz"
    np.savez(temporary, **arrays, files_F=np.asarray(files_F))
    classes = int(np.max(images.train_labels)) + 1
    manifest = {
        "name": name,
        "pool_per_class": np.bincount(images.train_labels, minlength=classes).tolist(),
        "test_count": len(images.test_labels),
        "size": images.train_NHWC.shape[1],
        "sha256": _digest(temporary),
        **facts,
    }
    (folder / f"{name}.json").unlink(missing_ok=True)
    os.replace(temporary, folder / f"{name}.npz")
    temporary = temporary.with_suffix(".json")
    temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, folder / f"{name}.json")


def manifest_names(root: Path) -> list[str]:
    """The names of the data sets prepared under `root`, sorted. Raises InputError if the folder cannot be read."""
    folder = root / FOLDER
    try:
        files = [path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(
            f"ADAPROB_DATA: must be a folder that you can read, got {root} ({error.strerror}: {folder})"
        ) from error
    return sorted(path.stem for path in files)


def read_manifest(root: Path, name: str) -> dict[str, Any] | None:
    """The manifest, or None if the data set was never prepared. Raises InputError if the file is not a manifest."""
    path = root / FOLDER / f"{name}.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        manifest["pool_per_class"], manifest["test_count"], manifest["sha256"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: must be a manifest, got {error!r}; run `adaprob-ray data prepare {name}`") from error
    return manifest


def read(root: Path, name: str, expected: Mapping[str, Any] | None = None) -> RawImages:
    """The arrays. Raises InputError if they are missing, of other sizes, or not those that the manifest belongs to."""
    manifest = read_manifest(root, name)
    fault = verify(root, name, expected)
    if manifest is None or fault is not None:
        raise InputError(fault or f"{name}: not prepared under {root}")
    return _read(root, name, manifest["sha256"])


@lru_cache(maxsize=2)
def _read(root: Path, name: str, sha256: str) -> RawImages:
    with np.load(root / FOLDER / f"{name}.npz") as arrays:
        return RawImages(**{field: arrays[field] for field in FIELDS}, test_is_from_train=True)


def verify(root: Path, name: str, expected: Mapping[str, Any] | None = None, advice: str = "") -> str | None:
    """The fault of a data set, in one line, or None; `advice` says how to prepare it.

    `expected` are the manifest's entries that the catalogue knows.
    """
    try:
        manifest = read_manifest(root, name)
    except InputError as error:
        return str(error)
    if manifest is None:
        return f"{name}: no {root / FOLDER / f'{name}.json'}; {advice or f'run `adaprob-ray data prepare {name}`'}"
    for key, value in (expected or {}).items():
        if manifest.get(key) != value:
            return f"{name}: {root / FOLDER}: {key}: must be {value}, got {manifest.get(key)}"
    path = root / FOLDER / f"{name}.npz"
    if not path.is_file() or _digest(path) != manifest["sha256"]:
        return f"{name}: {path} is missing or corrupt (sha256); run `adaprob-ray data prepare {name}` again"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
