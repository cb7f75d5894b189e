"""Where modules of a user are looked for, before the installed ones: the current folder, and those of sweep files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_folders: list[str] = []
_appended: set[str] = set()  # to sys.path, by `importable`


def look_in(*folders: str | os.PathLike[str]) -> None:
    """Add folders to those in which modules are looked for; one that was added before keeps its place."""
    for folder in folders:
        path = str(Path(folder).absolute())
        if path not in _folders:
            _folders.append(path)


def looked_in() -> tuple[str, ...]:
    """The folders, in the order in which they are looked through."""
    return tuple(_folders)


@contextmanager
def importable() -> Iterator[None]:
    """In the block modules of these folders come first.

    Afterwards they come last, so that a file of the user such as `queue.py` does not hide a module that others import later.
    """
    before = [path for path in sys.path if path not in _appended]
    sys.path[:] = [*_folders, *before]
    try:
        yield
    finally:
        added = [path for path in sys.path if path not in before and path not in _folders]
        missing = [path for path in _folders if path not in before]
        _appended.update(missing)
        sys.path[:] = [*before, *added, *missing]
