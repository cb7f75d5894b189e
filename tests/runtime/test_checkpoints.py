"""A stopped training goes on after its last kept epoch and ends with the same bits; where it might not, it begins anew."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_sweep import TINY, Command, cells_of, key_of, run, same_columns

from adaprob_ray.checkpoint import Checkpoint
from adaprob_ray.errors import StoreError
from adaprob_ray.lease import Attempt
from adaprob_ray.runtime import checkpoints
from adaprob_ray.runtime.provenance import fingerprint
from adaprob_ray.runtime.source import boards_folder
from adaprob_ray.stages import SERIES, WEIGHTS
from adaprob_ray.store import Store

EPOCHS = 4
STOPPED = ("ADAPROB_TEST_STOP", "train-original")


def document(recipe: str = "large", **settings: Any) -> dict[str, Any]:
    """Two trained cells of four epochs: batch norm at work, momentum, one decay or the other."""
    words = copy.deepcopy(dict(TINY))
    words["train"] = {"recipe": recipe, "epochs": EPOCHS}
    words["methods"] = {"original": {}}
    return {**words, **settings}


@pytest.fixture(autouse=True)
def kept_after_each_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoints, "PERIOD_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "MOST_OF_TIME", 1e9)
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("ADAPROB_TEST_MARKS", str(tmp_path / "marks"))


def stopped(store: Store, words: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Run until the original is interrupted, at the end of its third epoch of four; its key."""
    monkeypatch.setenv(*STOPPED)
    with pytest.raises(KeyboardInterrupt):
        run(store, words, stages="stage_tables:STOPPING")
    key = key_of(cells_of(words), "train", "original")
    assert store.log(key).released == {1}
    assert store.checkpoint(key) is not None
    return key


def undisturbed(folder: Path, words: Mapping[str, Any]) -> Store:
    store = Store.open(folder / "undisturbed")
    run(store, words)
    return store


def continued(store: Store, key: str) -> Any:
    commit = store.commit(key)
    assert commit is not None
    return commit.facts["run_continued_after_epochs"]


@pytest.mark.parametrize(
    "words",
    [
        document(),
        pytest.param(document("small"), marks=pytest.mark.slow),
        pytest.param(document(precision="bfloat16"), marks=pytest.mark.slow),
        pytest.param(
            document(grid={**TINY["grid"], "architecture": {"name": "resnet18", "filters": 0.1}}),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["allcnn", "decay_to_start", "bfloat16", "resnet18"],
)
def test_a_stopped_training_ends_with_the_same_bits(
    words: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")
    key = stopped(store, words, monkeypatch)
    run(store, words, stages="stage_tables:STOPPING")
    assert store.log(key).commits == {2}
    assert continued(store, key) == EPOCHS - 2, "the third epoch was reported, and not kept"
    other = undisturbed(tmp_path, words)
    assert continued(other, key) == 0
    assert store.read(key, WEIGHTS) == other.read(key, WEIGHTS)
    assert store.read(key, SERIES) == other.read(key, SERIES)
    assert same_columns(store, words) == same_columns(other, words)
    assert store.checkpoint(key) is None


def test_seconds_are_those_of_both_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, kept = Store.open(tmp_path / "store"), list[bytes]()
    keep = Attempt.keep
    monkeypatch.setattr(Attempt, "keep", lambda self, data: (kept.append(data), keep(self, data)))
    key = stopped(store, document(), monkeypatch)
    before = Checkpoint.from_bytes(kept[-1][64:])
    run(store, document())
    commit = store.commit(key)
    assert commit is not None
    assert commit.facts["training_seconds"] > before.seconds > 0
    assert commit.facts["training_seconds"] - before.seconds < commit.facts["cell_seconds"]


@pytest.mark.slow
def test_the_curve_of_tensorboard_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, words = Store.open(tmp_path / "store"), document()
    key = stopped(store, words, monkeypatch)
    run(store, words)
    folder = boards_folder(store, words["name"], tmp_path) / cells_of(words)[key].title
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize("what", ["_source_digest", "_processor"])
def test_another_source_or_device_begins_anew(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, words = Store.open(tmp_path / "store"), document()
    key = stopped(store, words, monkeypatch)
    monkeypatch.setattr(f"adaprob_ray.runtime.provenance.{what}", lambda: "another")
    run(store, words)
    assert continued(store, key) == 0
    assert store.checkpoint(key) is None


@pytest.mark.slow
def test_a_storage_that_keeps_no_checkpoint_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Attempt, data: bytes) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(Attempt, "keep", full)
    plan, _ = run(Store.open(tmp_path / "store"), document())
    assert plan.exhausted()
    assert not plan.counts()["failed"]


def test_a_short_training_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PERIOD_SECONDS", 60.0)
    monkeypatch.setattr(Attempt, "keep", lambda self, data: pytest.fail("kept"))
    run(Store.open(tmp_path / "store"), document())


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_killed_training_goes_on(executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies as a preempted node's does: no handler runs. With Ray the searcher tries again by itself."""
    command = Command(tmp_path, document(), table="stage_tables:STOPPING", executor=executor)
    key = key_of(cells_of(command.document), "train", "original")
    code, _, err = command.run(ADAPROB_TEST_KILL="train-original")
    if executor == "local":
        assert code == -9
        code, _, err = command.run(ADAPROB_TEST_KILL="train-original")
    assert code == 0, err
    assert continued(command.opened(), key) == EPOCHS - 2
    assert same_columns(command.opened(), command.document) == same_columns(
        undisturbed(tmp_path, command.document), command.document
    )


def test_all_that_decides_the_bits_is_in_the_fingerprint() -> None:
    where = {"device": "cpu (some)", "threads": 2, "torch_version": "2.11", "numpy_version": "2.4", "host": "a"}
    known = fingerprint(where)
    assert fingerprint({**where, "host": "b"}) == known
    for name, value in {"device": "cpu (other)", "threads": 1, "torch_version": "2.12", "numpy_version": "2.5"}.items():
        assert fingerprint({**where, name: value}) != known
