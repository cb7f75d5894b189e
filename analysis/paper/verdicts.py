"""Whether a published number is reproduced: judged by a prediction interval, with margins that were fixed before any run.

Our n seeds predict the mean of the paper's k runs: x̄ ± t(0.975, n − 1) · s · √(1/n + 1/k). Outside is `not reproduced`; inside
is `reproduced` where the half-width is within the margin, and `undetermined` where it is wider, so that n was too small. Where
rows are counted, because with few events a spread is uninformative, Fisher's exact test takes the interval's place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import fisher_exact

from adaprob_ray.reporting.records.metric_format import MetricFormat
from adaprob_ray.reporting.stats.intervals import LEVEL, Count, Estimate, prediction_interval
from adaprob_ray.reporting.tables.model import Row, Table
from adaprob_ray.sweep.cell_settings import full_dataset
from analysis.paper.values import STAND_INS, PaperValue

REPRODUCED, NOT_REPRODUCED, UNDETERMINED = "reproduced", "not reproduced", "undetermined"
CONTRADICTS, OTHER_DATA, REDUCED_SCALE = "contradicts itself", "other data", "reduced scale"
NOT_MEASURED = "not measured"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDETERMINED, CONTRADICTS, OTHER_DATA, REDUCED_SCALE, NOT_MEASURED)

# Written before the runs: percentage points of errors and of the attack, a share of a divergence's published value.
MARGIN_ERROR, MARGIN_ATTACK, MARGIN_DIVERGENCE = 2.0, 3.0, 0.25
MARGINS = (
    f"{MARGIN_ERROR:g} pp of an error, {MARGIN_ATTACK:g} pp of the attack or "
    f"{100 * MARGIN_DIVERGENCE:g} % of a divergence"
)


@dataclass(frozen=True)
class Judgement:
    """A published number and ours. `prediction` is where the paper's mean should lie, `margin` how wide that may be.

    `column` is ours, whose unit `unit` is: AdaProb's targets are scored as well as the trained model.
    """

    published: PaperValue
    row: Row
    column: str
    unit: str
    ours: Estimate
    prediction: Estimate
    margin: float
    verdict: str
    why: str


def judge(entry: PaperValue, row: Row, column: MetricFormat, group: Mapping[str, Any]) -> Judgement | None:
    """The verdict on one number from one row of a group; None where the row has no value in the column."""
    ours = row.values.get(column.name)
    if ours is None:
        return None
    prediction = prediction_interval(list(row.seeds[column.name].values()), entry.runs)
    margin = MARGIN_ERROR if column.is_error else MARGIN_ATTACK
    if column.unit == "nats":
        margin = MARGIN_DIVERGENCE * abs(entry.value)
    verdict, why = _verdict(entry, prediction, margin, ours.count)
    if entry.contradiction:
        verdict, why = CONTRADICTS, f"{entry.contradiction}; taken as printed: {verdict}"
    dataset = group["dataset"]
    if dataset in STAND_INS.values():
        verdict, why = OTHER_DATA, f"{dataset} stands in for {entry.paper_dataset}"
    if is_reduced(entry, group):
        samples = dataset.removeprefix(full_dataset(dataset)).lstrip("-")
        why = f"{samples} training samples per class, " if samples else ""
        why += f"width {group['filters']:g} (the paper's: {entry.filters:g})"
        verdict = REDUCED_SCALE
    return Judgement(entry, row, column.name, column.unit, ours, prediction, margin, verdict, why)


def _verdict(entry: PaperValue, prediction: Estimate, margin: float, count: Count | None) -> tuple[str, str]:
    """Of a number that could be right, from our seeds: by counts where a t interval would not hold, else by prediction."""
    if prediction.n == 1:
        return UNDETERMINED, "one seed has no spread"
    if count is None:
        half, distance = prediction.half_width or 0.0, abs(entry.value - prediction.mean)
        is_outside, words = distance > half + entry.rounding, f"{distance:.3g} from our mean, predicted"
    else:
        half = (count.high_percent - count.low_percent) / 2  # of the Clopper-Pearson interval
        p, words = _by_counts(entry, count, prediction.n)
        is_outside = p < 1 - LEVEL
    verdict = NOT_REPRODUCED if is_outside else REPRODUCED if half <= margin else UNDETERMINED
    return verdict, f"{words} within {half:.3g}, margin {margin:.3g}"


def _by_counts(entry: PaperValue, count: Count, seeds: int) -> tuple[float, str]:
    """p value of Fisher's exact test of our count against the paper's (same samples per run), and both counts as text."""
    rows, our_events = round(count.rows / seeds) * entry.runs, round(count.events)
    events = min(rows, round(entry.value / 100 * rows))
    p = float(fisher_exact(np.array([[our_events, count.rows - our_events], [events, rows - events]])).pvalue)
    return p, f"{events} of {rows} samples, ours {our_events} of {count.rows}: p = {p:.2g};"


def judgements(entries: Sequence[PaperValue], table: Table) -> Iterator[Judgement]:
    """Every number of the paper that is about this table's group, with each row of its method: all readings of AdaProb."""
    for entry in entries:
        if not applies_to(entry, table.group):
            continue
        for row in table.rows:
            same_lam = entry.lam is None or float(row.chosen.get("lam", 0)) == entry.lam
            if row.method == entry.method and same_lam:
                scored = (column for column in table.columns if column.name in scored_by(entry))
                yield from filter(None, (judge(entry, row, column, table.group) for column in scored))


def applies_to(entry: PaperValue, group: Mapping[str, Any]) -> bool:
    """Whether a number can be compared with a group: same network and forget request, same data set or its stand-in.

    The network may be narrower than the paper's, except on a stand-in's images, where the two would differ in two ways.
    """
    dataset, width = group["dataset"], group["filters"]
    same_data = full_dataset(dataset) in entry.datasets and group["forget"] in entry.forgets
    same_width = width == entry.filters or (width < entry.filters and dataset not in STAND_INS.values())
    return group["architecture"] == entry.architecture and same_width and same_data


def is_reduced(entry: PaperValue, group: Mapping[str, Any]) -> bool:
    """Whether the network is narrower than the paper's or was trained on a subset of the data."""
    return group["filters"] < entry.filters or full_dataset(group["dataset"]) != group["dataset"]


def scored_by(entry: PaperValue) -> tuple[str, ...]:
    """Our columns that a number is compared with: the trained model's, and for Table 5 those of AdaProb's targets too."""
    return (entry.column, f"target_{entry.column}") if entry.table == "5" else (entry.column,)
