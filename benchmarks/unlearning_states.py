"""The states of an unlearning after each epoch, with what it has cost so far. For `benchmarks.unlearning`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from torch import nn

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.data.batches import Subsets
from adaprob_ray.errors import InputError, NotDone
from adaprob_ray.methods.base import Split, Unlearning
from adaprob_ray.metrics.outputs import Outputs, make_evaluation
from adaprob_ray.reporting.stats.equivalence import COLUMNS, TEST_ERROR
from adaprob_ray.stages.base import StageContext
from adaprob_ray.stages.models import compute_outputs, trained_model
from adaprob_ray.stages.unlearn import make_context, method_subsets
from adaprob_ray.store.names import OUTPUTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import EvaluateSettings, UnlearnSettings
from adaprob_ray.sweep.method_choices import REFERENCES
from adaprob_ray.training.cost import PassCounter, measure_cost, synchronized_time
from adaprob_ray.training.loop import restored_modes

METRICS = ("errors", "membership_auc", "kl_to_retrain")
MEASURED = (TEST_ERROR, "retain_error_percent", *COLUMNS)


@dataclass(frozen=True)
class State:
    """Seconds and passes (forward and backward, in samples) up to here, and the measured columns."""

    seconds: float
    passes: int
    columns: Mapping[str, float] = field(default_factory=dict)

    def with_seconds(self, seconds: float) -> State:
        return replace(self, seconds=seconds)


@dataclass(frozen=True)
class References:
    """The stored Outputs of the original and both retrained models of one seed, and what was forgotten."""

    outputs: Mapping[str, Outputs]
    settings: EvaluateSettings

    def columns(self, model: Outputs | str) -> dict[str, float]:
        """The measured columns of a model, or of the reference of this name."""
        outputs = self.outputs[model] if isinstance(model, str) else model
        evaluation = make_evaluation({**self.outputs, "model": outputs}, self.settings.forget, self.settings.seed)
        values: dict[str, float | None] = {}
        for name in METRICS:
            values |= REGISTRY.metrics[name].compute(evaluation)
        return {name: value for name in MEASURED if (value := values[name]) is not None}


def references_of(context: StageContext, evaluation: Cell) -> References:
    """The references of an evaluate cell. Raises InputError if one is not done."""
    try:
        outputs = {
            role: Outputs.from_bytes(context.store.read(evaluation.parents[role], OUTPUTS)) for role in REFERENCES
        }
    except NotDone as error:
        command = "adaprob-ray run SWEEP --store STORE --only label=retrain_independent"
        raise InputError(
            f"--store: must have the references of {evaluation.title}; compute them with: {command}"
        ) from error
    return References(outputs, cast(EvaluateSettings, evaluation.settings))


class Recorder:
    """Stops the clock after each epoch that a method reports, and measures the network."""

    def __init__(
        self, model: nn.Module, subsets: Subsets, context: StageContext, references: References | None
    ) -> None:
        self._model, self._subsets, self._device, self._references = model, subsets, context.device, references
        self._start, self._backward = 0.0, 0
        self.counter = PassCounter()
        self.states: list[State] = []

    def start(self) -> None:
        """Start the clock."""
        self._start = synchronized_time(self._device)

    def report(self, step: int, **scalars: float) -> None:
        """What methods call. A report without a backward pass since the last one is not of an epoch."""
        if self.counter.backward > self._backward:
            self._record(self.counter.trained or self._model)

    def finish(self, model: nn.Module) -> None:
        """Measure the result. It replaces the last epoch's state, unless the method has trained since."""
        if self.states and self.counter.backward == self._backward:
            self.states.pop()
        self._record(model)

    def _record(self, model: nn.Module) -> None:
        seconds = synchronized_time(self._device) - self._start - self.counter.paused_seconds
        passes, self._backward = self.counter.forward + self.counter.backward, self.counter.backward
        with self.counter.paused(self._device):
            self.states.append(State(seconds, passes, self._columns(model)))

    def _columns(self, model: nn.Module) -> dict[str, float]:
        if self._references is None:
            return {}
        with restored_modes(model):
            return self._references.columns(compute_outputs(model, self._subsets))


def states_of(cell: Cell, context: StageContext, references: References | None) -> list[State]:
    """Run the method of an unlearn cell. The last state is that of the result; without references none is measured."""
    settings = cast(UnlearnSettings, cell.settings)
    method = cast(Unlearning, REGISTRY.method(settings))
    subsets = context.subsets(settings)
    model = trained_model(settings, cell.parents["original"], context)
    recorder = Recorder(model, subsets, context, references)
    method_context = make_context(cell, context, method, recorder.counter)
    method_context.report = recorder.report
    split = Split(needs=method.needs | method.optional_needs, subsets=method_subsets(subsets, settings))
    with measure_cost(model, context.device, recorder.counter):
        recorder.start()
        recorder.finish(method.unlearn(model, split, method_context))
    return recorder.states
