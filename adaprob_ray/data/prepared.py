"""Data sets that `adaprob-ray data prepare` made once from image files: arrays in one file, a manifest of sizes beside it.

ROOT/prepared/NAME.npz holds the fields of `Images` and `files_F`, the name of each source file (`train_source` and
`test_source` number these); ROOT/prepared/NAME.json holds sizes and the sha256 of the .npz. A sweep is planned from the
manifest alone, and a worker needs these two files only, not the images that they were made from.
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
    """Write one data set; the manifest comes last, so that a data set with a manifest is whole. Raises OSError."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {field: getattr(images, field) for field in FIELDS}
    partial = folder / f".{name}.{os.getpid()}.npz"
    np.savez(partial, **arrays, files_F=np.asarray(files_F))
    classes = int(np.max(images.train_labels)) + 1
    manifest = {
        "name": name,
        "pool_per_class": np.bincount(images.train_labels, minlength=classes).tolist(),
        "test_count": len(images.test_labels),
        "size": images.train_NHWC.shape[1],
        "sha256": _digest(partial),
        **facts,
    }
    (folder / f"{name}.json").unlink(missing_ok=True)
    os.replace(partial, folder / f"{name}.npz")
    partial = partial.with_suffix(".json")
    partial.write_text(json.dumps(manifest, indent=1) + "\n")
    os.replace(partial, folder / f"{name}.json")


def read_manifest(root: Path, name: str) -> dict[str, Any] | None:
    """What `write` wrote down, or None if there is nothing. Raises InputError if it is no manifest."""
    path = root / FOLDER / f"{name}.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        manifest["pool_per_class"], manifest["test_count"], manifest["sha256"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no manifest: {error!r}; run `adaprob-ray data prepare {name}` again") from error
    return manifest


def read(root: Path, name: str, expected: Mapping[str, Any] | None = None) -> RawImages:
    """The arrays. Raises InputError if they are absent, of other sizes, or not those that the manifest was written for."""
    manifest = read_manifest(root, name)
    fault = check(root, name, expected)
    if manifest is None or fault is not None:
        raise InputError(fault or f"{name}: not prepared under {root}")
    return _read(root, name, manifest["sha256"])


@lru_cache(maxsize=2)
def _read(root: Path, name: str, sha256: str) -> RawImages:
    with np.load(root / FOLDER / f"{name}.npz") as arrays:
        return RawImages(**{field: arrays[field] for field in FIELDS}, test_is_from_train=True)


def check(root: Path, name: str, expected: Mapping[str, Any] | None = None, absent: str = "") -> str | None:
    """What is wrong, in one line, or None; `absent` says what to do if it was never prepared.

    `expected` are sizes by their names in the manifest, where the catalogue knows them.
    """
    try:
        manifest = read_manifest(root, name)
    except InputError as error:
        return str(error)
    if manifest is None:
        return f"{name}: no {root / FOLDER / f'{name}.json'}; {absent or f'run `adaprob-ray data prepare {name}`'}"
    for size, wanted in (expected or {}).items():
        if manifest.get(size) != wanted:
            return f"{name}: {root / FOLDER}: {size} is {manifest.get(size)}, expected {wanted}"
    path = root / FOLDER / f"{name}.npz"
    if not path.is_file() or _digest(path) != manifest["sha256"]:
        return f"{name}: {path} is absent or corrupt (sha256); run `adaprob-ray data prepare {name}` again"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
