"""Shares of a GPU: how they are decided, and that Ray grants no card twice. Ray is told of cards that do not exist."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import TINY, cells_of

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.packing import CONTEXT_BYTES, Capacity, GpuPacker, memory_fraction, shape
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell, Resources

HERE = Path(__file__).resolve().parent
GB = 10**9


def gpu_cells(gpu: float | str, *, seeds: int = 8) -> list[Cell]:
    """Unlearn cells of one shape, one for each seed."""
    resources = {stage: {"gpu": gpu} for stage in ("train", "unlearn")}
    document = {**TINY, "resources": resources, "grid": {**TINY["grid"], "seed": list(range(1, seeds + 1))}}
    return [cell for cell in cells_of(document).values() if cell.method == "finetune" and cell.stage == "unlearn"]


def grants(packer: GpuPacker, cells: list[Cell]) -> list[float]:
    return [packer.grant(cell, waiting=len(cells) - number) for number, cell in enumerate(cells)]


@pytest.mark.parametrize(
    ("count", "shares"),
    [
        (1, [1.0]),
        (4, [1.0] * 4),
        (6, [0.5, 0.5, 0.5, 0.5, 1.0, 1.0]),
        (8, [0.5] * 7 + [0.25]),  # the last one takes a quarter of the half that is left
    ],
)
def test_few_cells_are_spread_over_four_cards(count: int, shares: list[float]) -> None:
    assert sorted(grants(GpuPacker(cards=4), gpu_cells(0.25)[:count])) == sorted(shares)
    assert sum(shares) <= 4


def test_many_cells_get_the_share_that_they_ask_for() -> None:
    packer = GpuPacker(cards=2)
    assert [packer.grant(cell, waiting=100) for cell in gpu_cells(0.25)] == [0.25] * 8


def test_cells_that_ended_leave_their_cards_to_others() -> None:
    packer, cells = GpuPacker(cards=2), gpu_cells(0.25)
    assert grants(packer, cells[:2]) == [1.0, 1.0]
    assert packer.grant(cells[2], waiting=1) == 0.25, "both cards are taken: it waits for a quarter of one"
    for cell in cells[:3]:
        packer.release(cell)
    assert packer.grant(cells[3], waiting=1) == 1.0


def test_auto_takes_a_whole_card_until_the_peak_of_its_shape_is_known() -> None:
    packer, (first, second, *_) = GpuPacker(cards=1), gpu_cells("auto")
    assert packer.share(first) == 1.0
    # 80 GB: (8 GB · 1.25 + 0.54 GB) / 80 GB = 0.13 of a card, so seven fit; the next share that is offered is a sixth.
    packer.observe(first.identity, peak_bytes=8 * GB, card_bytes=80 * GB)
    assert packer.share(second) == pytest.approx(1 / 6)
    packer.observe(second.identity, peak_bytes=30 * GB, card_bytes=80 * GB)
    assert packer.share(first) == 0.5, "the largest peak counts"
    packer.observe(second.identity, peak_bytes=70 * GB, card_bytes=80 * GB)
    assert packer.share(first) == 1.0


def test_auto_never_puts_more_than_sixteen_cells_on_a_card() -> None:
    packer, (cell, *_) = GpuPacker(cards=1), gpu_cells("auto")
    packer.observe(cell.identity, peak_bytes=1, card_bytes=80 * GB)
    assert packer.share(cell) == 1 / 16


def test_a_shape_leaves_out_what_does_not_change_the_memory() -> None:
    cells = [*gpu_cells("auto"), *gpu_cells(0.5)]
    assert len({shape(cell.identity) for cell in cells}) == 1
    others = cells_of({**TINY, "grid": {**TINY["grid"], "architecture": {"name": "allcnn", "filters": 0.04}}})
    assert shape(cells[0].identity) not in {shape(cell.identity) for cell in others.values()}


def test_out_of_memory_doubles_the_share_that_the_cell_had() -> None:
    packer, cells = GpuPacker(cards=1), gpu_cells(0.25)
    for cell in cells[:3]:
        packer.grant(cell, waiting=8)
    packer.out_of_memory(cells[0])
    packer.release(cells[0])
    assert packer.share(cells[0]) == 0.5
    assert packer.share(cells[1]) == 0.25
    packer.out_of_memory(cells[0])
    packer.out_of_memory(cells[0])
    assert packer.share(cells[0]) == 1.0


def test_peaks_are_read_from_completed_cells_of_the_store(tmp_path: Path) -> None:
    store, (first, second, *_) = Store.open(tmp_path), gpu_cells("auto")
    with store.begin(first.key, first.identity, owner="me", run="first") as attempt:  # type: ignore[union-attr]
        attempt.commit({"run_peak_bytes": 8 * GB, "run_card_bytes": 80 * GB})
    packer = GpuPacker()
    packer.observe_store([second], store)
    assert packer.share(second) == pytest.approx(1 / 6)
    ignorant = GpuPacker()
    ignorant.observe_store(gpu_cells(0.5), store)
    assert ignorant.share(second) == 1.0, "nothing is read for a sweep that does not ask for auto"


def test_every_process_leaves_room_for_its_context() -> None:
    assert memory_fraction(1.0, 80 * GB) == 1.0
    for n in (2, 3, 4, 8, 16):
        assert n * (memory_fraction(1 / n, 80 * GB) * 80 * GB + CONTEXT_BYTES) <= 80 * GB * (1 + 1e-9)
    assert memory_fraction(0.0625, 4 * GB) == 0.03125, (
        "on a card that is too small for sixteen contexts, half the share"
    )


def test_a_card_asked_in_thirds_holds_three() -> None:
    capacity = Capacity([{"CPU": 64.0, "GPU": 2.0}])
    assert capacity.slots({"CPU": 1.0, "GPU": 1 / 3}) == 6
    assert capacity.slots({"CPU": 1.0, "GPU": 0.3333}) == 6
    assert capacity.slots({"CPU": 1.0, "GPU": 0.6}) == 2, "a share does not span two cards"
    assert capacity.slots({"CPU": 1.0, "GPU": 2.0}) == 1
    assert capacity.slots({"CPU": 16.0, "GPU": 0.25}) == 4


def test_nodes_that_may_start_count_for_what_fits_but_not_for_what_runs_now() -> None:
    capacity = Capacity([{"CPU": 2.0}], [{"CPU": 8.0, "GPU": 1.0}] * 3)
    (cell, *_) = gpu_cells(0.5)
    assert capacity.request(cell) == {"CPU": 1.0, "GPU": 0.5}
    assert capacity.fits(capacity.request(cell))
    assert capacity.slots(capacity.request(cell)) == 0
    assert capacity.slots(capacity.request(cell), later=True) == 6
    assert Capacity([{"CPU": 2.0}]).request(cell) == {"CPU": 1.0}, "without any GPU the cell runs on CPU cores"


@pytest.mark.parametrize("gpu", [-0.5, 1.5, "half", None, float("nan")])
def test_a_share_that_cannot_be_granted_is_refused(gpu: Any) -> None:
    with pytest.raises(
        InputError, match=r"^gpu: must be (a number or auto|from 0 to 1|a finite number).*, got [^\n]*$"
    ):
        Resources(gpu=gpu)
    assert replace(Resources(), gpu="auto").gpu == "auto"


@pytest.fixture(scope="module")
def executions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """When and on which card each cell ran, in two runs on a Ray with four cards that do not exist."""
    folder = tmp_path_factory.mktemp("cards")
    path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "fake_gpus.py"), str(folder)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return {file.stem: [json.loads(line) for line in file.read_text().splitlines()] for file in folder.glob("*.jsonl")}


def loads(executions: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What is granted of each card at each moment at which a cell starts."""
    moments = []
    for moment in sorted(execution["start"] for execution in executions):
        load: dict[str, float] = defaultdict(float)
        for execution in executions:
            if execution["start"] <= moment < execution["end"]:
                load[execution["card"]] += execution["share"]
        moments.append(dict(load))
    return moments


@pytest.mark.ray
@pytest.mark.slow
def test_never_more_than_one_of_a_card_is_granted_over_a_run_of_200_cells(executions: Any) -> None:
    assert len(executions["thirds"]) == 200
    for run in executions.values():
        assert max(itertools.chain(*(load.values() for load in loads(run)))) <= 1 + 1e-3


@pytest.mark.ray
@pytest.mark.slow
def test_four_ready_cells_on_four_cards_run_on_four_cards(executions: Any) -> None:
    assert sorted(execution["card"] for execution in executions["four"]) == ["0", "1", "2", "3"]
    assert max(map(len, loads(executions["four"]))) == 4


@pytest.mark.ray
@pytest.mark.slow
def test_cards_asked_in_thirds_hold_three_cells_each(executions: Any) -> None:
    fullest = max(loads(executions["thirds"]), key=lambda load: sum(load.values()))
    assert fullest == pytest.approx({"0": 1.0, "1": 1.0, "2": 1.0, "3": 1.0}, abs=1e-3)
