"""A stopped training goes on after its last kept epoch and ends with the same bits; where it might not, it begins anew."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_sweep import TINY, Command, cells_of, commits, key_of, run, same_columns

from adaprob_ray.errors import LeaseLost, StoreError
from adaprob_ray.runtime import checkpoints, provenance
from adaprob_ray.runtime.cell_runner import RunConfig, execute
from adaprob_ray.runtime.launch import tensorboard_dir_for
from adaprob_ray.runtime.leases import AssumeExpired
from adaprob_ray.runtime.provenance import fingerprint
from adaprob_ray.stages.base import SERIES, WEIGHTS
from adaprob_ray.store import Store
from adaprob_ray.store.attempt import Attempt
from adaprob_ray.training.checkpoint import Checkpoint

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
        run(store, words, worker_registry="stage_tables:STOPPING")
    key = key_of(cells_of(words), "train", "original")
    assert store.log(key).released == {1}
    assert len(list(store.checkpoints(key))) == 1
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
    run(store, words, worker_registry="stage_tables:STOPPING")
    assert store.log(key).commits == {2}
    assert continued(store, key) == EPOCHS - 2, "the third epoch was reported, and not kept"
    other = undisturbed(tmp_path, words)
    assert continued(other, key) == 0
    assert store.read(key, WEIGHTS) == other.read(key, WEIGHTS)
    assert store.read(key, SERIES) == other.read(key, SERIES)
    assert same_columns(store, words) == same_columns(other, words)
    assert not list(store.checkpoints(key))


@pytest.mark.slow
def test_seconds_are_those_of_both_attempts_and_none_of_keeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, to_bytes = Store.open(tmp_path / "store"), Checkpoint.to_bytes

    def long_ago(self: Checkpoint) -> bytes:
        time.sleep(0.5)
        return to_bytes(replace(self, seconds=self.seconds + 1000))

    monkeypatch.setattr(Checkpoint, "to_bytes", long_ago)
    key = stopped(store, document(), monkeypatch)
    monkeypatch.setattr(checkpoints, "PERIOD_SECONDS", 0.0)
    start = time.monotonic()
    run(store, document())
    elapsed = time.monotonic() - start
    commit = store.commit(key)
    assert commit is not None
    assert 1000 < commit.facts["training_seconds"] < 1000 + elapsed - 2 * 0.5, "two were kept, half a second each"
    assert commit.facts["exclusive"] is False, "nobody knows what ran beside the first attempt"


@pytest.mark.slow
def test_a_foreign_checkpoint_does_not_hide_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, words = Store.open(tmp_path / "store"), document()
    key = stopped(store, words, monkeypatch)
    attempt = store.begin(key, {}, owner="another", run="another")
    assert attempt is not None
    attempt.keep(b"made by another card")
    attempt.release()
    run(store, words)
    assert store.log(key).commits == {3}
    assert continued(store, key) == EPOCHS - 2


def test_an_interrupt_after_the_commit_is_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: checkpoints.AttemptCheckpoints) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.AttemptCheckpoints, "drop", interrupted)
    store = Store.open(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        run(store, document())
    (done,) = commits(store)
    assert not store.log(done).released


@pytest.mark.parametrize("finished", [True, False])
def test_what_a_late_attempt_keeps_goes_once_the_cell_is_done(
    finished: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for dead; another took the cell; it keeps a checkpoint, and learns of all that at its commit."""
    store, words = Store.open(tmp_path / "store"), document()
    cell = cells_of(words)[key_of(cells_of(words), "train", "original")]
    commit = Attempt.commit

    def too_late(self: Attempt, facts: Mapping[str, Any]) -> None:
        other = store.begin(cell.key, {}, owner="another", run="another", watcher=AssumeExpired(self.number))
        assert other is not None
        if finished:
            commit(other, {})
        raise LeaseLost("taken")

    monkeypatch.setattr(Attempt, "commit", too_late)
    outcome = execute(cell, RunConfig.create(store, tmp_path, None), store, gpu=0, exclusive=False)
    assert outcome.status == "leased"
    assert len(list(store.checkpoints(cell.key))) == (0 if finished else 1)


@pytest.mark.slow
def test_the_curve_of_tensorboard_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, words = Store.open(tmp_path / "store"), document()
    key = stopped(store, words, monkeypatch)
    run(store, words)
    folder = tensorboard_dir_for(store, words["name"], tmp_path) / cells_of(words)[key].title
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize("what", ["_source_digest", "_processor"])
def test_another_source_or_device_begins_anew(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, words = Store.open(tmp_path / "store"), document()
    key = stopped(store, words, monkeypatch)
    monkeypatch.setattr(f"adaprob_ray.runtime.provenance.{what}", lambda: "another")
    run(store, words)
    assert continued(store, key) == 0
    assert not list(store.checkpoints(key))


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
    kept: list[bytes] = []
    monkeypatch.setattr(Attempt, "keep", lambda self, data: kept.append(data))
    plan, _ = run(Store.open(tmp_path / "store"), document())
    assert plan.exhausted()
    assert kept == []


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


def test_all_that_decides_the_bits_is_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    where: dict[str, Any] = {"device": "cpu (some)", "threads": 2, "host": "a"}
    where |= {"python_version": "3.12.1", "torch_version": "2.11", "numpy_version": "2.4"}
    known = fingerprint(where)
    assert fingerprint({**where, "host": "b"}) == known
    others = {"device": "cpu (other)", "threads": 1, "torch_version": "2.12", "numpy_version": "2.5"}
    for name, value in others.items():
        assert fingerprint({**where, name: value}) != known
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX")
    assert fingerprint(where) != known


def test_words_about_the_code_are_no_part_of_it() -> None:
    plain = 'def f(x):\n    return x + "a"\n'
    told = '"""A module."""\n\n# Why.\ndef f(x):\n    return x + "a"  # here\n'
    assert provenance._code('"""Another."""\n' + plain) == provenance._code(told)
    assert provenance._code(plain) != provenance._code(plain.replace('"a"', '"b"'))
