"""Expected seconds of cells, from what completed cells in a store took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import TINY, cells_of

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.costs import work_of
from adaprob_ray.runtime.expected_seconds import ASSUMED_SECONDS, ASSUMED_SPEED, expected_seconds, read_measured
from adaprob_ray.runtime.forecast import forecast
from adaprob_ray.runtime.planning import plan_against
from adaprob_ray.runtime.simulated_cluster import SimulatedCluster
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell

CELLS = cells_of({**TINY, "resources": {"train": {"gpu": 1}, "unlearn": {"gpu": 0.5}}})


def first(stage: str, method: str = "") -> Cell:
    return next(cell for cell in CELLS.values() if cell.stage == stage and method in ("", cell.method))


def complete(store: Store, cell: Cell, seconds: float, *, device: str = "a card", **facts: Any) -> None:
    """Commit a cell that took so long, with the passes that its method declares."""
    work = work_of(cell, REGISTRY)
    passes = {} if work is None else {"forward_examples": work.forward, "backward_examples": work.backward}
    names = {"train": "training_seconds", "unlearn": "unlearn_seconds"}
    timed = {names[cell.stage]: seconds} if cell.stage in names else {}
    with_provenance = {"device": device, "threads": 1, "cell_seconds": seconds + 1, **passes, **timed, **facts}
    attempt = store.begin(cell.key, cell.identity, owner="test", run="test")
    assert attempt is not None
    attempt.commit(with_provenance)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def expected(store: Store, cell: Cell, *, has_gpus: bool = True) -> tuple[float, str, tuple[str, ...]]:
    result = expected_seconds({cell.key: cell}, read_measured(store, REGISTRY), REGISTRY, has_gpus=has_gpus)
    (evidence,) = result.evidence
    return result.seconds[cell.key], evidence, tuple(device.device for device in result.devices)


def test_without_a_timed_cell_the_work_and_few_seconds_are_assumed(store: Store) -> None:
    cell = first("train")
    work = work_of(cell, REGISTRY)
    assert work is not None
    assert expected(store, cell) == (pytest.approx(work.multiply_adds / ASSUMED_SPEED), "assumed", ())
    assert expected(store, first("evaluate")) == (ASSUMED_SECONDS, "assumed", ())


def test_a_completed_cell_shows_the_speed_of_its_method_and_of_its_stage(store: Store) -> None:
    complete(store, first("train"), 20.0)
    complete(store, first("unlearn", "finetune"), 3.0)
    complete(store, first("evaluate"), 7.0)
    assert expected(store, first("train")) == (pytest.approx(20.0), "method", ("a card",))
    assert expected(store, first("unlearn", "finetune")) == (pytest.approx(3.0), "method", ("a card",))
    assert expected(store, first("evaluate")) == (pytest.approx(8.0), "stage", ())


def test_cells_on_cards_go_by_the_speed_of_cards_and_others_by_that_of_cores(store: Store) -> None:
    complete(store, first("train", "original"), 20.0)
    complete(store, first("train", "retrain"), 500.0, device="cpu (some)")
    assert expected(store, first("train", "original"))[2] == ("a card",)
    assert expected(store, first("train", "original"), has_gpus=False)[2] == ("cpu (some)",)


def test_cells_that_cannot_be_read_are_left_out(store: Store) -> None:
    complete(store, first("train"), 20.0)
    attempt = store.begin("of-another-version", {"stage": "gone"}, owner="test", run="test")
    assert attempt is not None
    attempt.commit({"cell_seconds": 1.0})
    assert len(read_measured(store, REGISTRY).rows) == 1


def test_only_cells_that_are_not_done_are_simulated(store: Store) -> None:
    for cell in CELLS.values():
        if cell.stage == "train":
            complete(store, cell, 20.0)
    result = forecast(plan_against(CELLS, store), store, SimulatedCluster.parse("gpus=2"), REGISTRY)
    assert result.schedule.executions.keys() == {key for key, cell in CELLS.items() if cell.stage != "train"}
    assert set(result.hours_by_stage) == {"unlearn", "evaluate"}
    assert "  speeds of a card, float32, 1 thread" in result.lines()


def test_hours_by_the_speed_of_a_processor_do_not_hold_for_a_card(store: Store) -> None:
    complete(store, first("train"), 20.0, device="cpu (some)")
    result = forecast(plan_against(CELLS, store), store, SimulatedCluster.parse("gpus=2"), REGISTRY)
    assert "  no cell in the store ran on a GPU: the idle share is reliable, the hours are not" in result.lines()
