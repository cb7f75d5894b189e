"""What the figures show, as data, from the Records of a sweep: times, ablations, trade-off and ranks. Nothing is drawn here.

Figures 2 and 3 are in embedding.py, curves of a solver or of training in trajectory.py, all drawing in drawing.py.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.records.grouping import seed_means
from adaprob_ray.reporting.records.lines import Group, Line, facts, groups
from adaprob_ray.reporting.records.metric_format import Column, column
from adaprob_ray.reporting.records.provenance import several
from adaprob_ray.reporting.stats.intervals import Estimate, mean_interval, share_interval

HARDWARE = ("device", "threads", "precision")  # times are compared on one kind of it
WARM_UP = 1  # the seed of figure 4 that only warms the machine up
RETAIN, FORGET, SHIFT = "retain_error_percent", "forget_error_percent", "target_shift"
REFERENCE, INDEPENDENT = "retrain", "retrain_independent"
INTERVAL = "intervals: 95 % Student t over seeds"
NO_LESS = 9  # decimals of a distance that count: below lies rounding, which must not break a tie

# -- figure 4 ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """Seconds to make the model: mean and standard error (None for one seed) over n seeds."""

    name: str
    method: str
    mean_seconds: float
    standard_error: float | None
    n: int


@dataclass(frozen=True)
class TimeBars:
    """Group's title → its bars, all measured on one kind of hardware."""

    panels: dict[str, list[Bar]]
    caption: list[str]


def timed_alone(records: pd.DataFrame, warm_up: int | None) -> pd.DataFrame:
    """Records with a time that no other cell disturbed, without the warm-up seed."""
    kept = records["unlearn_seconds"].notna() & (records["seed"] != warm_up) & records["exclusive"].eq(True)
    return records[kept]


def time_bars(records: pd.DataFrame, *, warm_up: int | None = None) -> TimeBars:
    """`unlearn_seconds` of models that were made with no other cell beside them (protocol §6.6).

    `warm_up`: the first seed, which is left out. Retrain's time is its training; the original's is no unlearning, and is not
    shown. Raises InputError if hardware is mixed, naming what was found, and for each line that has no exclusive time.
    """
    timed = records[records["unlearn_seconds"].notna()]
    seeds = sorted({int(seed) for seed in timed["seed"]})
    if warm_up is not None and (len(seeds) < 2 or warm_up != seeds[0]):
        raise InputError(f"warm_up: {warm_up} is not the first of several seeds (found: {seeds})")
    asked = timed[timed["seed"] != warm_up]
    kept = timed_alone(timed, warm_up)
    faults = [*_without_time(timed, kept), *mixed_hardware(kept)]
    if faults or not len(kept):
        raise InputError(*(faults or ["no Record holds unlearn_seconds"]))
    panels = {group.title: [_bar(line) for line in group.lines] for group in groups(kept)}
    return TimeBars(panels, [_time_words(warm_up, len(asked) - len(kept)), *facts(kept)])


def _time_words(warm_up: int | None, beside: int) -> str:
    words = ["mean ± standard error (s/√n); every model was made with no other cell beside it"]
    words += [] if warm_up is None else [f"seed {warm_up}, the warm-up, is left out"]
    words += [f"{beside} models were made beside other cells and are left out"] if beside else []
    return "; ".join(words)


def _without_time(timed: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    known = {(group.title, line.name) for group in groups(kept) for line in group.lines}
    return [
        f"{' '.join(group.title.split())}: {line.name} has no exclusive time: no model but the warm-up was made alone"
        for group in groups(timed)
        for line in group.lines
        if (group.title, line.name) not in known
    ]


def mixed_hardware(records: pd.DataFrame) -> list[str]:
    """A fault for each of device, threads and precision that is not the same everywhere."""
    return [
        f"times are compared on one kind of hardware only; found {name}: {', '.join(values)}"
        for name in HARDWARE
        if len(values := several(records[name])) > 1
    ]


def _bar(line: Line) -> Bar:
    seconds = list(seed_means(line.records, "unlearn_seconds").values())
    error = statistics.stdev(seconds) / math.sqrt(len(seconds)) if len(seconds) > 1 else None
    return Bar(line.name, line.method, statistics.fmean(seconds), error, len(seconds))


# -- ablations ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """Column → setting → its mean and interval over seeds."""

    name: str
    method: str
    values: dict[str, dict[float, Estimate]]


@dataclass(frozen=True)
class Level:
    """Column → mean and interval of a line that does not have the setting."""

    name: str
    method: str
    values: dict[str, Estimate]


@dataclass(frozen=True)
class Curves:
    """Group's title → its curves, and what stands beside them: Retrain, and lines of the curves' methods without it."""

    over: str
    columns: list[Column]
    panels: dict[str, list[Curve]]
    levels: dict[str, list[Level]]
    caption: list[str]


def ablation(records: pd.DataFrame, over: str, columns: Sequence[str] = (RETAIN, FORGET, SHIFT)) -> Curves:
    """Each column against a setting, `method.lam` (λ), `method.lr` (γ of Eq. 9) or `method.eta` (η of Eq. 7).

    A line is a curve if it has two values of it, and is left out if it has one. Raises InputError if there is no curve.
    """
    if over not in records:
        raise InputError(
            unknown_name("column", over, [name for name in map(str, records) if name.startswith("method.")])
        )
    shown = groups(records, along=over)
    curved = {line.method for group in shown for line in group.lines if _varies(line, over)}
    if not curved:
        raise InputError(f"{over}: no label has two values of it (labels: {', '.join(several(records['label']))})")
    panels, levels = {}, {}
    for group in shown:
        if not any(_varies(line, over) for line in group.lines):
            continue
        panels[group.title] = [_curve(line, over, columns) for line in group.lines if _varies(line, over)]
        without = [line for line in group.lines if line.records[over].isna().all()]
        beside = [line for line in without if line.label == REFERENCE or line.method in curved]
        levels[group.title] = [_level(line, columns) for line in beside]
    return Curves(over, [column(name) for name in columns], panels, levels, [INTERVAL, *facts(records)])


def _varies(line: Line, over: str) -> bool:
    return line.records[over].nunique() > 1


def _curve(line: Line, over: str, columns: Sequence[str]) -> Curve:
    settings = sorted({float(value) for value in line.records[over].dropna()})
    levels = {setting: _level(line, columns, line.records[over] == setting).values for setting in settings}
    values = {name: {x: found[name] for x, found in levels.items() if name in found} for name in columns}
    return Curve(line.name, line.method, values)


def _level(line: Line, columns: Sequence[str], rows: pd.Series[bool] | slice = slice(None)) -> Level:
    """Over the chosen rows; a column without a value is left out, as where it is AdaProb's alone."""
    part = Line(line.name, line.label, line.method, line.records[rows])
    known = [name for name in columns if part.records[name].notna().any()]
    return Level(line.name, line.method, {name: _estimate(part, name) for name in known})


def _estimate(line: Line, name: str) -> Estimate:
    """Errors of a known number of rows may be counted; all else has a t interval."""
    if column(name).rows in line.records:
        return _share(line, name)
    return mean_interval(list(seed_means(line.records, name).values()))


# -- trade-off ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """Retain and forget error in percent, each with a t interval or, where events are few, Clopper-Pearson bounds."""

    name: str
    method: str
    retain: Estimate
    forget: Estimate


@dataclass(frozen=True)
class TradeOff:
    """Group's title → its points. Retrain's own, by the name `retrain`, is what all others aim at."""

    panels: dict[str, list[Point]]
    caption: list[str]


def trade_off(records: pd.DataFrame) -> TradeOff:
    """Forget error against retain error. A method that forgot as retraining does lies on Retrain, not in a corner."""
    panels = {group.title: [_point(line) for line in group.lines] for group in groups(records)}
    words = f"{INTERVAL}; 95 % Clopper-Pearson bounds where fewer than 10 rows are wrong or right, or all seeds agree"
    return TradeOff(panels, [words, *facts(records)])


def _point(line: Line) -> Point:
    return Point(line.name, line.method, _share(line, RETAIN), _share(line, FORGET))


def _share(line: Line, name: str) -> Estimate:
    percents, rows = seed_means(line.records, name), seed_means(line.records, column(name).rows)
    if not percents:
        raise InputError(f"{line.name} has no {name}")
    return share_interval(percents, {seed: int(count) for seed, count in rows.items()})


def bounds(estimate: Estimate) -> tuple[float, float]:
    """Lower and upper end of the interval; the mean twice where there is no spread to tell."""
    if estimate.count is not None:
        return estimate.count.low_percent, estimate.count.high_percent
    half = estimate.half_width or 0.0
    return estimate.mean - half, estimate.mean + half


# -- ranks -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranks:
    """Mean ranks by name, 1 being nearest to Retrain; `methods` in the order of `overall`, the mean over a name's metrics.

    A cell is one group and seed, in which all names are ranked; `independent` is the reference line's name, if it is there.
    """

    methods: dict[str, str]
    columns: list[Column]
    by_column: dict[str, dict[str, float]]
    overall: dict[str, float]
    cells: int
    independent: str | None
    caption: list[str]


def ranks(records: pd.DataFrame, columns: Sequence[str]) -> Ranks:
    """Rank names by |value − Retrain's| in each cell and metric, ties sharing their mean rank, and average over cells.

    Original and Retrain are not ranked. Another honest retraining, retrain_independent, is: nothing can be asked to come nearer
    than it does. A name without any value of a metric is not ranked in it. Raises InputError for one that has some of them.
    """
    shown = groups(records)
    ranked = {line.name: line for group in shown for line in group.lines if line.label not in ("original", REFERENCE)}
    by_column = {name: _mean_ranks(shown, name, list(ranked)) for name in columns}
    overall = {
        name: statistics.fmean(found[name] for found in by_column.values() if name in found)
        for name in ranked
        if any(name in found for found in by_column.values())
    }
    cells = sum(len(set(line.records["seed"])) for group in shown for line in group.lines if line.label == REFERENCE)
    words = (
        f"rank of |difference to Retrain| among {len(overall)}, mean over {cells} cells (groups × seeds); ties share a rank; "
        "bars: mean over the metrics that a row has"
    )
    return Ranks(
        methods={name: ranked[name].method for name in sorted(overall, key=lambda name: overall[name])},
        columns=[column(name) for name in columns],
        by_column=by_column,
        overall=overall,
        cells=cells,
        independent=next((name for name, line in ranked.items() if line.label == INDEPENDENT), None),
        caption=[words, *facts(records)],
    )


def _mean_ranks(shown: Sequence[Group], name: str, ranked: Sequence[str]) -> dict[str, float]:
    cells = [cell for group in shown for cell in _distances(group, name)]
    present = [row for row in ranked if any(row in cell for cell in cells)]
    faults = [
        f"{name}: {row} has no value in {len(lacking)} of {len(cells)} cells; ranks need all of them"
        for row in present
        if (lacking := [cell for cell in cells if row not in cell])
    ]
    if faults or not present:
        raise InputError(*(faults or [f"{name}: neither a line to rank nor Retrain to rank it by has a value"]))
    found = np.mean([rankdata([round(cell[row], NO_LESS) for row in present]) for cell in cells], axis=0)
    return dict(zip(present, map(float, found), strict=True))


def _distances(group: Group, name: str) -> list[dict[str, float]]:
    """For each seed that Retrain has: name → |value − Retrain's|."""
    reference: Mapping[int, float] = {}
    for line in group.lines:
        reference = seed_means(line.records, name) if line.label == REFERENCE else reference
    values = {line.name: seed_means(line.records, name) for line in group.lines}
    return [
        {row: abs(found[seed] - target) for row, found in values.items() if seed in found}
        for seed, target in reference.items()
    ]
