"""What the tests of other packages share."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import packages
import pytest

from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, METHODS, METRICS
from adaprob_ray.user_code import folders, source

_numbers = itertools.count()


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """A function that writes a package into the current folder and gives its name; what is loaded of it goes with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPROB_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(folders, "_folders", [])
    monkeypatch.setattr(folders, "_appended", set())
    monkeypatch.setattr(source, "_loaded", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    entries: tuple[dict[str, object], ...] = (ARCHITECTURES, DATASETS, METHODS, METRICS)  # type: ignore[assignment]
    known = [dict(table) for table in entries]

    def write(**changes: str) -> str:
        name = f"own_package_{next(_numbers)}"
        packages.write_package(tmp_path, name, **changes)
        return name

    yield write
    for table, before in zip(entries, known, strict=True):
        for name in table.keys() - before.keys():
            del table[name]
