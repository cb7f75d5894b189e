"""A folder that answers the first write of each object of a cell wrongly, in every process that imports this module.

NFS repeats a request whose answer was lost, and then reports that the object exists; a soft mount gives up with an error
though the server wrote the object. Workers import this module as the registry of a run.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError

from adaprob_ray.catalogue import REGISTRY

__all__ = ["FOLDER_ANSWERS", "REGISTRY", "FolderAnswer", "answering"]

# Workers inherit it: the name of an answer, and a file that grows by a byte for each.
VARIABLE = "ADAPROB_TEST_FOLDER_ANSWER"


@dataclass(frozen=True)
class FolderAnswer:
    """The error that a write ends with, and whether the object was written all the same."""

    error: Exception
    written: bool


FOLDER_ANSWERS: Mapping[str, FolderAnswer] = {
    "exists": FolderAnswer(AlreadyExistsError("exists"), written=False),
    "exists though written": FolderAnswer(AlreadyExistsError("exists"), written=True),
    "EIO though written": FolderAnswer(OSError(errno.EIO, "I/O error"), written=True),
    "ETIMEDOUT though written": FolderAnswer(OSError(errno.ETIMEDOUT, "timed out"), written=True),
}


@contextmanager
def answering(name: str, counts: Path) -> Iterator[None]:
    """Within the block, this process and those that it starts get answer `name`; `counts` has a byte for each."""
    os.environ[VARIABLE] = f"{name}\n{counts}"
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        _answered.clear()


_put = obstore.put
_answered = set[str]()


def _faulty_put(backend: Any, path: str, data: Any, **options: Any) -> Any:
    setting = os.environ.get(VARIABLE)
    if setting is None or not path.startswith("cells/") or path in _answered:
        return _put(backend, path, data, **options)
    _answered.add(path)
    name, counts = setting.split("\n")
    answer = FOLDER_ANSWERS[name]
    with open(counts, "ab") as file:
        file.write(b".")
    if answer.written:
        _put(backend, path, data, **options)
    raise answer.error


obstore.put = _faulty_put  # type: ignore[assignment]
