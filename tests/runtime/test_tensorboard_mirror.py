"""TensorBoard files of cells that run elsewhere: through a store to a folder of the driver."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from store_contract import set_aws
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_sweep import CELLS, TINY, cells_of, executed, run, same_columns

from adaprob_ray.errors import StoreError
from adaprob_ray.runtime import launch
from adaprob_ray.runtime.tensorboard import TensorBoardWriter
from adaprob_ray.runtime.tensorboard_mirror import CellUpload, Mirror
from adaprob_ray.store import Store
from adaprob_ray.store.objects import Objects
from adaprob_ray.store.side_files import SideFiles
from adaprob_ray.sweep.plan import Plan

CELL = next(iter(cells_of().values()))


def steps(folder: Path) -> list[int]:
    return [event.step for event in EventAccumulator(str(folder)).Reload().Scalars("loss")]


def test_the_mirror_shows_a_cell_while_it_runs_and_appends_what_is_new(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    mirror = Mirror(store, "tiny", tmp_path / "mirror")
    upload = CellUpload(store, "tiny", CELL.title)
    folder = tmp_path / "mirror" / CELL.title
    with TensorBoardWriter(upload.folder, CELL, upload) as writer:
        for step in (1, 2):
            writer.scalars(step, loss=0.5)
            assert writer._writer is not None
            writer._writer.flush()
            upload.send()
            mirror.copy()
            assert steps(folder) == list(range(1, step + 1))
        (file,) = folder.iterdir()
        inode = file.stat().st_ino
        writer.scalars(3, loss=0.5)
    mirror.copy()
    assert steps(folder) == [1, 2, 3]
    assert file.stat().st_ino == inode, "TensorBoard has the file open: it is appended to, not replaced"
    assert not upload.folder.exists()


def test_a_new_attempt_replaces_the_files_of_the_last_one(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    mirror = Mirror(store, "tiny", tmp_path / "mirror")
    for _ in range(2):
        upload = CellUpload(store, "tiny", CELL.title)
        with TensorBoardWriter(upload.folder, CELL, upload) as writer:
            writer.scalars(1, loss=0.5)
        mirror.copy()
    assert steps(tmp_path / "mirror" / CELL.title) == [1]
    assert len(list((tmp_path / "mirror" / CELL.title).iterdir())) == 1


def test_storage_that_fails_costs_the_curve_and_not_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Objects, "put", fail)
    upload = CellUpload(store, "tiny", CELL.title)
    with TensorBoardWriter(upload.folder, CELL, upload) as writer:
        writer.scalars(1, loss=0.5)
    assert SideFiles(store, "tensorboard/tiny").sizes() == {}


@pytest.mark.slow
def test_a_whole_sweep_on_s3(
    s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_run: tuple[Store, Plan]
) -> None:
    monkeypatch.chdir(tmp_path)
    set_aws(monkeypatch, s3_endpoint)
    store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
    plan, _ = run(store)
    assert len(executed(plan)) == CELLS
    assert same_columns(store) == same_columns(first_run[0])
    folder = launch.tensorboard_dir_for(store, TINY["name"])
    assert folder == tmp_path / "tensorboard" / "tiny"
    assert {cell.name for cell in folder.iterdir()} == {cell.title for cell in plan.cells.values()}
    trained = next(cell for cell in plan.cells.values() if cell.stage == "train")
    assert steps(folder / trained.title) == [1]
