"""Seconds and passes until AdaProb and SCRUB are equivalent to Retrain.

    python -m benchmarks.unlearning SWEEP [SWEEP ...] --store STORE [--only CONDITIONS] [--labels LABEL ...]
                                    [--against LABEL] [--threads 1] [--out FILE.csv]

All runs are in this process, one at a time. After each epoch the clock stops and the state is measured. For each seed the
labels run in their order and in the reverse order; the seconds are the smaller of the two. The three references must be done:
`adaprob-ray run SWEEP --store STORE --only label=retrain_independent`.

A label is equivalent after an epoch if forget error, membership AUC and KL divergence are, over all seeds, by the rules of
adaprob_ray/reporting/stats/equivalence.py, and the mean test error is within one point of Retrain's. To stop at the first such
epoch one would have to know Retrain; the state at the end is what the method returns. Both are printed. Methods that return an
earlier state (SCRUB+R, AdaProb with `lr: auto`) are judged at their end only.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch

from adaprob_ray.catalogue import REGISTRY, data_root
from adaprob_ray.errors import Diverged, InputError
from adaprob_ray.methods.scrub_rewind import ScrubRewind
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.stats.equivalence import (
    COLUMNS,
    MAX_TEST_DIFFERENCE,
    TEST_ERROR,
    compare,
    retrained_share,
)
from adaprob_ray.reporting.stats.intervals import MIN_INTERVAL_SEEDS
from adaprob_ray.stages.base import StageContext
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.select import select_cells
from adaprob_ray.sweep.sweep import Sweep
from benchmarks import run_command
from benchmarks.unlearning_states import MEASURED, State, references_of, states_of

Seeds = Mapping[int, Sequence[State]]  # the states of a label after each epoch, by seed


@dataclass(frozen=True)
class Models:
    """The unlearn and evaluate cells of a label, by seed. `returns_earlier_state`: whether its result may be of any epoch."""

    label: str
    cells: Mapping[int, tuple[Cell, Cell]]
    returns_earlier_state: bool


def models_of(sweeps: Sequence[Sweep], only: str | None, labels: Sequence[str]) -> list[Models]:
    """The labels that unlearn, in the given order, or all. Raises InputError for labels that cannot be compared."""
    everything = {key: cell for sweep in sweeps for key, cell in sweep.cells.items()}
    cells = everything if only is None else select_cells(everything, only)
    names = ", ".join(sweep.name for sweep in sweeps)
    by_label: dict[str, dict[int, tuple[Cell, Cell]]] = {}
    for cell in cells.values():
        model = everything.get(cell.parents.get("model", ""))
        if cell.stage != "evaluate" or model is None or model.stage != "unlearn":
            continue
        seeds = by_label.setdefault(cell.label, {})
        is_chosen = not labels or cell.label in labels
        if is_chosen and (cell.settings.seed in seeds or "previous" in model.parents):
            raise InputError(
                f"{names}: must have one setting, request and repeat for each label, got several of {cell.label}"
            )
        seeds[cell.settings.seed] = model, cell
    unknown = [label for label in labels if label not in by_label]
    if unknown:
        raise InputError(f"--labels: must unlearn in {names}, got {', '.join(unknown)} (known: {', '.join(by_label)})")
    chosen = {label: by_label[label] for label in labels or by_label}
    counts = {label: len(seeds) for label, seeds in chosen.items()}
    if not counts or len(set(map(frozenset, chosen.values()))) > 1 or min(counts.values()) < MIN_INTERVAL_SEEDS:
        raise InputError(
            f"{names}: must have the same seeds, at least {MIN_INTERVAL_SEEDS}, for all labels, got {counts}"
        )
    return [Models(label, seeds, _returns_earlier_state(seeds)) for label, seeds in chosen.items()]


def _returns_earlier_state(seeds: Mapping[int, tuple[Cell, Cell]]) -> bool:
    method: Any = REGISTRY.method(next(iter(seeds.values()))[0].settings)  # type: ignore[arg-type]
    return isinstance(method, ScrubRewind) or bool(method.may_end_early)


def run_all(
    models: Sequence[Models], context: StageContext
) -> tuple[dict[str, Seeds], dict[int, dict[str, dict[str, float]]]]:
    """The states of each label, with the smaller seconds of the two orders, and columns of the references by seed and role.

    A label that diverges is left out from then on.
    """
    evaluations = {seed: evaluation for each in models for seed, (_, evaluation) in each.cells.items()}
    references = {seed: references_of(context, evaluation) for seed, evaluation in evaluations.items()}
    states: dict[str, dict[int, list[State]]] = {each.label: {} for each in models}
    for seed in sorted(evaluations):
        for order in (models, models[::-1]):
            for each in order:
                if each.label not in states:
                    continue
                first = states[each.label].get(seed)
                try:
                    run = states_of(each.cells[seed][0], context, references[seed] if first is None else None)
                except Diverged as error:
                    print(f"seed {seed}: {each.label} diverged and is left out: {error}", flush=True)
                    del states[each.label]
                    continue
                states[each.label][seed] = run if first is None else faster(first, run)
                print(f"seed {seed}: {each.label}: {run[-1].seconds:.1f} s", flush=True)
    columns = {seed: {role: each.columns(role) for role in each.outputs} for seed, each in references.items()}
    return dict(states), columns


def faster(first: Sequence[State], second: Sequence[State]) -> list[State]:
    """The measured states of the first run, with the smaller seconds of both."""
    return [state.with_seconds(min(state.seconds, other.seconds)) for state, other in zip(first, second, strict=True)]


def table(
    states: Mapping[str, Seeds], references: Mapping[int, Mapping[str, Mapping[str, float]]]
) -> Iterator[dict[str, Any]]:
    """A line for each label and epoch: its cost, its columns, and in words which of them are not equivalent.

    A seed that ended before the others keeps its last state.
    """
    for label, seeds in states.items():
        for number in range(max(map(len, seeds.values()))):
            now = {seed: of_seed[min(number, len(of_seed) - 1)] for seed, of_seed in seeds.items()}
            line: dict[str, Any] = {
                "label": label,
                "epoch": number + 1,
                "seconds": fmean(state.seconds for state in now.values()),
                "passes": fmean(state.passes for state in now.values()),
                **{name: fmean(state.columns[name] for state in now.values()) for name in MEASURED},
            }
            failed = []
            for name in COLUMNS:
                retrain, independent = (
                    {seed: roles[role][name] for seed, roles in references.items() if name in roles[role]}
                    for role in ("retrain", "retrain_independent")
                )
                comparison = compare(
                    name, {seed: state.columns[name] for seed, state in now.items()}, retrain, independent
                )
                assert comparison is not None
                line |= {
                    f"{name}_difference": comparison.difference.mean,
                    f"{name}_half_width": comparison.difference.half_width or 0.0,
                    f"{name}_margin": comparison.margin,
                }
                failed += [] if comparison.is_equivalent else [metric_format(name).words]
            retrain_test = fmean(roles["retrain"][TEST_ERROR] for roles in references.values())
            if abs(line[TEST_ERROR] - retrain_test) > MAX_TEST_DIFFERENCE:
                failed.append(metric_format(TEST_ERROR).words)
            yield {**line, "not_equivalent": ", ".join(failed)}


def verdicts(lines: pd.DataFrame, against: str, end_only: Sequence[str] = ()) -> Iterator[str]:
    """For each label its first equivalent epoch, and its end, with the ratios of its whole cost to that of `against`."""
    ends = lines.groupby("label", sort=False).tail(1).set_index("label")
    for label, end in ends.iterrows():
        own = lines[(lines["label"] == label) & (lines["not_equivalent"] == "")]
        if str(label) not in end_only and len(own):
            first = own.iloc[0]
            yield f"{label}: equivalent to Retrain after epoch {first['epoch']}: {_cost(first)}"
        elif str(label) not in end_only:
            yield f"{label}: equivalent to Retrain after no epoch"
        failed = f"not equivalent in {end['not_equivalent']}" if end["not_equivalent"] else "equivalent to Retrain"
        seconds, passes = (end[name] / ends.loc[against, name] for name in ("seconds", "passes"))
        ratios = f"{seconds:.2f}x the seconds and {passes:.2f}x the passes of {against}"
        yield f"{label}: at its end {failed}: {_cost(end)}; {ratios}"


def _cost(line: pd.Series[Any]) -> str:
    return f"{line['seconds']:.1f} s, {line['passes']:,.0f} passes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "sweeps", nargs="+", help="sweep files, as sweeps/reduced_selective.yaml, of the same references"
    )
    parser.add_argument("--store", required=True, help="where its original and retrained models are")
    parser.add_argument("--only", help="conditions on cells, as of `adaprob-ray run`")
    parser.add_argument("--labels", nargs="+", default=[], help="default: all that unlearn")
    parser.add_argument("--against", default="scrub_notebook", help="the label that ratios are to")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a CSV file for the table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = models_of([Sweep.load(path, REGISTRY) for path in options.sweeps], options.only, options.labels)
    if options.against not in [each.label for each in models]:
        raise InputError(f"--against: must be one of the labels that run, got {options.against}")
    context = StageContext(
        store=Store.open(options.store, create=False),
        registry=REGISTRY,
        data_root=data_root(),
        device=torch.device("cpu"),
        report=lambda step, **scalars: None,
    )
    states, references = run_all(models, context)
    lines = pd.DataFrame(table(states, references))
    print(lines.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    if options.against not in states:
        raise InputError(f"--against: must not diverge, got {options.against}")
    for line in verdicts(lines, options.against, [each.label for each in models if each.returns_earlier_state]):
        print(line)
    share = 100 * retrained_share(len(references))
    print(f"A third retrained model is equivalent in forget error in {share:.0f} % of such tables (simulated).")
    if options.out is not None:
        lines.to_csv(options.out, index=False, float_format="%.6g")


if __name__ == "__main__":
    run_command(main)
