"""Tables as text: entries, headings and notes, and the blocks that fit a width."""

from __future__ import annotations

import math
import statistics

from adaprob_ray.reporting.records.metric_format import MetricFormat
from adaprob_ray.reporting.stats.intervals import EQUAL_TOLERANCE, LEVEL, MIN_INTERVAL_SEEDS, Count, Estimate
from adaprob_ray.reporting.stats.significance import MIN_SEEDS
from adaprob_ray.reporting.tables.layout import EMPTY_CELL, Block, Document, packed_blocks
from adaprob_ray.reporting.tables.model import CHANCE, FLOOR, Table

MINUS_SIGN, SIGNIFICANCE_MARK, COUNT_MARK = "−", " *", "†"


def table_document(table: Table, width: int) -> Document:
    """A table as text, cut to `width` characters."""
    return Document(table.heading, table_blocks(table, width), table_notes(table))


def format_estimate(
    estimate: Estimate | None, column: MetricFormat, decimals: int = 0, *, signed: bool = False, n: int | None = None
) -> str:
    """`12.4 ± 3.1`, `1.3 (0–4.2)` for a percentage whose interval is clipped, `0 (≤ 3.9)†` for a count, or a bare value.

    `decimals`: if more than the fewest of the column. `n`: the seeds of the table; an entry of fewer says so. Two different
    values have no interval.
    """
    if estimate is None:
        return EMPTY_CELL
    decimals = max(decimals, column.min_decimals)
    if estimate.n == 0:
        return _number(estimate.mean, decimals)
    less = f" [n={estimate.n}]" if n is not None and estimate.n != n else ""
    if estimate.count is not None:
        return _count(estimate.mean, estimate.count) + less
    if (half := estimate.half_width) is None:
        decimals = max(decimals, column.max_decimals) if estimate.n == 1 else decimals
        return _exact(estimate.mean, decimals, signed) + (" (all equal)" if estimate.n > 1 else "") + less
    if estimate.n < MIN_INTERVAL_SEEDS:
        return _number(estimate.mean, decimals, signed) + less
    decimals = max(decimals, _first_digit(half))  # never "± 0.00"
    mean = _number(estimate.mean, decimals, signed)
    low, high = estimate.interval
    if column.is_share and not signed and (low < 0 or high > 100):
        return f"{mean} ({_bound(low, decimals)}–{_bound(high, decimals)}){less}"
    return f"{mean} ± {_number(half, decimals)}{less}"


def _count(mean: float, count: Count) -> str:
    """One decimal of a percent, more where the bound on the far side of the share is nearer than 1 % to 0 or 100."""
    near = min(count.high_percent, 100 - count.low_percent)
    decimals = 1 if near >= 1 else _first_digit(near) + 1
    low, high = f"{count.low_percent:.{decimals}f}", f"{count.high_percent:.{decimals}f}"
    bound = f"≤ {high}" if count.events == 0 else f"≥ {low}" if count.events == count.rows else f"{low}–{high}"
    return f"{_bound(mean, decimals)} ({bound}){COUNT_MARK}"


def _bound(percent: float, decimals: int) -> str:
    """A percentage within 0 to 100; these two without decimals."""
    return "0" if percent <= 0 else "100" if percent >= 100 else f"{percent:.{decimals}f}"


def _first_digit(value: float) -> int:
    """The decimals that show the first significant digit."""
    return -math.floor(math.log10(value))


def _exact(value: float, decimals: int, signed: bool) -> str:
    """A value without spread: rounding must not turn it into zero, nor summation order turn a zero into a value."""
    if abs(value) > EQUAL_TOLERANCE and abs(value) < 0.5 * 10**-decimals:
        return f"{value:{'+' if signed else ''}.1e}".replace("-", MINUS_SIGN)
    return _number(value, decimals, signed)


def _number(value: float, decimals: int, signed: bool = False) -> str:
    """Fixed decimals with a true minus; zero has no sign."""
    text = f"{value:{'+' if signed else ''}.{decimals}f}"
    return (text if float(text) else text.lstrip("+-")).replace("-", MINUS_SIGN)


def table_blocks(table: Table, width: int) -> list[Block]:
    """Values, then differences, each whole if `width` characters hold it, else errors, then the rest."""
    return [*_blocks(table, "", width), *difference_blocks(table, width)]


def difference_blocks(table: Table, width: int) -> list[Block]:
    """Differences from Retrain or another label alone, seed by seed, with what is significant marked, and their floor."""
    return _blocks(table, f"difference from {table.against}, same seed", width)


def _blocks(table: Table, title: str, width: int) -> list[Block]:
    is_difference, names = bool(title), [row.name for row in table.rows]
    groups = {}
    for column in table.columns:
        if any(column.name in (row.differences if is_difference else row.values) for row in table.rows):
            texts = texts_of(table, column, is_difference=is_difference)
            groups[column] = [(column.header(difference=is_difference), texts)]
    blocks = packed_blocks(title, names, list(groups.values()), width)
    if len(blocks) > 1:  # errors first, and the others in blocks of their own
        errors = [group for column, group in groups.items() if column.is_error]
        others = [group for column, group in groups.items() if not column.is_error]
        blocks = [block for part in (errors, others) for block in packed_blocks(title, names, part, width)]
    return blocks


def texts_of(table: Table, column: MetricFormat, *, is_difference: bool = False) -> list[str]:
    """The values of one column in words, row by row, or the differences with their marks."""
    entries = [(row.differences if is_difference else row.values).get(column.name) for row in table.rows]
    # Two significant digits of the median half-width, within the column's bounds.
    halves = [estimate.half_width for estimate in entries if estimate and estimate.half_width is not None]
    digits = _first_digit(statistics.median(halves)) + 1 if halves else column.max_decimals
    decimals = min(max(digits, column.min_decimals), column.max_decimals)
    tests, texts = table.families.get(column.name) if is_difference else None, []
    for row, estimate in zip(table.rows, entries, strict=True):
        is_signed = is_difference and row.name != FLOOR  # which is a distance
        text = format_estimate(estimate, column, decimals, signed=is_signed, n=len(table.seeds))
        texts.append(text + SIGNIFICANCE_MARK * (tests is not None and tests.is_significant(row.name)))
    return texts


# -- notes -----------------------------------------------------------------------------------------------------------

_COUNT_NOTE = (
    f"{COUNT_MARK}: exact 95 % interval (Clopper-Pearson) of the samples of all seeds together, where a t interval would not "
    "hold: fewer than 10 are misclassified, fewer than 10 are not, or all seeds agree"
)
_DIVERGENCE_NOTE = (
    "KL: divergence of the model's outputs from those of retrain_independent, mean over samples; same seed: from those of "
    "retrain, which has the model's initial weights and data order"
)
_RELEARNING_NOTE = (
    "relearn time: epochs on 500 training samples until the forget-set loss is back at the original's, plus one; the maximum "
    "(100) is also recorded if it is never reached, and averaged as it is; a sweep may set other values under relearn"
)
_FLOOR_NOTE = (
    f"{FLOOR}: the difference between two independent retrained models, mean |retrain_independent − retrain| over seeds; "
    "for KL, the divergence of retrain from retrain_independent. A model with smaller values is no farther from Retrain, "
    "on average over the seeds, than a second retrained model; this is not a test"
)
_CHANCE_NOTE = (
    f"{CHANCE}: the expected attack accuracy without a membership signal, simulated for this number of samples "
    "(python -m benchmarks.chance_level); the AUC is then 50 %"
)


def table_notes(table: Table) -> list[str]:
    """What the numbers are, what the floor is, and where they come from, a line each."""
    estimates = [estimate for row in table.rows for estimate in (*row.values.values(), *row.differences.values())]
    labels = {row.label for row in table.rows if row.values or row.differences}
    applies = {
        _COUNT_NOTE: any(estimate.count for estimate in estimates),
        "(all equal): identical for all seeds": any(estimate.is_constant for estimate in estimates),
        _DIVERGENCE_NOTE: any(column.is_divergence for column in table.columns),
        _RELEARNING_NOTE: any(column.name == "relearn_steps" for column in table.columns),
        _FLOOR_NOTE: FLOOR in labels,
        _CHANCE_NOTE: CHANCE in labels,
    }
    notes = [note for note, is_needed in applies.items() if is_needed]
    return [_spread(table), *notes, *_significance(table), *table.provenance]


def _spread(table: Table) -> str:
    seeds, n = ", ".join(map(str, table.seeds)), len(table.seeds)
    within = f", after averaging {table.repeats} repeats within each seed" if table.repeats > 1 else ""
    if n == 1:
        return f"n = 1 seed ({seeds}): single values{within}, no interval can be given"
    if n < MIN_INTERVAL_SEEDS:
        return f"mean over n = {n} seeds ({seeds}){within}: too few for an interval"
    return (
        f"mean ± half-width of the {100 * LEVEL:g} % Student-t interval over n = {n} seeds ({seeds}){within}; the interval "
        "of a percentage that would leave 0 to 100 is clipped and given as (low–high)"
    )


def _significance(table: Table) -> list[str]:
    """What the significance mark means, and the minimum detectable difference."""
    tested = {column: table.families[column.name] for column in table.columns if column.name in table.families}
    families = {column: tests for column, tests in tested.items() if tests.detectable is not None}
    if not families:
        return []
    seeds, sizes = min(tests.seeds for tests in families.values()), {tests.size for tests in families.values()}
    size = " to ".join(map(str, sorted({min(sizes), max(sizes)})))
    differences = []
    for column, tests in families.items():
        # Two significant digits without an exponent; no two percentages differ by more than 100 points.
        value = tests.detectable or 0.0
        text = f"{value:.{max(0, _first_digit(value) + 1)}f}" if value else "0"
        words = "not estimable" if column.is_share and value > 100 else f"{text} {column.difference_unit}".strip()
        differences.append(f"{column.words} {words}" + (f" (n = {tests.seeds})" if tests.seeds != seeds else ""))
    claim = (
        f"n = {seeds} seeds are too few to call any difference from {table.against} significant ({MIN_SEEDS} are needed)"
        if seeds < MIN_SEEDS
        else f"*: differs from {table.against} at the 5 % level: paired t-tests over seeds, Holm's procedure over the rows "
        f"tested in each metric ({size}); the intervals are 95 % each, uncorrected"
    )
    return [
        claim,
        f"minimum detectable difference from {table.against} with 80 % power, for a row of median spread (two-sided, Holm's "
        f"first step of {size}): {'; '.join(differences)}",
    ]
