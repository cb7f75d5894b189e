"""What must hold on a CUDA card: the numbers are those of the CPU, and a cell stays within its share of the memory.

`make test-gpu` runs what is marked gpu. The same code runs on the CPU in the slow tests, so that it is known to work.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from unittest import mock

import problems
import pytest
import torch
from double_precision import double_precision
from safetensors.torch import load
from tiny_sweep import cells_of, key_of

from adaprob_ray import contract
from adaprob_ray.catalogue import METHODS, REGISTRY
from adaprob_ray.contract.fixtures import one_thread  # noqa: F401  # as cells run
from adaprob_ray.data.batches import DeviceImages, Subset, Subsets
from adaprob_ray.projection import project
from adaprob_ray.runtime.cell_runner import RunConfig, execute
from adaprob_ray.runtime.device import select_device
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.store import Store
from adaprob_ray.store.names import OUTPUTS, WEIGHTS
from adaprob_ray.sweep.cell import Cell

CUDA = torch.device("cuda", 0)
devices = pytest.mark.parametrize(
    "device", [pytest.param(CUDA, marks=pytest.mark.gpu, id="cuda"), pytest.param(contract.CPU, id="cpu")]
)

# Few steps, and the whole of each subset in a batch: rounding grows with each step.
SWEEP = f"""
name: gpu
grid:
  dataset: digits
  architecture: {{name: allcnn, filters: {contract.FILTERS}}}
  forget: {json.dumps(contract.FORGET)}
  seed: {contract.SEED}
train: {{recipe: large, epochs: 2, lr: 0.002, batch_size: 160}}
methods: {json.dumps({name: {} for name in METHODS if name != "retrain_independent"})}
metrics: [errors, kl_to_retrain]
keep: {{unlearn: weights}}
"""


def on_device(subset: Subset, device: torch.device) -> Subset:
    pixels = DeviceImages(
        *(getattr(subset.pixels, field.name).to(device) for field in dataclasses.fields(DeviceImages))
    )
    return Subset(pixels, subset.rows.to(device))


class DeviceStore(contract.MemoryStore):
    """Runs cells on a device, on the subsets of the bench."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        parts = contract.make_parts()
        self.device = device
        self.parts = Subsets(**{name: on_device(getattr(parts, name), device) for name in contract.ROWS})

    def run(self, cell: Cell) -> StageOutput:
        context = StageContext(
            store=self, registry=REGISTRY, data_root=Path(), device=self.device, report=lambda step, **scalars: None
        )
        self.cells[cell.key] = cell
        with mock.patch.object(StageContext, "subsets", return_value=self.parts):
            self.products[cell.key] = REGISTRY.stages[cell.stage].run(cell, context)
        return self.products[cell.key]


@functools.cache
def model_cells() -> dict[str, Cell]:
    """The cell of each method, by its name, parents first."""
    cells = contract.planned(SWEEP).values()
    return {cell.method: cell for cell in cells if cell.stage in ("train", "unlearn")}


@functools.cache
def outputs(device: torch.device) -> dict[str, StageOutput]:
    """What the cell of each method leaves in float64."""
    store = DeviceStore(device)
    with double_precision():
        return {method: store.run(cell) for method, cell in model_cells().items()}


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_a_method_gives_the_same_network_on_the_card_as_on_the_cpu(method: str) -> None:
    """In float64, where devices differ by 1e-16 an operation: 1e-6 is far above what a training makes of that."""
    assert_same(outputs(CUDA)[method], outputs(contract.CPU)[method])


@pytest.mark.slow
def test_the_comparison_of_devices_works_where_there_is_only_a_cpu() -> None:
    """The cells of two methods once more; and it notices another method."""
    assert outputs(contract.CPU).keys() == METHODS.keys()
    again = DeviceStore(contract.CPU)
    with double_precision():
        for method in ("original", "adaprob"):
            assert_same(again.run(model_cells()[method]), outputs(contract.CPU)[method])
    with pytest.raises(AssertionError):
        assert_same(outputs(contract.CPU)["scrub"], outputs(contract.CPU)["adaprob"])


def assert_same(actual: StageOutput, expected: StageOutput) -> None:
    """The same weights and outputs, up to rounding in float64."""
    for name in (WEIGHTS, OUTPUTS):
        ours, theirs = load(actual.files[name]), load(expected.files[name])
        assert ours.keys() == theirs.keys()
        for tensor in theirs:
            torch.testing.assert_close(ours[tensor], theirs[tensor], rtol=1e-6, atol=1e-6)


@devices
@pytest.mark.parametrize(
    "problem",
    [
        problems.instance(rows=500, classes=10),
        problems.forgetting(400, 10, torch.arange(40), margin=8.0, lam=2.0),
        problems.forgetting(400, 10, torch.arange(40), margin=8.0, lam=0.5, emptied=True),
    ],
    ids=["random", "uniform", "emptied"],
)
def test_the_projection_gives_the_same_targets_on_the_device(
    problem: tuple[torch.Tensor, ...], device: torch.device
) -> None:
    expected = problems.solve(*problem)
    log_r_NK, weights_N, totals_K = problem
    solution = project(log_r_NK.to(device), weights_N.to(device), totals_K.to(device), tolerance=1e-13)
    assert solution.status == "converged", solution.message
    assert solution.targets.device == device
    torch.testing.assert_close(solution.targets.cpu(), expected.targets, rtol=0, atol=1e-9)
    assert abs(solution.targets.sum(0).cpu() - totals_K).max() <= 1e-9 * len(log_r_NK)


@devices
@pytest.mark.slow
def test_a_cell_records_the_device_and_its_peak(device: torch.device, tmp_path: Path) -> None:
    on_card = device == CUDA
    cells = cells_of()
    cell = cells[key_of(cells, "train", "original")]
    store = Store.open(tmp_path / "store")
    config = RunConfig.create(store, tmp_path, None)
    outcome = execute(cell, config, store, gpu=0.25 if on_card else 0.0, exclusive=True)
    assert outcome.status == "done", outcome.failure
    commit, holder = store.commit(cell.key), store.holder(cell.key, 1)
    assert commit is not None
    assert holder is not None
    if on_card:
        assert commit.facts["device"] == torch.cuda.get_device_name(0)
        assert 0 < commit.facts["run_peak_bytes"] < 0.25 * torch.cuda.get_device_properties(0).total_memory
        assert (holder.gpu, bool(holder.gpu_id)) == (0.25, True)
    else:
        assert commit.facts["device"].startswith("cpu (")
        assert "run_peak_bytes" not in commit.facts
        assert (holder.gpu, holder.gpu_id) == (0.0, "")


@pytest.mark.gpu
def test_a_cell_cannot_take_more_than_its_share_of_the_memory() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    share = 0.1
    try:
        device = select_device(share)
        torch.empty(int(total * share / 2), dtype=torch.uint8, device=device)
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(total * share * 1.5), dtype=torch.uint8, device=device)
    finally:
        select_device(1.0)


def test_without_a_granted_card_a_cell_uses_the_cpu() -> None:
    assert select_device(0.0) == contract.CPU
