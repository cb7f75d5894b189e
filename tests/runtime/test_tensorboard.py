"""TensorBoard files of a sweep, read back through TensorBoard's own reader and the backend of its hparams dashboard."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorboard_reader
from PIL import Image
from tensorboard.plugins.hparams import api_pb2
from tiny_sweep import CELLS, TINY, cells_of, executed, key_of, same_columns

from adaprob_ray.errors import LeaseLost
from adaprob_ray.metrics.outputs import Outputs, make_evaluation
from adaprob_ray.runtime import launch
from adaprob_ray.runtime.cell_runner import CATALOGUE
from adaprob_ray.runtime.tensorboard import MAX_SERIES_BYTES, TensorBoardWriter, file_mark
from adaprob_ray.runtime.tensorboard_driver import TensorBoardOptions
from adaprob_ray.runtime.tensorboard_layout import RunLayout, TensorBoardRun
from adaprob_ray.stages.epoch_metrics import EpochMetrics
from adaprob_ray.store import Store
from adaprob_ray.store.names import OUTPUTS, SERIES
from adaprob_ray.store.records import read_records
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import ForgetRequest
from adaprob_ray.sweep.plan import Plan

RUNS = [
    *(f"25of3/{label}/seed1" for label in ("adaprob", "finetune", "original", "plain", "retrain")),
    "25of3/retrain_independent/seed1",
    "original/seed1",
]
CELL = next(iter(cells_of().values()))
HISTOGRAMS = ["true_class_confidence/forget", "true_class_confidence/held_out", "true_class_confidence/retain"]


def root(store: Store, sweep: str = "tiny") -> Path:
    return Path(store.location) / "tensorboard" / sweep


def launched(
    store: Store, document: Mapping[str, Any] = TINY, *, registry: str = CATALOGUE, **options: Any
) -> tuple[Plan, list[str]]:
    """Run in this process; the plan as it ended and the warnings."""
    warnings: list[str] = []
    result = launch.run(
        cells_of(document),
        store,
        sweep=document["name"],
        data_root=Path("nowhere"),
        executor="local",
        registry=registry,
        warn=warnings.append,
        tensorboard=TensorBoardOptions(**options),
    )
    return result.plan, warnings


def series(store: Store, key: str) -> dict[str, list[tuple[int, float]]]:
    return {name: [tuple(p) for p in points] for name, points in store.read_json(key, SERIES).items()}  # type: ignore[misc]


def as_float32(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    return [(step, float(np.float32(value))) for step, value in points]


# -- what a sweep leaves --------------------------------------------------------------------------------------------------


def test_a_run_for_each_label_with_a_file_for_each_cell(first_run: tuple[Store, Plan]) -> None:
    store, plan = first_run
    assert tensorboard_reader.runs(root(store)) == RUNS
    layout = RunLayout(plan.cells)
    files = [file.relative_to(root(store)).as_posix() for file in root(store).rglob("*tfevents*")]
    assert len(files) == CELLS
    for cell in plan.cells.values():
        for target in layout.runs(cell):
            assert [name for name in files if name.startswith(f"{target.folder}/") and file_mark(cell) in name]
    assert all(file.stat().st_size < 1_000_000 for file in root(store).rglob("*tfevents*"))


def test_every_scalar_is_one_of_the_store_or_an_epoch_metric(first_run: tuple[Store, Plan]) -> None:
    store, plan = first_run
    (record,) = read_records(store, [key_of(plan.cells, "evaluate", "adaprob")])
    key = record["model_key"]
    shown = tensorboard_reader.scalars(root(store) / "25of3/adaprob/seed1")
    assert {tag.partition("/")[0] for tag in shown} == {"per_epoch", "unlearn", "metrics", "model"}
    for name, points in series(store, key).items():
        assert shown.pop(f"unlearn/{name}") == as_float32(points)
    assert [step for step, _ in shown["per_epoch/forget_error_percent"]] == [0, 1]
    assert shown["per_epoch/loss"] == as_float32(series(store, key)["loss"])
    assert shown.keys() >= {"metrics/forget_error_percent", "metrics/kl_forget_nats", "model/unlearn_seconds"}
    for tag, points in shown.items():
        group, name = tag.split("/")
        if group in ("metrics", "model"):
            assert points == as_float32([(0, record[name])]), "named as in Records, and with their values"


def test_histograms_count_the_samples_by_their_confidence(first_run: tuple[Store, Plan]) -> None:
    store, plan = first_run
    evaluate = plan.cells[key_of(plan.cells, "evaluate", "finetune")]
    outputs = Outputs.from_bytes(store.read(evaluate.parents["model"], OUTPUTS))
    evaluation = make_evaluation(
        dict.fromkeys(("model", "original", "retrain", "retrain_independent"), outputs),
        ForgetRequest("selective", 3, 25),
        1,
    )
    logits = outputs.logits["train"].astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = (powers / powers.sum(axis=1, keepdims=True))[np.arange(len(logits)), outputs.labels["train"]]
    folder = root(store) / "25of3/finetune/seed1"
    for tag, count in zip(HISTOGRAMS, (25, (outputs.labels["test"] == 3).sum(), len(logits) - 25), strict=True):
        buckets = tensorboard_reader.histogram(folder, tag)
        assert buckets[0, 0] == 0
        assert buckets[-1, 1] == 1
        assert buckets[:, 2].sum() == count
    buckets = tensorboard_reader.histogram(folder, "true_class_confidence/forget")
    expected, _ = np.histogram(confidence[evaluation.forget], np.linspace(0, 1, len(buckets) + 1))
    np.testing.assert_array_equal(buckets[:, 2], expected)


def test_the_image_can_be_decoded(first_run: tuple[Store, Plan]) -> None:
    events = tensorboard_reader.read(root(first_run[0]) / "25of3/retrain/seed1")
    assert events.Tags()["images"] == ["true_class_confidence/histograms"]
    (event,) = events.Images("true_class_confidence/histograms")
    image = Image.open(io.BytesIO(event.encoded_image_string))
    assert image.size == (event.width, event.height)
    colors = image.convert("RGB").getcolors(maxcolors=1 << 20)
    assert colors is not None
    assert len(colors) > 50, "it is not blank"


def test_hparams_have_a_status_and_sort_by_a_metric(first_run: tuple[Store, Plan]) -> None:
    store, plan = first_run
    groups = tensorboard_reader.sessions(root(store), order_by="metrics/kl_forget_nats")
    assert sorted(groups) == RUNS
    assert {session.status for group in groups.values() for session in group.sessions} == {api_pb2.STATUS_SUCCESS}
    evaluations = [key for key, cell in plan.cells.items() if cell.stage == "evaluate"]
    kl = {row["label"]: row["kl_forget_nats"] for row in read_records(store, evaluations)}
    labels = sorted((label for label, value in kl.items() if value is not None), key=lambda label: kl[label])
    assert [name.split("/")[1] for name in groups][: len(labels)] == labels
    values = groups["25of3/adaprob/seed1"].hparams
    assert {name: value.WhichOneof("kind") for name, value in values.items()} == {
        "label": "string_value",
        "method": "string_value",
        "lam": "number_value",
        "lr": "string_value",
        "epochs": "number_value",
    }


def test_results_are_the_same_without_any_of_it(first_run: tuple[Store, Plan], tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    plan, warnings = launched(store, enabled=False)
    assert len(executed(plan)) == CELLS
    assert warnings == []
    assert not (tmp_path / "store" / "tensorboard").exists()
    assert same_columns(store) == same_columns(first_run[0])
    for key, cell in plan.cells.items():
        if cell.stage in ("train", "unlearn"):
            assert store.read(key, SERIES) == first_run[0].read(key, SERIES)
            assert store.read(key, OUTPUTS) == first_run[0].read(key, OUTPUTS)


def test_epoch_metrics_can_be_turned_off(done: Store) -> None:
    key = key_of(cells_of(), "unlearn", "finetune")
    shutil.rmtree(Path(done.location) / "cells" / key)
    plan, _ = launched(done, epoch_metrics=False)
    assert executed(plan) == ["unlearn-finetune"]
    shown = tensorboard_reader.scalars(root(done) / "25of3/finetune/seed1")
    assert {tag.partition("/")[0] for tag in shown} == {"unlearn", "metrics", "model"}


@pytest.mark.slow  # scikit-learn's t-SNE takes seconds
def test_an_embedding_on_request(done: Store) -> None:
    evaluate = key_of(cells_of(), "evaluate", "finetune")
    shutil.rmtree(Path(done.location) / "cells" / evaluate)
    launched(done, tsne=True)
    events = tensorboard_reader.read(root(done) / "25of3/finetune/seed1")
    assert events.Tags()["images"] == ["true_class_confidence/histograms", "outputs/tsne"]
    (event,) = events.Images("outputs/tsne")
    colors = Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB").getcolors(maxcolors=1 << 20)
    assert colors is not None
    assert len(colors) > 50


# -- cells that were executed before -----------------------------------------------------------------------------------------


def tags(folder: Path) -> set[str]:
    return {tag for kind in tensorboard_reader.read(folder).Tags().values() if isinstance(kind, list) for tag in kind}


def test_cells_of_an_earlier_run_are_shown_from_the_store(first_run: tuple[Store, Plan], done: Store) -> None:
    shutil.rmtree(root(done))
    plan, warnings = launched(done)
    assert (executed(plan), warnings) == ([], [])
    assert tensorboard_reader.runs(root(done)) == RUNS
    files = {file.relative_to(root(done)) for file in root(done).rglob("*tfevents*")}
    shutil.rmtree(root(done))
    launched(done)
    assert {file.relative_to(root(done)) for file in root(done).rglob("*tfevents*")} == files, "as any driver would"
    for name in RUNS:
        before, after = root(first_run[0]) / name, root(done) / name
        assert tags(after) == {tag for tag in tags(before) if not tag.startswith("per_epoch/")}
        shown = tensorboard_reader.scalars(before)
        assert tensorboard_reader.scalars(after) == {
            tag: shown[tag] for tag in shown if not tag.startswith("per_epoch/")
        }
    assert {group.sessions[0].status for group in tensorboard_reader.sessions(root(done)).values()} == {
        api_pb2.STATUS_SUCCESS
    }


def test_files_that_are_there_are_left_alone_and_a_sweep_shows_the_cells_of_another(done: Store) -> None:
    old = root(done) / "evaluate-finetune-digits-allcnn-25of3-s1-0123abcd" / "events.out.tfevents.1.host.1.0"
    old.parent.mkdir()
    old.write_bytes(b"of an older layout")
    before = {file: file.stat().st_mtime_ns for file in root(done).rglob("*tfevents*")}
    launched(done)
    assert {file: file.stat().st_mtime_ns for file in root(done).rglob("*tfevents*")} == before
    other = {**TINY, "name": "other", "methods": {**TINY["methods"], "again": {"method": "finetune", "epochs": 1}}}
    plan, _ = launched(done, other)
    assert executed(plan) == ["evaluate-again"]
    assert tensorboard_reader.runs(root(done, "other")) == sorted([*RUNS, "25of3/again/seed1"])
    assert "unlearn/loss" in tags(root(done, "other") / "25of3/again/seed1"), "the model of two labels is under both"


def test_a_damaged_artefact_is_not_shown_and_not_revoked(done: Store) -> None:
    key = key_of(cells_of(), "unlearn", "finetune")
    (number,) = done.log(key).commits
    file = Path(done.location) / "attempts" / key / str(number) / SERIES
    file.write_bytes(b"[" * file.stat().st_size)
    shutil.rmtree(root(done))
    _, warnings = launched(done)
    assert warnings == []
    assert not {tag for tag in tags(root(done) / "25of3/finetune/seed1") if tag.startswith("unlearn/")}
    assert done.log(key).done == number


# -- failures ------------------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_costs_one_warning(first_run: tuple[Store, Plan], tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    (tmp_path / "store" / "tensorboard").write_text("a file where the folder should be")
    plan, warnings = launched(store)
    assert len(executed(plan)) == CELLS
    assert plan.counts()["done"] == CELLS
    (line,) = warnings
    assert line.startswith("some TensorBoard files could not be written, the results are not affected: ")
    assert same_columns(store) == same_columns(first_run[0])


def test_an_error_of_what_is_shown_costs_one_warning(done: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for label in ("finetune", "adaprob"):
        shutil.rmtree(Path(done.location) / "cells" / key_of(cells_of(), "unlearn", label))

    def fail(*_: Any) -> None:
        raise RuntimeError("no memory is left")

    monkeypatch.setattr("adaprob_ray.stages.epoch_metrics.errors_and_losses", fail)
    plan, warnings = launched(done)
    assert sorted(executed(plan)) == ["unlearn-adaprob", "unlearn-finetune"]
    (line,) = warnings
    assert "no memory is left" in line


def test_a_cell_that_fails_ends_its_session_with_a_failure_until_it_succeeds(
    done: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(Path(done.location) / "cells" / key_of(cells_of(), "unlearn", "finetune"))
    shutil.rmtree(Path(done.location) / "cells" / key_of(cells_of(), "evaluate", "finetune"))
    shutil.rmtree(root(done) / "25of3/finetune")
    with monkeypatch.context() as patch:
        patch.setattr(EpochMetrics, "finish", lambda *_: 1 / 0)
        plan, _ = launched(done)
        assert plan.counts()["failed"] == 1
    statuses = {name: group.sessions[0].status for name, group in tensorboard_reader.sessions(root(done)).items()}
    assert statuses.pop("25of3/finetune/seed1") == api_pb2.STATUS_FAILURE
    assert set(statuses.values()) == {api_pb2.STATUS_SUCCESS}
    launched(done)
    sessions = tensorboard_reader.sessions(root(done))
    assert sessions["25of3/finetune/seed1"].sessions[0].status == api_pb2.STATUS_SUCCESS


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError, api_pb2.STATUS_FAILURE), (KeyboardInterrupt, 0), (LeaseLost, 0)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_only_a_failure_is_a_failure(error: type[BaseException], status: int, tmp_path: Path) -> None:
    with (
        pytest.raises(error),
        TensorBoardWriter(tmp_path, CELL, (TensorBoardRun("a"),)),
    ):
        raise error("stopped")
    assert tensorboard_reader.sessions(tmp_path)["a"].sessions[0].status == status


# -- the writer ----------------------------------------------------------------------------------------------------------------


def test_a_new_attempt_replaces_its_own_files_and_no_others(tmp_path: Path) -> None:
    other = Cell("evaluate", CELL.settings, {"model": CELL.key})
    for cell, attempts in ((CELL, 1), (other, 1), (CELL, 2)):
        for _ in range(attempts):
            with TensorBoardWriter(tmp_path, cell, (TensorBoardRun("a/seed1"), TensorBoardRun("b/seed1"))) as writer:
                writer.report(1, loss=0.5)
    for name in ("a/seed1", "b/seed1"):
        assert len(list((tmp_path / name).iterdir())) == 2
        assert tensorboard_reader.scalars(tmp_path / name) == {"train/loss": [(1, 0.5)], "evaluate/loss": [(1, 0.5)]}


def test_a_cell_writes_less_than_a_megabyte(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path, CELL, (TensorBoardRun("a"), TensorBoardRun("b"))) as writer:
        for step in range(30_000):
            writer.report(step, projection_residual=1 / (step + 1))
        writer.finish({"start_distance": 1.5})
    assert writer.error is None
    size = sum(file.stat().st_size for file in tmp_path.rglob("*tfevents*"))
    assert MAX_SERIES_BYTES < size < 1_000_000
    assert tensorboard_reader.scalars(tmp_path / "b")["model/start_distance"] == [(0, 1.5)]


def test_nothing_is_written_without_a_folder() -> None:
    with TensorBoardWriter(None, CELL, (TensorBoardRun("a"),)) as writer:
        writer.report(1, loss=0.5)
        writer.finish({})
    assert not writer.is_open
    assert writer.error is None


def test_the_driver_names_runs_by_the_whole_sweep(tmp_path: Path) -> None:
    document = {
        **TINY,
        "grid": {**TINY["grid"], "architecture": [{"name": "allcnn", "filters": f} for f in (0.02, 0.03)]},
    }
    cells = cells_of(document)
    chosen = {key: cell for key, cell in cells.items() if cell.settings.architecture.filters == 0.02}
    original = {key: cell for key, cell in chosen.items() if cell.stage == "train" and cell.label == "original"}
    store = Store.open(tmp_path / "store")
    launch.run(original, store, sweep="tiny", data_root=tmp_path, executor="local", sweep_cells=cells)
    assert tensorboard_reader.runs(root(store)) == ["digits-allcnn-0.02/original/seed1"]
