"""A whole sweep in this process: what runs, what is never run again, and what a failure leaves."""

from __future__ import annotations

import io
import json
import math
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console
from small_world import with_value
from tiny_sweep import (
    CELLS,
    TINY,
    cells_of,
    commits,
    executed,
    key_of,
    may_differ,
    run,
    same_columns,
    with_bumped_metric,
)

from adaprob_ray import cli
from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import StoreError
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.runtime import launch, local
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.planning import plan_against
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.store import Store
from adaprob_ray.store.names import OUTPUTS, RECORD, SERIES, WEIGHTS
from adaprob_ray.store.records import load_records, read_records
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.select import select_cells
from adaprob_ray.sweep.sweep import Sweep


def test_every_cell_is_done_once_parents_first(first_run: tuple[Store, Plan]) -> None:
    store, plan = first_run
    assert plan.counts()["done"] == len(plan.executed) == len(plan.cells) == CELLS
    assert commits(store) == dict.fromkeys(plan.cells, frozenset({1}))
    order = [key for key, _ in plan.executed]
    for key, cell in plan.cells.items():
        assert all(order.index(parent) < order.index(key) for parent in cell.parents.values())


def test_each_stage_leaves_its_files(first_run: tuple[Store, Plan]) -> None:
    store, plan = first_run
    wanted = {"train": {WEIGHTS, OUTPUTS, SERIES}, "unlearn": {OUTPUTS, SERIES}, "evaluate": {RECORD}}
    for key, cell in plan.cells.items():
        commit = store.commit(key)
        assert commit is not None
        assert set(commit.files) == wanted[cell.stage]
        assert store.cell(key) == json.loads(json.dumps(cell.identity))


def test_records_agree_with_the_stored_outputs(first_run: tuple[Store, Plan]) -> None:
    """The errors once more, by hand, from logits and labels."""
    store, plan = first_run
    records = {r["label"]: r for r in read_records(store, [k for k, c in plan.cells.items() if c.stage == "evaluate"])}
    assert len(records) == 6
    for label, record in records.items():
        outputs = Outputs.from_bytes(store.read(record["model_key"], OUTPUTS))
        wrong = outputs.logits["test"].argmax(1) != outputs.labels["test"]
        assert record["test_error_percent"] == pytest.approx(100 * np.mean(wrong), abs=1e-9)
        assert (record["forget_rows"], record["retain_rows"], record["test_rows"]) == (25, 1129, 360)
        assert record["seed"] == 1
        assert record["kl_forget_nats"] is None or math.isfinite(record["kl_forget_nats"])
        assert (record["kl_forget_nats"] is None) is (label == "retrain_independent")
        assert record["exclusive"] is True
    assert records["plain"]["method.variant"] == "plain"
    assert records["original"]["parameter_distance"] == 0
    assert records["finetune"]["parameter_distance"] > 0


def test_times_are_not_exclusive_while_another_process_of_this_host_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cells = Store.open(tmp_path / "store"), cells_of()
    other = next(cell for cell in cells.values() if cell.stage == "train")
    store.begin(other.key, other.identity, owner="other", run="other")
    leases = Leases(store)
    assert not leases.share_this_host(Plan(cells)), "no cell is leased"
    plan = plan_against(cells, store, leases=leases)
    assert [cell.key for cell in plan.leased()] == [other.key]
    assert leases.share_this_host(plan)
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert not leases.share_this_host(plan)


def test_running_again_runs_nothing(done: Store) -> None:
    before = {key: log.leases for key, log in done.survey().items()}
    plan, recomputed = run(done)
    assert plan.counts()["done"] == CELLS
    assert not plan.executed
    assert not recomputed
    assert {key: log.leases for key, log in done.survey().items()} == before


def test_two_undisturbed_runs_give_the_same_records(first_run: tuple[Store, Plan], tmp_path: Path) -> None:
    other = Store.open(tmp_path / "other")
    run(other)
    assert same_columns(other) == same_columns(first_run[0])


def test_a_seed_added_runs_only_its_own_cells(done: Store) -> None:
    plan, _ = run(done, with_value(TINY, "grid.seed", [2, 1]))
    assert len(plan.cells) == 2 * CELLS
    assert {plan.cells[key].settings.seed for key, _ in plan.executed} == {2}
    assert len(plan.executed) == CELLS


def test_a_bumped_metric_runs_only_evaluations(done: Store) -> None:
    plan, _ = run(done, TINY, with_bumped_metric("errors"))
    assert len(plan.executed) == 6
    assert {plan.cells[key].stage for key, _ in plan.executed} == {"evaluate"}


def test_without_a_sweep_the_latest_records_are_loaded_and_with_one_its_own(done: Store) -> None:
    registry = with_bumped_metric("errors")
    run(done, TINY, registry)
    old, bumped = (Sweep.parse(yaml.safe_dump(dict(TINY)), words) for words in (REGISTRY, registry))

    def evaluations(sweep: Sweep) -> set[str]:
        return {key for key, cell in sweep.cells.items() if cell.stage == "evaluate"}

    assert set(load_records(done)["key"]) == evaluations(bumped)
    assert set(load_records(done, old)["key"]) == evaluations(old)
    assert not evaluations(old) & evaluations(bumped)


def test_weights_asked_for_later_are_made_by_unlearning_again_and_nothing_else(done: Store) -> None:
    before = same_columns(done)
    plan, recomputed = run(done, with_value(TINY, "keep", {"unlearn": "weights"}))
    assert sorted(executed(plan)) == ["unlearn-adaprob", "unlearn-finetune"]
    assert len(recomputed) == 2
    assert all("weights are needed now" in line for line in recomputed)
    for key, cell in plan.cells.items():
        if cell.stage == "unlearn":
            assert done.log(key).done == 2
            assert len(done.read(key, WEIGHTS)) > 100
    assert same_columns(done) == before
    again, _ = run(done)
    assert not again.executed, "weights that are there already do no harm"


def test_only_runs_what_fits_and_what_it_needs(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    cells = select_cells(cells_of(), "stage=unlearn,method=finetune")
    plan = launch.run(cells, store, sweep="tiny", data_root=tmp_path, executor="local").plan
    assert executed(plan) == ["train-original", "unlearn-finetune"]


# -- failures ------------------------------------------------------------------------------------------------------------


def test_a_failure_is_stored_blocks_only_what_is_below_and_is_tried_again(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    handlers: None,
) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(dict(TINY)))
    command = ["run", str(tmp_path / "sweep.yaml"), "--store", str(tmp_path / "store"), "--executor", "local"]
    cells = cells_of()
    bad, below = key_of(cells, "unlearn", "adaprob"), key_of(cells, "evaluate", "adaprob")

    with monkeypatch.context() as patch:
        patch.setitem(launch.run.__kwdefaults__, "registry", "stage_tables:FAILING")
        assert cli.main(command) == 1
    err = capsys.readouterr().err
    assert f"failed: {cells[bad].title}: code: RuntimeError: the sky is falling" in err
    assert f"blocked: {cells[below].title}: by {cells[bad].title}" in err

    store = Store.open(tmp_path / "store", create=False)
    assert commits(store) == dict.fromkeys(cells.keys() - {bad, below}, frozenset({1}))
    failure = store.failure(bad)
    assert failure is not None
    assert (failure.failure_class, failure.message) == ("code", "RuntimeError: the sky is falling")
    assert "fail_at_adaprob" in failure.traceback
    assert store.log(bad).failed == {1}
    assert not store.log(below).leases

    assert cli.main(command) == 0
    assert "2 cells executed, 12 of 12 done" in capsys.readouterr().out
    assert store.log(bad).failed == {1}
    assert store.log(bad).done == 2
    (copy,) = (entry["path"] for entry in store.objects.list("sweeps"))
    assert copy.startswith("sweeps/tiny-")
    assert store.objects.get(copy) == (tmp_path / "sweep.yaml").read_bytes()


def test_status_tells_what_failed_before(done: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = with_value(TINY, "methods.adaprob.lr", 0.25)
    plan, _ = run(done, document, worker_registry="stage_tables:FAILING")
    assert (plan.counts()["failed"], plan.counts()["blocked"]) == (1, 1)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(dict(document)))
    arguments = [str(tmp_path / "sweep.yaml"), "--store", done.location]
    assert cli.main(["status", *arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    bad = key_of(plan.cells, "unlearn", "adaprob")
    assert report["counts"]["done"] == 10
    assert report["counts"]["ready"] == 1
    assert report["failures"][bad]["message"] == "RuntimeError: the sky is falling"
    assert cli.main(["explain", arguments[0], bad[:10], *arguments[1:]]) == 0
    explained = capsys.readouterr().out
    assert "attempt 1: failed" in explained
    assert "the sky is falling" in explained
    assert 'settings.hyper.lr: 0.25 here, "auto" there' in explained


def test_skip_failed_leaves_alone_what_would_fail_again(
    done: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path, handlers: None
) -> None:
    document = with_value(TINY, "methods.finetune.lr", 1e30)
    cells = cells_of(document)
    bad = key_of(cells, "unlearn", "finetune")
    run(done, document)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(dict(document)))
    arguments = [str(tmp_path / "sweep.yaml"), "--store", done.location]
    capsys.readouterr()

    assert cli.main(["run", *arguments, "--executor", "local", "--skip-failed", "code, diverged"]) == 1
    output = capsys.readouterr()
    assert "0 cells executed, 10 of 12 done" in output.out
    skipped, blocked = (line for line in output.err.splitlines() if "cells: " not in line)
    assert skipped.startswith(f"failed before, skipped: {cells[bad].title}: diverged: ")
    assert "Diverged: " not in skipped
    assert blocked.startswith("blocked: evaluate-finetune-")
    assert done.log(bad).failed == {1}

    assert cli.main(["plan", *arguments, "--skip-failed", "diverged"]) == 0
    planned = capsys.readouterr().out
    assert f"{skipped}\n" in planned
    assert "to execute: 0 cells" in planned
    assert cli.main(["plan", *arguments, "--skip-failed", "code"]) == 0
    assert "to execute: 2 cells" in capsys.readouterr().out

    assert cli.main(["run", *arguments, "--executor", "local", "--skip-failed", "code"]) == 1
    assert done.log(bad).failed == {1, 2}, "a failure of another class is tried again"


def test_what_is_no_number_any_more_has_diverged(done: Store) -> None:
    plan, _ = run(done, with_value(TINY, "methods.finetune.lr", 1e30))
    key = key_of(plan.cells, "unlearn", "finetune")
    assert plan.state(key) == "failed"
    assert plan.failures[key].failure_class == "diverged"
    failure = done.failure(key)
    assert failure is not None
    assert failure.failure_class == "diverged"
    assert not executed(plan)


@pytest.mark.parametrize(("times", "state"), [(2, "done"), (3, "failed")])
def test_storage_that_is_away_for_a_moment_costs_a_try_and_not_the_run(
    times: int, state: str, done: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = with_value(TINY, "methods.finetune.lr", 0.02)
    key, tries, begin = key_of(cells_of(document), "unlearn", "finetune"), [], Store.begin

    def faulty(self: Store, wanted: str, *rest: Any, **named: Any) -> Any:
        if wanted == key:
            tries.append(wanted)
            if len(tries) <= times:
                raise StoreError("no answer")
        return begin(self, wanted, *rest, **named)

    monkeypatch.setattr(Store, "begin", faulty)
    if state == "failed":  # a third failure in a row stops the run
        with pytest.raises(StoreError, match="stopped after 3 storage failures in a row: StoreError: no answer"):
            run(done, document)
    else:
        plan, _ = run(done, document)
        assert plan.state(key) == "done"
        assert not plan.failures
    assert len(tries) == 3


# -- artefacts that differ from their commit ------------------------------------------------------------------------------


def artefact(store: Store, key: str, name: str) -> Path:
    return Path(store.location) / "attempts" / key / "1" / name


def test_a_file_cut_short_is_noticed_and_made_again(done: Store) -> None:
    before = same_columns(done)
    key = key_of(cells_of(), "train", "original")
    file = artefact(done, key, WEIGHTS)
    file.write_bytes(file.read_bytes()[:-1])
    plan, (line,) = run(done)
    assert executed(plan) == ["train-original"]
    assert key in line
    assert WEIGHTS in line
    assert done.log(key).revoked == {1}
    assert done.log(key).done == 2
    assert same_columns(done) == before


def test_a_record_that_is_gone_is_made_again(done: Store) -> None:
    before = same_columns(done)
    artefact(done, key_of(cells_of(), "evaluate", "plain"), RECORD).unlink()
    plan, _ = run(done)
    assert executed(plan) == ["evaluate-plain"]
    assert same_columns(done) == before


def test_a_byte_turned_over_is_noticed_by_whoever_reads_it(done: Store) -> None:
    """Sizes are right, so nobody knows before an evaluation reads it: then the parent is made again, once, and all go on."""
    key = key_of(cells_of(), "train", "original")
    file = artefact(done, key, OUTPUTS)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    plan, recomputed = run(done, TINY, with_bumped_metric("errors"))
    assert not recomputed
    assert executed(plan).count("train-original") == 1
    assert sorted(set(executed(plan)) - {"train-original"}) == sorted(
        f"evaluate-{c.label}" for c in plan.cells.values() if c.stage == "evaluate"
    )
    assert plan.counts()["done"] == CELLS
    assert done.log(key).revoked == {1}
    released = [log for k, log in done.survey().items() if log.released]
    assert len(released) == 1
    old, new = (
        {name: value for name, value in row.items() if name not in ("key", "lineage")}
        for row in (same_columns(done)[0], read_same(done, key_of(plan.cells, "evaluate", "original")))
    )
    assert old == new


def read_same(store: Store, key: str) -> dict[str, object]:
    (row,) = read_records(store, [key])
    return {name: value for name, value in row.items() if not may_differ(name)}


def test_a_parent_that_somebody_revokes_meanwhile_is_made_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    cells = cells_of(TINY)
    run(store)
    original = key_of(cells, "train", "original")
    evaluated = key_of(cells, "evaluate", "finetune")
    plan = plan_against(cells, store)
    store.revoke(original, 1, "by another run, after this one made its plan")
    store.revoke(evaluated, 1, "so that there is something to do")
    plan.observe(cells[evaluated], "free")  # this run's plan still holds the original for done
    job = RunConfig.create(store, Path("nowhere"), None)
    with ProgressReporter(plan, console=Console(file=io.StringIO())) as progress:
        local.run(plan, job, store, Leases(store), progress)
    assert plan.counts()["done"] == len(cells)
    assert store.log(original).done == 2


def test_a_truncated_description_of_a_finished_cell_is_made_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    cells = cells_of(TINY)
    run(store)
    original = key_of(cells, "train", "original")
    (tmp_path / "store" / "cells" / original / "cell.json").write_bytes(b"")
    more = with_value(TINY, "methods.again", {"method": "finetune", "epochs": 2})
    plan, _ = run(store, more)
    assert plan.exhausted()
    assert not plan.failures
    assert store.log(original).done == 2
