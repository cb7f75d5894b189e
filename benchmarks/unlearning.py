"""Seconds and passes until AdaProb and SCRUB are as near to Retrain as a second retrained model is.

    python -m benchmarks.unlearning SWEEP --store STORE [--labels LABEL ...] [--seeds N ...] [--against LABEL]
                                    [--threads 1] [--out FILE.csv]

All runs are in this process, one at a time. After each epoch the clock stops and the state is measured. For each seed the
labels run in their order and in the reverse order; the seconds are the smaller of the two. The original, retrain and
retrain_independent must be done in the store: `adaprob-ray run SWEEP --only label=retrain_independent`, and so on.

A label has arrived after the first epoch at which, over all seeds, forget error, membership AUC and KL divergence from Retrain
are inside the noise floor (adaprob_ray/reporting/stats/noise_floor.py) and the mean test error is within one point of
Retrain's. All epochs are printed, also those of a label that never arrives.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import pandas as pd
import torch
from torch import nn

from adaprob_ray.catalogue import REGISTRY, data_root
from adaprob_ray.data.batches import Subsets
from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Split, Unlearning
from adaprob_ray.metrics.outputs import Evaluation, Outputs, make_evaluation
from adaprob_ray.reporting.stats.noise_floor import (
    FloorComparison,
    Values,
    compare_distance_with_floor,
    compare_with_floor,
    retrained_inside_share,
)
from adaprob_ray.stages.base import StageContext
from adaprob_ray.stages.models import compute_outputs, trained_model
from adaprob_ray.stages.unlearn import make_context, method_subsets
from adaprob_ray.store import Store
from adaprob_ray.store.names import OUTPUTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import UnlearnSettings
from adaprob_ray.sweep.sweep import Sweep
from adaprob_ray.training.cost import PassCounter, measure_cost, synchronized_time
from benchmarks import run_command

CPU = torch.device("cpu")
METRICS = ("errors", "membership_auc", "kl_to_retrain")
FLOOR_COLUMNS = ("forget_error_percent", "membership_auc_percent", "kl_forget_nats")
DISTANCES = ("kl_forget_nats",)  # from retrain_independent, so that Retrain's value is the floor
TEST_ERROR, MAX_TEST_DIFFERENCE = "test_error_percent", 1.0  # percentage points
REFERENCES = ("original", "retrain", "retrain_independent")
COLUMNS = (TEST_ERROR, "retain_error_percent", *FLOOR_COLUMNS)


@dataclass(frozen=True)
class Epoch:
    """The state of an unlearning after an epoch: its cost so far, and the metrics by column if they were measured."""

    seconds: float
    passes: int
    metrics: Mapping[str, float]


class Recorder:
    """Stops the clock after each epoch that a method reports, and measures the network."""

    def __init__(self, model: nn.Module, subsets: Subsets, references: References, *, measures: bool) -> None:
        self._model, self._subsets, self._references, self._measures = model, subsets, references, measures
        self._backward = 0
        self._start = 0.0
        self.counter = PassCounter()
        self.epochs: list[Epoch] = []

    def start(self) -> None:
        """Start the clock."""
        self._start = synchronized_time(CPU)

    def report(self, step: int, **scalars: float) -> None:
        """What methods call; a report without a backward pass since the last one is not of an epoch."""
        if self.counter.backward > self._backward:
            self.record(self.counter.trained or self._model)

    def record(self, model: nn.Module) -> None:
        """Add the state of the network after an epoch."""
        seconds = synchronized_time(CPU) - self._start - self.counter.paused_seconds
        passes = self.counter.forward + self.counter.backward
        self._backward = self.counter.backward
        with self.counter.paused(CPU):
            self.epochs.append(Epoch(seconds, passes, self._metrics(model) if self._measures else {}))

    def finish(self, model: nn.Module) -> None:
        """Measure the result, which replaces the last epoch's state unless the method has trained since."""
        if self.epochs and self.counter.backward == self._backward:
            self.epochs.pop()
        self.record(model)

    def _metrics(self, model: nn.Module) -> dict[str, float]:
        training = {module: module.training for module in model.modules()}
        try:
            return self._references.metrics(compute_outputs(model, self._subsets))
        finally:
            for module, mode in training.items():
                module.training = mode


@dataclass(frozen=True)
class References:
    """The stored Outputs of the original and both retrained models of one seed, and what was forgotten."""

    outputs: Mapping[str, Outputs]
    settings: UnlearnSettings

    @classmethod
    def read(cls, store: Store, evaluation: Cell, settings: UnlearnSettings) -> References:
        return cls(
            {role: Outputs.from_bytes(store.read(evaluation.parents[role], OUTPUTS)) for role in REFERENCES}, settings
        )

    def metrics(self, model: Outputs) -> dict[str, float]:
        """The columns of a model."""
        evaluation: Evaluation = make_evaluation(
            {**self.outputs, "model": model}, self.settings.forget, self.settings.seed
        )
        values: dict[str, float | None] = {}
        for name in METRICS:
            values |= REGISTRY.metrics[name].compute(evaluation)
        return {name: value for name in COLUMNS if (value := values[name]) is not None}


def unlearn(cell: Cell, context: StageContext, references: References, *, measures: bool) -> list[Epoch]:
    """Run the method of an unlearn cell, and return its states; the last one is that of the result."""
    settings = cast(UnlearnSettings, cell.settings)
    method = cast(Unlearning, REGISTRY.method(settings))
    subsets = context.subsets(settings)
    model = trained_model(settings, cell.parents["original"], context)
    recorder = Recorder(model, subsets, references, measures=measures)
    method_context = make_context(cell, context, method, recorder.counter)
    method_context.report = recorder.report
    split = Split(needs=method.needs | method.optional_needs, subsets=method_subsets(subsets, settings))
    with measure_cost(model, CPU, recorder.counter):
        recorder.start()
        recorder.finish(method.unlearn(model, split, method_context))
    return recorder.epochs


@dataclass(frozen=True)
class Contestant:
    """A label of the sweep: its unlearn and evaluate cells by seed."""

    label: str
    cells: Mapping[int, tuple[Cell, Cell]]


def contestants(sweep: Sweep, labels: Sequence[str], seeds: Sequence[int]) -> list[Contestant]:
    """The labels in the given order. Raises InputError for one that the sweep lacks, or that unlearns nothing."""
    by_label: dict[str, dict[int, tuple[Cell, Cell]]] = {}
    for cell in sweep.cells.values():
        model = sweep.cells.get(cell.parents.get("model", ""))
        if cell.stage == "evaluate" and model is not None and model.stage == "unlearn" and cell.settings.seed in seeds:
            by_label.setdefault(cell.label, {})[cell.settings.seed] = (model, cell)
    unknown = [label for label in labels if label not in by_label]
    if unknown:
        raise InputError(f"--labels: must be of {sweep.name}, got {', '.join(unknown)} (known: {', '.join(by_label)})")
    return [Contestant(label, by_label[label]) for label in labels or by_label]


def run_all(
    entered: Sequence[Contestant], seeds: Sequence[int], context: StageContext
) -> tuple[dict[str, dict[int, list[Epoch]]], dict[int, References]]:
    """States by label and seed, with the smaller seconds of the two orders, and the references by seed."""
    states: dict[str, dict[int, list[Epoch]]] = {entry.label: {} for entry in entered}
    references: dict[int, References] = {}
    for seed in seeds:
        for order in (entered, entered[::-1]):
            for entry in order:
                cell, evaluation = entry.cells[seed]
                settings = cast(UnlearnSettings, cell.settings)
                if seed not in references:
                    references[seed] = References.read(cast(Store, context.store), evaluation, settings)
                earlier = states[entry.label].get(seed)
                epochs = unlearn(cell, context, references[seed], measures=earlier is None)
                if earlier is not None:
                    epochs = [
                        Epoch(min(first.seconds, second.seconds), first.passes, first.metrics)
                        for first, second in zip(earlier, epochs, strict=True)
                    ]
                states[entry.label][seed] = epochs
                print(f"seed {seed}: {entry.label}: {epochs[-1].seconds:.1f} s", flush=True)
    return states, references


def floor_comparisons(
    column: str, values: Values, references: Mapping[int, Mapping[str, Mapping[str, float]]]
) -> FloorComparison | None:
    """One column of a label against the floor. `references`: columns by seed and role."""
    retrain = {seed: roles["retrain"][column] for seed, roles in references.items()}
    if column in DISTANCES:
        return compare_distance_with_floor(values, retrain)
    independent = {seed: roles["retrain_independent"][column] for seed, roles in references.items()}
    return compare_with_floor(values, retrain, independent)


def table(
    states: Mapping[str, Mapping[int, list[Epoch]]], references: Mapping[int, Mapping[str, Mapping[str, float]]]
) -> Iterator[dict[str, Any]]:
    """One line for each label and epoch: its cost, its columns, and whether they are inside the floor."""
    retrain_test = fmean(roles["retrain"][TEST_ERROR] for roles in references.values())
    for label, by_seed in states.items():
        for number in range(min(map(len, by_seed.values()))):
            of_epoch = {seed: epochs[number] for seed, epochs in by_seed.items()}
            line: dict[str, Any] = {
                "label": label,
                "epoch": number + 1,
                "seconds": fmean(epoch.seconds for epoch in of_epoch.values()),
                "passes": fmean(epoch.passes for epoch in of_epoch.values()),
            }
            outside = []
            for column in COLUMNS:
                values = {seed: epoch.metrics[column] for seed, epoch in of_epoch.items()}
                line[column] = fmean(values.values())
                if column not in FLOOR_COLUMNS:
                    continue
                comparison = floor_comparisons(column, values, references)
                assert comparison is not None
                line |= {
                    f"{column}_difference": comparison.difference.mean,
                    f"{column}_half_width": comparison.difference.half_width or 0.0,
                    f"{column}_floor": comparison.floor,
                }
                if not comparison.is_inside:
                    outside.append(column)
            if abs(line[TEST_ERROR] - retrain_test) > MAX_TEST_DIFFERENCE:
                outside.append(TEST_ERROR)
            yield {**line, "outside": " ".join(outside)}


def print_verdicts(lines: pd.DataFrame, against: str) -> None:
    """Which labels arrive, after how many seconds and passes, as ratios to `against` where that arrives too."""
    last = lines.groupby("label", sort=False).tail(1).set_index("label")
    arrived = lines[lines["outside"] == ""].groupby("label", sort=False).head(1).set_index("label")
    for label in last.index:
        if label in arrived.index:
            first = arrived.loc[label]
            ends = arrived if against in arrived.index else last
            print(
                f"{label}: inside the floor after epoch {first['epoch']}: "
                f"{first['seconds']:.1f} s, {first['passes']:,.0f} passes; "
                f"{first['seconds'] / ends.loc[against, 'seconds']:.2f}x the seconds and "
                f"{first['passes'] / ends.loc[against, 'passes']:.2f}x the passes of {against} "
                f"({'until it is inside' if against in arrived.index else 'to its end: it is never inside'})"
            )
        else:
            end = last.loc[label]
            print(f"{label}: never inside the floor; at its end ({end['seconds']:.1f} s) outside in {end['outside']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("sweep", help="a sweep file, as sweeps/reduced_selective.yaml")
    parser.add_argument("--store", required=True, help="where its original and retrained models are")
    parser.add_argument("--labels", nargs="+", default=[], help="default: all that unlearn")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="default: those of the file")
    parser.add_argument("--against", default="scrub_notebook", help="the label that ratios are to")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a CSV file for the table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sweep = Sweep.load(options.sweep, REGISTRY)
    seeds = options.seeds or sorted({cell.settings.seed for cell in sweep.cells.values()})
    entered = contestants(sweep, options.labels, seeds)
    if options.against not in [entry.label for entry in entered]:
        raise InputError(f"--against: must be one of the labels that run, got {options.against}")
    context = StageContext(
        store=Store.open(options.store, create=False),
        registry=REGISTRY,
        data_root=data_root(),
        device=CPU,
        report=lambda step, **scalars: None,
    )
    states, references = run_all(entered, seeds, context)
    reference_columns = {
        seed: {role: of_seed.metrics(of_seed.outputs[role]) for role in REFERENCES}
        for seed, of_seed in references.items()
    }
    lines = pd.DataFrame(table(states, reference_columns))
    print(lines.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    print_verdicts(lines, options.against)
    share = 100 * retrained_inside_share(len(seeds))
    print(f"a third retrained model is inside the floor of one metric in {share:.0f} % of such tables (simulated)")
    if options.out is not None:
        lines.to_csv(options.out, index=False, float_format="%.6g")


if __name__ == "__main__":
    run_command(main)
