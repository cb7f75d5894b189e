"""A stopped training resumes from its last checkpoint and ends with the same bits; where it might not, it starts over."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_sweep import TINY, Command, cells_of, commits, key_of, run, same_columns

import adaprob_ray
from adaprob_ray.errors import LeaseLost, StoreError
from adaprob_ray.runtime import attempt_checkpoints
from adaprob_ray.runtime.cell_runner import RunConfig, execute
from adaprob_ray.runtime.provenance import NUMBER_FREE_SOURCES, fingerprint, provenance, syntax_tree
from adaprob_ray.runtime.tensorboard_layout import RunLayout, tensorboard_folder
from adaprob_ray.store import Attempt, Store
from adaprob_ray.store.lease_watcher import AssumeExpired
from adaprob_ray.store.names import SERIES, WEIGHTS
from adaprob_ray.training.training_state import Checkpoint

EPOCHS = 4
STOPPED = ("ADAPROB_TEST_STOP", "train-original")


def document(recipe: str = "large", **settings: Any) -> dict[str, Any]:
    """Two trained cells of four epochs: batch norm at work, momentum, one decay or the other."""
    words = copy.deepcopy(dict(TINY))
    words["train"] = {"recipe": recipe, "epochs": EPOCHS}
    words["methods"] = {"original": {}}
    return {**words, **settings}


@pytest.fixture(autouse=True)
def a_checkpoint_after_each_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(attempt_checkpoints, "PERIOD_SECONDS", 0.0)
    monkeypatch.setattr(attempt_checkpoints, "MAX_OVERHEAD", 1e9)
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
    assert continued(store, key) == EPOCHS - 2, "the third epoch was reported and has no checkpoint"
    other = undisturbed(tmp_path, words)
    assert continued(other, key) == 0
    assert store.read(key, WEIGHTS) == other.read(key, WEIGHTS)
    assert store.read(key, SERIES) == other.read(key, SERIES)
    assert same_columns(store, words) == same_columns(other, words)
    assert not list(store.checkpoints(key))


@pytest.mark.slow
def test_seconds_are_those_of_both_attempts_without_saving_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, to_bytes = Store.open(tmp_path / "store"), Checkpoint.to_bytes

    def long_ago(self: Checkpoint) -> bytes:
        time.sleep(0.5)
        return to_bytes(replace(self, seconds=self.seconds + 1000))

    monkeypatch.setattr(Checkpoint, "to_bytes", long_ago)
    key = stopped(store, document(), monkeypatch)
    monkeypatch.setattr(attempt_checkpoints, "PERIOD_SECONDS", 0.0)
    start = time.monotonic()
    run(store, document())
    elapsed = time.monotonic() - start
    commit = store.commit(key)
    assert commit is not None
    assert 1000 < commit.facts["training_seconds"] < 1000 + elapsed - 2 * 0.5, "two checkpoints took half a second each"
    assert commit.facts["exclusive"] is False, "nobody knows what ran concurrently with the first attempt"


@pytest.mark.slow
def test_a_checkpoint_of_another_machine_does_not_hide_an_own_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, words = Store.open(tmp_path / "store"), document()
    key = stopped(store, words, monkeypatch)
    attempt = store.begin(key, {}, owner="another", run="another")
    assert attempt is not None
    attempt.save_checkpoint(b"written on another card")
    attempt.release()
    run(store, words)
    assert store.log(key).commits == {3}
    assert continued(store, key) == EPOCHS - 2


def test_an_interrupt_after_the_commit_is_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: attempt_checkpoints.AttemptCheckpoints) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(attempt_checkpoints.AttemptCheckpoints, "drop", interrupted)
    store = Store.open(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        run(store, document())
    (done,) = commits(store)
    assert not store.log(done).released


@pytest.mark.parametrize("finished", [True, False])
def test_checkpoints_of_a_late_attempt_are_deleted_only_if_the_cell_is_done(
    finished: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was judged dead, another attempt took the cell, it saved a checkpoint, and its commit fails."""
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
    (target,) = RunLayout(cells_of(words)).runs(cells_of(words)[key])
    events = EventAccumulator(str(tensorboard_folder(store.location, words["name"]) / target.folder)).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("function", "value"),
    [("provenance._source_digest", "another"), ("cpu_columns.cpuinfo", {"model name": "another"})],
    ids=["source", "processor"],
)
def test_another_source_or_processor_starts_over(
    function: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, words = Store.open(tmp_path / "store"), document()
    key = stopped(store, words, monkeypatch)
    monkeypatch.setattr(f"adaprob_ray.runtime.{function}", lambda: value)
    run(store, words)
    assert continued(store, key) == 0
    assert not list(store.checkpoints(key))


@pytest.mark.slow
def test_a_storage_error_while_saving_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Attempt, data: bytes) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(Attempt, "save_checkpoint", full)
    plan, _ = run(Store.open(tmp_path / "store"), document())
    assert plan.exhausted()
    assert not plan.counts()["failed"]


def test_a_short_training_saves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_checkpoints, "PERIOD_SECONDS", 60.0)
    checkpoint_list: list[bytes] = []
    monkeypatch.setattr(Attempt, "save_checkpoint", lambda self, data: checkpoint_list.append(data))
    plan, _ = run(Store.open(tmp_path / "store"), document())
    assert plan.exhausted()
    assert checkpoint_list == []


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_killed_training_resumes(executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    columns = provenance(torch.device("cpu"), threads=2, exclusive=True)
    reference = fingerprint(columns)
    varying = {"host": "b", "commit": "b", "started_at": "b", "exclusive": False, "run_dirty": True}
    assert fingerprint({**columns, **varying}) == reference
    deciding = columns.keys() - varying.keys()
    assert len(deciding) == 12
    for name in deciding:
        assert fingerprint({**columns, name: "another"}) != reference, name
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX")
    assert fingerprint(provenance(torch.device("cpu"), threads=2, exclusive=True)) != reference


def test_comments_and_docstrings_are_not_part_of_the_source() -> None:
    plain = 'def f(x):\n    return x + "a"\n'
    commented = '"""A module."""\n\n# Why.\ndef f(x):\n    return x + "a"  # here\n'
    assert syntax_tree('"""Another."""\n' + plain) == syntax_tree(commented)
    assert syntax_tree(plain) != syntax_tree(plain.replace('"a"', '"b"'))


def test_sources_without_influence_on_numbers_exist() -> None:
    """So that a file that is renamed does not silently become part of the fingerprint."""
    root = Path(adaprob_ray.__file__).parent
    assert all((root / name).exists() for name in NUMBER_FREE_SOURCES)
