"""One finished store for all tests of the runtime; each works on a copy of its own."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_sweep import run

from adaprob_ray.store import Store
from adaprob_ray.sweep.plan import Plan


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan]:
    """The tiny sweep, run undisturbed in this process. Nobody writes to this store afterwards."""
    store = Store.open(tmp_path_factory.mktemp("first") / "store")
    plan, _ = run(store)
    return store, plan


@pytest.fixture
def done(first_run: tuple[Store, Plan], tmp_path: Path) -> Store:
    """A copy of the finished store."""
    shutil.copytree(first_run[0].location, tmp_path / "store")
    return Store.open(tmp_path / "store")


@pytest.fixture
def handlers() -> Iterator[None]:
    """The command sets a handler for SIGTERM: put the old one back."""
    old = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, old)
