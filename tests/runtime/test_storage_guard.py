"""A run stops after the third storage failure in a row, under both executors, and what was done stays done."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import obstore
import pytest
from tiny_sweep import CELLS, cells_of, executed, run

from adaprob_ray.errors import Failure, StoreError
from adaprob_ray.runtime.storage_guard import StorageGuard
from adaprob_ray.store import Store
from adaprob_ray.sweep.outcome import Outcome

STORAGE = Outcome("failed", failure=Failure(failure_class="storage", message="disk full"))
OTHER = Outcome("failed", failure=Failure(failure_class="diverged", message="NaN"))
DONE, LEASED = Outcome("done"), Outcome("leased")


@pytest.mark.parametrize(
    ("outcomes", "is_tripped"),
    [
        ([STORAGE] * 2, False),
        ([STORAGE] * 3, True),
        ([STORAGE, STORAGE, DONE, STORAGE, STORAGE], False),
        ([STORAGE, LEASED, STORAGE, OTHER, STORAGE], True),  # neither says that something could be stored
        ([STORAGE] * 3 + [DONE], True),
        ([OTHER] * 5, False),
    ],
)
def test_three_storage_failures_in_a_row_end_the_run(outcomes: list[Outcome], is_tripped: bool) -> None:
    guard = StorageGuard()
    for outcome in outcomes:
        guard.observe(outcome)
    assert guard.is_tripped == is_tripped


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_full_store_stops_the_local_executor(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store, put, commits, refused = Store.open(tmp_path / "store"), obstore.put, [], []

    def fill(backend: Any, path: str, data: bytes, **mode: Any) -> Any:
        if "/commit/" in path and len(commits) == 4:
            refused.append(path)
            raise OSError(number, os.strerror(number))
        commits.extend([path] if "/commit/" in path else [])
        return put(backend, path, data, **mode)

    monkeypatch.setattr(obstore, "put", fill)
    with pytest.raises(StoreError, match="stopped after 3 storage failures in a row") as caught:
        run(store)
    assert "\n" not in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert len(refused) == 3
    monkeypatch.undo()
    plan, _ = run(Store.open(tmp_path / "store"))
    assert (plan.counts()["done"], len(executed(plan))) == (len(cells_of()), CELLS - 4)
