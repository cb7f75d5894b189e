"""TensorBoard files of cells that run elsewhere: through a store to a folder of the driver."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest
import tensorboard_reader
from store_contract import set_aws
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_sweep import CELLS, TINY, cells_of, executed, run, same_columns

from adaprob_ray.errors import StoreError
from adaprob_ray.runtime.tensorboard import TensorBoardWriter, file_mark
from adaprob_ray.runtime.tensorboard_driver import TensorBoardDriver, TensorBoardOptions
from adaprob_ray.runtime.tensorboard_events import event_file
from adaprob_ray.runtime.tensorboard_layout import TensorBoardRun, tensorboard_folder
from adaprob_ray.runtime.tensorboard_mirror import CellUpload, Mirror
from adaprob_ray.store import Store
from adaprob_ray.store.objects import Objects
from adaprob_ray.store.side_files import SideFiles
from adaprob_ray.sweep.plan import Plan

CELL = next(iter(cells_of().values()))
RUNS = (TensorBoardRun("original/seed1"),)


def steps(folder: Path) -> list[int]:
    return [event.step for event in EventAccumulator(str(folder)).Reload().Scalars("train/loss")]


def opened(store: Store) -> CellUpload:
    return CellUpload(store, "tiny", [run.folder for run in RUNS], file_mark(CELL))


def test_the_mirror_shows_a_cell_while_it_runs_and_appends_what_is_new(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    mirror = Mirror(store, "tiny", tmp_path / "mirror")
    upload = opened(store)
    folder = tmp_path / "mirror/original/seed1"
    with TensorBoardWriter(None, CELL, RUNS, lambda: upload) as writer:
        for step in (1, 2):
            writer.report(step, loss=0.5)
            for stream in writer._streams:
                stream.flush()
            upload.send()
            mirror.copy()
            assert steps(folder) == list(range(1, step + 1))
        (file,) = folder.iterdir()
        inode = file.stat().st_ino
        writer.report(3, loss=0.5)
    mirror.copy()
    assert steps(folder) == [1, 2, 3]
    assert file.stat().st_ino == inode, "TensorBoard has the file open: it is appended to, not replaced"
    assert not upload.folder.exists()


def test_a_new_attempt_replaces_the_files_of_the_last_one(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    mirror = Mirror(store, "tiny", tmp_path / "mirror")
    SideFiles(store, "tensorboard/tiny").put(
        "original/seed1/events.out.tfevents.1.evaluate-0123.1", event_file([], 1.0)
    )
    mirror.copy()
    for _ in range(2):
        with TensorBoardWriter(None, CELL, RUNS, lambda: opened(store)) as writer:
            writer.report(1, loss=0.5)
        mirror.copy()
    folder = tmp_path / "mirror/original/seed1"
    assert steps(folder) == [1]
    assert len(list(folder.iterdir())) == 2, "and the file of another cell"


def test_storage_that_fails_costs_the_curve_and_not_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Objects, "put", fail)
    upload = opened(store)
    with TensorBoardWriter(None, CELL, RUNS, lambda: upload) as writer:
        writer.report(1, loss=0.5)
    assert SideFiles(store, "tensorboard/tiny").sizes() == {}
    assert writer.error is not None
    assert "the disk is full" in writer.error


@pytest.mark.parametrize(
    "error", [PermissionError(13, "not ours"), StoreError("the store is down"), ValueError("size")]
)
def test_a_copy_that_fails_is_tried_again_and_says_why(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(Store.open(tmp_path / "store"), "tiny", tmp_path / "mirror")
    copies: list[None] = []

    def copy() -> None:
        copies.append(None)
        if fails:
            raise error

    monkeypatch.setattr(mirror, "copy", copy)
    for fails in (True, False):
        copies.clear()
        mirror._stop.set()  # one copy
        mirror._run()
        assert len(copies) == 1
        assert mirror.error == (f"{type(error).__name__}: {error}" if fails else None)


@pytest.mark.parametrize("obstacle", ["tensorboard", "tensorboard/tiny", "tensorboard/tiny/original"])
def test_a_working_folder_that_cannot_be_written_costs_one_warning(
    obstacle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("adaprob_ray.runtime.tensorboard_driver.is_uri", lambda location: True)
    monkeypatch.setattr("adaprob_ray.runtime.tensorboard_layout.is_uri", lambda location: True)
    (tmp_path / obstacle).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / obstacle).touch()  # a file where the folder should be: not even root can write there
    store = Store.open(tmp_path / "store")
    warnings: list[str] = []
    with TensorBoardDriver(store, "tiny", cells_of(), TensorBoardOptions(), warnings.append):
        SideFiles(store, "tensorboard/tiny").put("original/seed1/events.out.tfevents.1.x", event_file([], 1.0))
    (line,) = warnings
    assert line.startswith("some TensorBoard files could not be written, the results are not affected: ")
    assert line.endswith("(they are in the store)")


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
    folder = tensorboard_folder(store.location, TINY["name"])
    assert folder == tmp_path / "tensorboard" / "tiny"
    names = tensorboard_reader.runs(folder)
    assert names == tensorboard_reader.runs(tensorboard_folder(first_run[0].location, TINY["name"]))
    assert steps(folder / "original/seed1") == [1]
    shown = {name: set(tensorboard_reader.scalars(folder / name)) for name in names}
    files = SideFiles(store, "tensorboard/tiny")
    files.delete(list(files.sizes()))
    shutil.rmtree(folder)
    run(store)
    assert {name: set(tensorboard_reader.scalars(folder / name)) for name in names} == {
        name: {tag for tag in tags if not tag.startswith("per_epoch/")} for name, tags in shown.items()
    }, "from the store, where no file is left"
