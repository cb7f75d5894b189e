"""Names inside a store: which are valid, which the store uses itself, and those of the files that cells leave."""

from __future__ import annotations

import re

from adaprob_ray.errors import InputError

WEIGHTS, OUTPUTS, SERIES = "weights.safetensors", "outputs.safetensors", "series.json"  # of a model's cell
RECORD = "record.json"  # of an evaluate cell

RESERVED = ("cells", "attempts", "checkpoints", "searches", "store.json")

CELL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
# No leading dot, '#', '%' or backslash: obstore and the storage systems each interpret some of them differently.
OBJECT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@+-]*(/[A-Za-z0-9_][A-Za-z0-9_.=@+-]*)*")


def is_uri(location: str) -> bool:
    """Whether a store's location is a URI, and not a folder."""
    return "://" in location


def validate_name(pattern: re.Pattern[str], name: str, what: str) -> str:
    """`name`, if all of it matches `pattern`. Raises InputError."""
    if not pattern.fullmatch(name):
        raise InputError(f"{what}: must match {pattern.pattern}, got {name!r}")
    return name


def reject_reserved(path: str) -> str:
    """`path`, if it is a valid name outside the store's own folders. Raises InputError."""
    if validate_name(OBJECT_NAME, path, "path").partition("/")[0].lower() in RESERVED:
        raise InputError(f"path: must not begin with a reserved name, got {path!r} (reserved: {', '.join(RESERVED)})")
    return path


def cell_folder(key: str) -> str:
    """The folder of a cell's document and events. Raises InputError for a key that is not valid."""
    return f"cells/{validate_name(CELL_KEY, key, 'cell key')}"


def checkpoint_folder(key: str) -> str:
    """The folder of a cell's checkpoints. Raises InputError for a key that is not valid."""
    return f"checkpoints/{validate_name(CELL_KEY, key, 'cell key')}"
