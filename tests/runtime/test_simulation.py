"""Simulated runs against schedules by hand, and laws that hold for every run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import Family

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.packing import GpuPacker
from adaprob_ray.runtime.simulated_cluster import SimulatedCluster
from adaprob_ray.runtime.simulation import Schedule, Simulation
from adaprob_ray.sweep.cell import Cell, Resources
from adaprob_ray.sweep.plan import Plan


class Graph:
    """Cells with their resources and seconds, in the order in which they are added."""

    def __init__(self) -> None:
        self._family = Family()
        self.cells: dict[str, Cell] = {}
        self.seconds: dict[str, float] = {}

    def add(self, *parents: Cell, seconds: float = 100.0, **resources: Any) -> Cell:
        cell = replace(self._family.add(*parents), resources=Resources(**resources))
        self.cells[cell.key], self.seconds[cell.key] = cell, seconds
        return cell

    def run(self, cluster: str) -> Schedule:
        plan = Plan(self.cells, weights=self.seconds)
        schedule = Simulation(plan, self.seconds, SimulatedCluster.parse(cluster), GpuPacker()).run()
        assert plan.counts()["done"] == len(self.cells) == len(schedule.executions)
        return schedule


def times(schedule: Schedule, cell: Cell) -> tuple[float, float]:
    execution = schedule.executions[cell.key]
    return pytest.approx(execution.start), pytest.approx(execution.end)


def test_four_equal_cells_on_two_cards_leave_nothing_idle() -> None:
    graph = Graph()
    for _ in range(4):
        graph.add(gpu=1.0)
    schedule = graph.run("gpus=2")
    assert schedule.makespan == pytest.approx(200)
    assert schedule.busy == pytest.approx((200, 200))
    assert schedule.idle_share == pytest.approx(0)
    assert schedule.critical == pytest.approx(100)


def test_three_equal_cells_on_two_cards_leave_a_quarter_idle() -> None:
    graph = Graph()
    for _ in range(3):
        graph.add(gpu=1.0)
    schedule = graph.run("gpus=2")
    assert schedule.makespan == pytest.approx(200)
    assert schedule.idle_share == pytest.approx(1 / 4)


def test_children_wait_for_their_parents() -> None:
    graph = Graph()
    parent = graph.add(gpu=1.0)
    left, right = graph.add(parent, seconds=50, gpu=1.0), graph.add(parent, seconds=30, gpu=1.0)
    last = graph.add(left, right, seconds=5)
    schedule = graph.run("gpus=2")
    assert [times(schedule, cell) for cell in (parent, left, right, last)] == [
        (0, 100),
        (100, 150),
        (100, 130),
        (150, 155),
    ]
    assert schedule.critical == pytest.approx(155)
    assert schedule.idle_share == pytest.approx(1 - (100 + 50 + 30) / (2 * 155))


def test_the_longest_path_starts_first() -> None:
    graph = Graph()
    short, long = graph.add(seconds=60, gpu=1.0), graph.add(seconds=50, gpu=1.0)
    graph.add(long, seconds=50, gpu=1.0)
    schedule = graph.run("gpus=1")
    assert times(schedule, long) == (0, 50)
    assert times(schedule, short) == (50, 110)


def test_a_card_asked_in_thirds_holds_three() -> None:
    graph = Graph()
    cells = [graph.add(gpu=1 / 3) for _ in range(4)]
    schedule = graph.run("gpus=1")
    assert [times(schedule, cell) for cell in cells] == [(0, 300), (0, 300), (0, 300), (300, 400)]


def test_cells_on_one_card_share_its_speed() -> None:
    """At half speed the shorter one ends after 100 s; then the longer one has the card, and 50 s of work left."""
    graph = Graph()
    long, short, other = graph.add(gpu=0.5), graph.add(seconds=50, gpu=0.5), graph.add(seconds=400, gpu=1.0)
    schedule = graph.run("gpus=1")
    assert [times(schedule, cell) for cell in (other, long, short)] == [(0, 400), (400, 550), (400, 500)]


def test_few_cells_are_spread_over_the_cards() -> None:
    graph = Graph()
    cells = [graph.add(gpu=0.25) for _ in range(4)]
    schedule = graph.run("gpus=4")
    assert schedule.makespan == pytest.approx(100)
    assert {schedule.executions[cell.key].cards for cell in cells} == {(0,), (1,), (2,), (3,)}


def test_a_cell_on_two_cards_has_both_to_itself() -> None:
    graph = Graph()
    pair, single = graph.add(gpu=2), graph.add(seconds=10, gpu=0.5)
    schedule = graph.run("gpus=2")
    assert schedule.executions[pair.key].cards == (0, 1)
    assert [times(schedule, cell) for cell in (pair, single)] == [(0, 100), (100, 110)]
    assert sum(schedule.busy) == pytest.approx(210)


def test_an_exclusive_cell_is_alone_and_last() -> None:
    graph = Graph()
    alone, other = graph.add(gpu=1.0, exclusive=True), graph.add(seconds=20, gpu=1.0)
    child = graph.add(alone, seconds=10)
    schedule = graph.run("gpus=4")
    assert [times(schedule, cell) for cell in (other, alone, child)] == [(0, 20), (20, 120), (120, 130)]


def test_without_gpus_the_cells_run_on_cores() -> None:
    graph = Graph()
    wide, narrow = graph.add(cpu=3, gpu=0.5), graph.add(seconds=40, cpu=2)
    schedule = graph.run("cpus=4")
    assert [times(schedule, cell) for cell in (wide, narrow)] == [(0, 100), (100, 140)]
    assert schedule.idle_share == pytest.approx(1 - (3 * 100 + 2 * 40) / (4 * 140))


def test_cores_limit_the_cells_on_cards() -> None:
    graph = Graph()
    for _ in range(4):
        graph.add(gpu=0.25)
    schedule = graph.run("gpus=4,cpus=1")
    assert schedule.makespan == pytest.approx(400)
    assert schedule.idle_share == pytest.approx(3 / 4)


def test_nothing_to_run_takes_no_time() -> None:
    schedule = Graph().run("gpus=8")
    assert (schedule.makespan, schedule.idle_share, schedule.critical) == (0, 0, 0)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_card_and_no_core_is_granted_twice_and_no_work_is_lost(data: st.DataObject) -> None:
    graph = Graph()
    for _ in range(data.draw(st.integers(1, 25))):
        earlier = list(graph.cells.values())
        parents = data.draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True)) if earlier else []
        gpu = data.draw(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0, 2.0, "auto"]))
        graph.add(*parents, seconds=data.draw(st.floats(0.01, 1e5)), gpu=gpu, cpu=data.draw(st.integers(1, 3)))
    cards, cpus = data.draw(st.integers(2, 4)), data.draw(st.integers(3, 12))
    schedule = graph.run(f"gpus={cards},cpus={cpus}")
    runs = schedule.executions
    for moment in {execution.start for execution in runs.values()}:
        now = {key: run for key, run in runs.items() if run.start <= moment < run.end - 1e-3}
        for card in range(cards):
            assert sum(min(run.share, 1.0) for run in now.values() if card in run.cards) <= 1.001
        assert sum(graph.cells[key].resources.cpu for key in now) <= cpus
    for key, cell in graph.cells.items():
        assert all(runs[parent].end <= runs[key].start for parent in cell.parents.values())
        assert runs[key].end - runs[key].start >= graph.seconds[key] * (1 - 1e-6) - 1e-3
    work = sum(graph.seconds[key] * len(runs[key].cards) for key in graph.cells)
    assert sum(schedule.busy) == pytest.approx(work, rel=1e-6, abs=1e-3)
    assert schedule.makespan >= schedule.critical * (1 - 1e-6) - 1e-3


def test_a_cell_that_fits_nowhere_is_bad_input() -> None:
    graph = Graph()
    graph.add(gpu=1.0, cpu=4)
    with pytest.raises(
        InputError, match=r"--cluster: must hold a cell of stage train, .* 4 CPU, 1 GPU, got 2 GPUs, 3 CPU"
    ):
        graph.run("gpus=2,cpus=3")


@pytest.mark.parametrize(
    ("text", "cluster", "words"),
    [
        ("gpus=8,memory=80", SimulatedCluster(8, 80 * 10**9, 64), "8 GPUs of 80 GB, 64 CPU cores"),
        ("cpus=4,gpus=1", SimulatedCluster(1, None, 4), "1 GPU, 4 CPU cores"),
        ("gpus=0,cpus=1", SimulatedCluster(0, None, 1), "1 CPU core"),
    ],
)
def test_a_cluster_is_described_in_words(text: str, cluster: SimulatedCluster, words: str) -> None:
    assert SimulatedCluster.parse(text) == cluster
    assert str(cluster) == words


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("gpus=x", "--cluster: gpus: must be an integer of at least 0, got 'x'"),
        ("gpus=-1", "--cluster: gpus: must be an integer of at least 0, got '-1'"),
        ("gpus", "--cluster: gpus: must be an integer of at least 0, got ''"),
        ("cpus=0", "--cluster: cpus: must be an integer of at least 1, got '0'"),
        ("gpus=1,memory=0", "--cluster: memory: must be a number of GB greater than 0, got '0'"),
        ("gpus=1,memory=inf", "--cluster: memory: must be a number of GB greater than 0, got 'inf'"),
        ("gpus=1,gpus=2", "--cluster: gpus: must be given once, got 'gpus=1,gpus=2'"),
        ("gpu=1", "--cluster: unknown key 'gpu'; did you mean 'gpus'? (known: cpus, gpus, memory)"),
        ("memory=80", "--cluster: must have gpus or cpus, as in gpus=8,memory=80, got 'memory=80'"),
    ],
)
def test_a_cluster_that_cannot_be_read_is_bad_input(text: str, fault: str) -> None:
    with pytest.raises(InputError) as error:
        SimulatedCluster.parse(text)
    assert error.value.faults == (fault,)
