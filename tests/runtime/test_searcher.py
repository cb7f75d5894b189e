"""The searcher driven by hand, without a cluster: order, waiting, exclusive cells, lost workers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher
from rich.console import Console
from small_world import with_value
from tiny_sweep import TINY, cells_of

from adaprob_ray.errors import RETRIES_BY_FAILURE_CLASS, LeaseLost
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.packing import Capacity, GpuPacker
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.runtime.searcher import CellSearcher
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome
from adaprob_ray.sweep.plan import Plan

FINISHED = str(Searcher.FINISHED)


def searcher_over(folder: Path, document: dict[str, Any], slots: int = 2) -> tuple[CellSearcher, Plan]:
    store = Store.open(folder / "store")
    plan = Plan(cells_of(document))
    progress = ProgressReporter(plan, console=Console(file=io.StringIO()))
    capacity = Capacity([{"CPU": float(slots)}])
    config = RunConfig.create(store, folder, None)
    searcher = CellSearcher(plan, config, Leases(store), progress, capacity=lambda: capacity, packer=GpuPacker())
    return searcher, plan


def drive(searcher: CellSearcher, at_once: int = 4) -> list[list[tuple[Cell, bool]]]:
    """Hand out as many cells as there may be, then end the oldest; returns what ran side by side at each moment."""
    running: list[tuple[str, Cell, bool]] = []
    moments = []
    for number in range(1000):
        answer = searcher.suggest(f"trial{number}") if len(running) < at_once else None
        if answer == FINISHED:
            return moments
        if isinstance(answer, dict):
            running.append((f"trial{number}", answer["cell"], answer["exclusive"]))
            moments.append([(cell, exclusive) for _, cell, exclusive in running])
            continue
        assert running, "nothing runs and nothing is handed out"
        trial, _, _ = running.pop(0)
        searcher.on_trial_complete(trial, {"outcome": Outcome("done", 0.1)})
    raise AssertionError("the searcher never finished")


def test_every_cell_is_handed_out_once_and_after_its_parents(tmp_path: Path) -> None:
    searcher, plan = searcher_over(tmp_path, TINY)
    moments = drive(searcher)
    order = [moment[-1][0].key for moment in moments]
    assert sorted(order) == sorted(plan.cells)
    assert all(order.index(parent) < order.index(key) for key in order for parent in plan.cells[key].parents.values())
    assert max(len(moment) for moment in moments) > 1, "independent cells run side by side"


def test_an_exclusive_cell_runs_alone(tmp_path: Path) -> None:
    searcher, _ = searcher_over(tmp_path, {**TINY, "resources": {"unlearn": {"exclusive": True}}})
    moments = drive(searcher)
    for moment in moments:
        alone = [cell for cell, exclusive in moment if exclusive]
        assert not alone or len(moment) == 1
    assert {cell.stage for moment in moments for cell, exclusive in moment if exclusive} == {"unlearn"}


def test_exclusive_cells_are_handed_out_seed_by_seed_so_that_methods_interleave(tmp_path: Path) -> None:
    everything = {stage: {"exclusive": True} for stage in ("train", "unlearn", "evaluate")}
    document = with_value({**TINY, "resources": everything}, "grid.seed", [3, 1, 2])
    searcher, plan = searcher_over(tmp_path, document)
    order = [moment[-1][0] for moment in drive(searcher)]
    assert sorted(cell.key for cell in order) == sorted(plan.cells)
    assert [cell.settings.seed for cell in order] == sorted(cell.settings.seed for cell in order)
    unlearned = [cell.settings.method for cell in order if cell.stage == "unlearn"]
    assert unlearned == ["adaprob", "finetune"] * 3


def test_times_are_taken_seed_by_seed_after_all_that_need_not_be_alone(tmp_path: Path) -> None:
    document = with_value({**TINY, "resources": {"unlearn": {"exclusive": True}}}, "grid.seed", [2, 1])
    searcher, _ = searcher_over(tmp_path, with_value(document, "repeats", 2))
    order = [moment[-1][0] for moment in drive(searcher)]
    turns = [(c.settings.seed, c.settings.repeat, c.settings.method) for c in order if c.stage == "unlearn"]
    assert turns == [(s, r, m) for s in (1, 2) for r in (0, 1) for m in ("adaprob", "finetune")]
    first = next(number for number, cell in enumerate(order) if cell.stage == "unlearn")
    assert {cell.stage for cell in order[first:]} == {"unlearn", "evaluate"}


def test_with_one_slot_every_cell_is_exclusive(tmp_path: Path) -> None:
    searcher, _ = searcher_over(tmp_path, TINY, slots=1)
    assert all(exclusive for moment in drive(searcher, at_once=1) for _, exclusive in moment)


def test_a_cell_whose_worker_dies_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    searcher, plan = searcher_over(tmp_path, TINY)
    first = searcher.suggest("trial0")
    assert isinstance(first, dict)
    key = first["cell"].key
    trials = {"trial0": first}
    tries = 0
    for number in range(1, 500):
        for trial, config in list(trials.items()):
            died = config["cell"].key == key
            tries += died
            searcher.on_trial_complete(trial, None if died else {"outcome": Outcome("done")}, error=died)
            del trials[trial]
        answer = searcher.suggest(f"trial{number}")
        if answer == FINISHED:
            break
        if isinstance(answer, dict):
            trials[f"trial{number}"] = answer
    assert tries == RETRIES_BY_FAILURE_CLASS["preempted"] + 1
    assert plan.state(key) == "failed"
    assert plan.failures[key].failure_class == "preempted"


def test_the_failure_of_a_dead_worker_is_stored_and_frees_the_cell_at_once(tmp_path: Path) -> None:
    """Wherever it ran: this process, which holds the lease, is alive."""
    searcher, _ = searcher_over(tmp_path, TINY)
    config, store = searcher.suggest("trial0"), Store.open(tmp_path / "store")
    assert isinstance(config, dict)
    key, run = config["cell"].key, config["run_config"].run
    held = store.begin(key, {}, owner="worker", run=run)
    assert held is not None
    assert store.begin(key, {}, owner="other", run=run) is None
    searcher.on_trial_complete("trial0", error=True)
    failure = store.failure(key)
    assert failure is not None
    assert failure.failure_class == "preempted"
    successor = store.begin(key, {}, owner="other", run=run)
    assert successor is not None
    held.commit({})
    with pytest.raises(LeaseLost):
        successor.commit({})


def test_a_lease_of_another_run_survives_the_death_of_a_worker(tmp_path: Path) -> None:
    searcher, _ = searcher_over(tmp_path, TINY)
    config, store = searcher.suggest("trial0"), Store.open(tmp_path / "store")
    assert isinstance(config, dict)
    held = store.begin(config["cell"].key, {}, owner="worker", run="another")
    searcher.on_trial_complete("trial0", error=True)
    assert held is not None
    assert store.log(held.key).open_attempts == {1}


class MembersOnly:
    """A plan of which nothing can be reached that CellSource does not name."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        assert name in vars(CellSource), f"{name} is not a member of CellSource"
        return getattr(self._plan, name)


def test_a_plan_is_a_cell_source() -> None:
    assert isinstance(Plan({}), CellSource)
    assert not isinstance({}, CellSource)


def test_searcher_leases_and_progress_need_no_more_than_a_cell_source(tmp_path: Path) -> None:
    plan, store = Plan(cells_of(TINY)), Store.open(tmp_path / "store")
    source: Any = MembersOnly(plan)
    config = RunConfig.create(store, tmp_path, None)
    with ProgressReporter(source, console=Console(file=io.StringIO())) as progress:
        capacity = Capacity([{"CPU": 2.0}])
        drive(CellSearcher(source, config, Leases(store), progress, capacity=lambda: capacity, packer=GpuPacker()))
    assert plan.counts()["done"] == len(plan.cells)


def test_a_restore_is_refused(tmp_path: Path) -> None:
    searcher, _ = searcher_over(tmp_path, TINY)
    with pytest.raises(NotImplementedError, match="run the same command again"):
        searcher.restore("anywhere")
