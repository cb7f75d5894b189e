"""Whether a published number is reproduced: judged by a prediction interval, with margins that stand here before any run.

Our n seeds predict the mean of the paper's k runs: x̄ ± t(0.975, n − 1) · s · √(1/n + 1/k). Outside is `not reproduced`; inside
is `reproduced` where the half-width is within the margin, and `undetermined` where it is wider, so that n was too small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis.columns import Column
from analysis.published import Published
from analysis.statistics import Estimate, prediction_interval
from analysis.tables import Row, Table

REPRODUCED, NOT_REPRODUCED, UNDETERMINED = "reproduced", "not reproduced", "undetermined"
CONTRADICTS, OTHER_DATA, NOT_MEASURED = "contradicts itself", "other data", "not measured"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDETERMINED, CONTRADICTS, OTHER_DATA, NOT_MEASURED)

# Written before the runs: percentage points of errors and of the attack, a share of a divergence's published value.
MARGIN_ERROR, MARGIN_ATTACK, MARGIN_DIVERGENCE = 2.0, 3.0, 0.25


@dataclass(frozen=True)
class Judgement:
    """A published number beside ours. `prediction` is where the paper's mean should lie, `margin` how wide that may be.

    `column` is ours, whose unit `unit` is: AdaProb's targets are scored beside the trained model.
    """

    published: Published
    row: Row
    column: str
    unit: str
    ours: Estimate
    prediction: Estimate
    margin: float
    verdict: str
    why: str


def judge(entry: Published, row: Row, column: Column) -> Judgement | None:
    """The verdict on one number from one row; None where the row has no value in the column."""
    ours = row.values.get(column.name)
    if ours is None:
        return None
    prediction = prediction_interval(list(row.seeds[column.name].values()), entry.runs)
    margin = margin_of(entry, column)
    verdict, why = _verdict(entry, prediction, margin)
    return Judgement(entry, row, column.name, column.unit, ours, prediction, margin, verdict, why)


def margin_of(entry: Published, column: Column) -> float:
    """How wide a prediction may be and still confirm a number, in the column's unit."""
    if column.unit == "nats":
        return MARGIN_DIVERGENCE * abs(entry.value)
    return MARGIN_ERROR if column.is_error else MARGIN_ATTACK


def _verdict(entry: Published, prediction: Estimate, margin: float) -> tuple[str, str]:
    if entry.is_stand_in:
        return OTHER_DATA, f"{entry.dataset} stands in for {entry.paper_dataset}"
    if entry.contradiction:
        return CONTRADICTS, entry.contradiction
    half = prediction.half_width
    if half is None:
        return UNDETERMINED, "one seed has no spread"
    distance = abs(entry.value - prediction.mean)
    words = f"{distance:.3g} from our mean, predicted within {half:.3g}, margin {margin:.3g}"
    if distance > half + entry.rounding:
        return NOT_REPRODUCED, words
    return (REPRODUCED if half <= margin else UNDETERMINED), words


def judgements(entries: Sequence[Published], table: Table) -> Iterator[Judgement]:
    """Every number of the paper that is about this table's group, with each row of its method: all readings of AdaProb."""
    for entry in entries:
        if not concerns(entry, table):
            continue
        for row in table.rows:
            for column in table.columns:
                if row.method == entry.method and _same_lam(entry, row) and column.name in scored_by(entry.column):
                    found = judge(entry, row, column)
                    if found is not None:
                        yield found


def concerns(entry: Published, table: Table) -> bool:
    """Whether a number of the paper is, or may be, about this data set, network and forget request."""
    group = table.group
    return (entry.dataset, entry.architecture) == (group["dataset"], group["architecture"]) and group[
        "forget"
    ] in entry.forgets


def scored_by(column: str) -> tuple[str, ...]:
    """Our columns that a published column is compared with: errors of the trained model, and of AdaProb's targets."""
    targets = {
        "forget_error_percent": "target_forget_error_percent",
        "retain_error_percent": "target_retain_error_percent",
    }
    return (column, targets[column]) if column in targets else (column,)


def _same_lam(entry: Published, row: Row) -> bool:
    return entry.lam is None or float(row.chosen.get("lam", 0)) == entry.lam
