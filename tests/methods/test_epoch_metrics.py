"""Metrics after each epoch: the same names for every method, and without a trace in the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from adaprob_ray import contract
from adaprob_ray.catalogue import METHODS, REGISTRY
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.stages import epoch_metrics
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.store.names import OUTPUTS, SERIES, WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.training import cost
from adaprob_ray.training.cost import PassCounter, measure_cost

LABELS: dict[str, dict[str, Any]] = {
    **{name: {} for name, method in METHODS.items() if method.stage == "unlearn"},
    "from_scrub": {"method": "adaprob", "source": "scrub", "scrub": {"epochs": 3}, "epochs": 2},
}
SWEEP = f"""
name: epochs
grid:
  dataset: digits
  architecture: {{name: allcnn, filters: {contract.FILTERS}}}
  forget: {json.dumps(contract.FORGET)}
  seed: {contract.SEED}
train: {{recipe: large, epochs: 2, batch_size: 20}}
methods: {json.dumps(LABELS)}
metrics: [errors]
keep: {{unlearn: weights}}
"""
SAMPLED = {
    f"per_epoch/{name}_{value}" for name in ("forget", "retain", "validation") for value in ("error_percent", "loss")
}


class Recorder:
    """A display that remembers what it was shown."""

    def __init__(self, *, epoch_metrics: bool = True) -> None:
        self.epoch_metrics = epoch_metrics
        self.shown: list[tuple[int, dict[str, float]]] = []
        self.errors: list[Exception] = []

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.shown.append((step, dict(values)))

    def evaluation(self, evaluation: Any) -> None: ...

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


class Bench(contract.MemoryStore):
    """The cells of SWEEP, of which the trained ones are executed once."""

    def __init__(self) -> None:
        super().__init__()
        self.planned = contract.planned(SWEEP)
        self.parts = contract.make_parts()
        for cell in self.planned.values():
            if cell.label == "original" and cell.stage == "train":
                self.execute(cell, None)
        evaluations = [cell for cell in self.planned.values() if cell.stage == "evaluate"]
        self.models = {cell.label: self.planned[cell.parents["model"]] for cell in evaluations}

    def execute(self, cell: Cell, display: Recorder | None) -> StageOutput:
        context = StageContext(
            store=self,
            registry=REGISTRY,
            data_root=Path(),
            device=contract.CPU,
            report=lambda step, **scalars: None,
            display=display,
        )
        self.cells[cell.key] = cell
        with mock.patch.object(StageContext, "subsets", return_value=self.parts):
            self.products[cell.key] = REGISTRY.stages[cell.stage].run(cell, context)
        return self.products[cell.key]

    def unlearn(self, label: str, display: Recorder | None) -> StageOutput:
        return self.execute(self.models[label], display)


@pytest.fixture(scope="module")
def bench(float64_bench: None) -> Bench:
    return Bench()


@pytest.mark.parametrize("label", [pytest.param(n, marks=[pytest.mark.slow] if n == "ntk" else []) for n in LABELS])
def test_every_method_shows_the_same_metrics_and_its_result_is_the_same_to_the_last_bit(
    label: str, bench: Bench
) -> None:
    display = Recorder()
    torch.manual_seed(7)
    silent = bench.unlearn(label, None)
    after_silent = torch.get_rng_state()
    torch.manual_seed(7)
    shown = bench.unlearn(label, display)
    assert torch.equal(torch.get_rng_state(), after_silent)
    assert {name: shown.files[name] for name in (WEIGHTS, OUTPUTS, SERIES)} == silent.files
    without_seconds = [
        {name: value for name, value in output.facts.items() if name != "unlearn_seconds"} for output in (silent, shown)
    ]
    assert without_seconds[0] == without_seconds[1], "passes included"
    assert not display.errors

    hyper = bench.models[label].settings.hyper  # type: ignore[attr-defined]
    epochs = hyper.get("epochs", 1) + (3 if label == "from_scrub" else 0)
    if hyper.get("lr") == "auto":  # which ends where the loss no longer improves
        epochs = min(epochs, len(display.shown) - 1)
    assert [step for step, _ in display.shown] == list(range(epochs + 1))
    assert display.shown[0][1].keys() == SAMPLED, "before the first epoch, the original"
    trained = {"per_epoch/seconds", "per_epoch/loss", "per_epoch/learning_rate"} if "epochs" in hyper else set()
    for _, values in display.shown[1:]:
        assert values.keys() >= SAMPLED | {"per_epoch/memory_mib"} | trained
    if hyper.get("source") == "original":
        assert display.shown[-1][1]["per_epoch/target_shift"] == shown.facts["target_shift"]


def test_the_last_epoch_shows_the_errors_of_the_result(bench: Bench) -> None:
    display = Recorder()
    output = bench.unlearn("finetune", display)
    outputs = Outputs.from_bytes(output.files[OUTPUTS])
    wrong = outputs.logits["train"].argmax(1) != outputs.labels["train"]
    forget = contract.forget_rows(bench.parts)
    last = display.shown[-1][1]
    assert last["per_epoch/forget_error_percent"] == pytest.approx(100 * wrong[forget].mean())
    assert last["per_epoch/retain_error_percent"] == pytest.approx(100 * np.delete(wrong, forget).mean())
    assert last["per_epoch/learning_rate"] == METHODS["finetune"]().lr


def test_a_rate_that_milestones_divide_is_that_of_the_epoch(bench: Bench) -> None:
    display = Recorder()
    bench.unlearn("scrub", display)
    rates = [values["per_epoch/learning_rate"] for _, values in display.shown[1:]]
    assert rates == pytest.approx([5e-3] * 3 + [5e-4] * 2), "the first milestone is after epoch 3"


@pytest.mark.parametrize("display", [None, Recorder(epoch_metrics=False)], ids=["no display", "turned off"])
def test_nothing_is_computed_unless_it_is_shown(
    display: Recorder | None, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_metrics, "errors_and_losses", lambda *_: pytest.fail("computed in vain"))
    bench.unlearn("finetune", display)
    assert display is None or display.shown == []


def test_an_error_ends_the_metrics_and_not_the_method(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = bench.unlearn("finetune", None)

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(epoch_metrics, "predict", fail)
    display = Recorder()
    assert bench.unlearn("finetune", display).files == silent.files
    assert [str(error) for error in display.errors] == ["out of memory"]
    assert display.shown == []


def test_the_time_that_is_shown_does_not_count(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the costs advances only while something is shown."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(cost, "synchronized_time", lambda device: clock.now)

    class Slow(Recorder):
        def scalars(self, step: int, values: Mapping[str, float]) -> None:
            clock.now += 1000.0

    assert bench.unlearn("scrub", Slow()).facts["unlearn_seconds"] == 0
    assert clock.now == 6000


def test_a_sample_is_bounded_and_spread_over_all_classes() -> None:
    parts = contract.make_parts()
    train = parts.train.select(np.repeat(np.arange(len(parts.train)), 5))
    sample = epoch_metrics.spread_sample(train)
    assert len(sample) == epoch_metrics.MAX_SAMPLES
    assert sample.rows.unique().numel() == len(parts.train)
    assert epoch_metrics.spread_sample(parts.validation) is parts.validation


def test_modes_are_left_as_they_were() -> None:
    model = contract.original()
    model.train()
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()
    before = {name: module.training for name, module in model.named_modules()}
    statistics = frozen.running_mean.clone()  # type: ignore[union-attr]
    epoch_metrics.errors_and_losses(model, {"forget": contract.make_parts().train})
    assert {name: module.training for name, module in model.named_modules()} == before
    assert torch.equal(frozen.running_mean, statistics)  # type: ignore[arg-type]


def test_a_paused_block_counts_no_passes_and_no_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(cost, "synchronized_time", lambda device: clock.now)
    model, counter = nn.Linear(3, 2), PassCounter()
    with measure_cost(model, contract.CPU, counter) as facts:
        model(torch.ones(4, 3)).sum().backward()
        clock.now += 2
        with counter.paused(contract.CPU):
            model(torch.ones(9, 3)).sum().backward()
            clock.now += 100
        clock.now += 3
    assert facts == {"seconds": 5, "forward_examples": 4, "backward_examples": 4}
    assert counter.trained is model
