"""Tables of benchmarks and claims of sentences in Markdown pages, checked against the measurements in results/.

Claims of a file of Records: `LABEL COLUMN seed N = WORDS`, a Record's value, rounded as the words are; `LABEL COLUMN = WORDS`,
a table's entry; `run minutes = WORDS`, from the first start of a network that it names to the last Record.

Claims of a benchmark: range, least, most, mean, median or count of a column in the rows that meet the conditions, or how many
of its values are above a number, as in `limit above 2 = 11`.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.records.archive import rows_of
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.tables.format import EMPTY_CELL, format_estimate
from adaprob_ray.reporting.tables.layout import Block
from adaprob_ray.reporting.tables.model import Table
from adaprob_ray.reporting.tables.render import markdown_table
from analysis.verify.marks import SELECTORS, Mark

_COUNT = re.compile(
    r"(?P<column>.+?) (?P<kind>range|least|most|mean|median|count|above (?P<bound>[\d.]+)) = (?P<words>.+)", re.S
)
_SEEDS = re.compile(r"\bseeds? \d+(?:, \d+)*(?: and \d+)?")  # which seed is no measurement
_CLAIM = re.compile(r"(?P<label>\S+) (?P<column>\S+)(?: seed (?P<seed>\d+))? = (?P<words>.+)", re.S)


def matching_tables(tables: Sequence[Table], where: Mapping[str, str]) -> list[Table]:
    """Those whose group meets the conditions of a mark."""
    return [table for table in tables if all(table.group[name] == value for name, value in where.items())]


# -- benchmarks -----------------------------------------------------------------------------------------------------------


def projection_table(measurements: pd.DataFrame) -> str:
    """Passes of Newton's method and L-BFGS, and ratios of time, by size and residual (docs/projection.md)."""
    head = ["instances", "residual", "Newton: passes", "L-BFGS: passes", *_RATIOS.values()]
    lines = []
    for rows, classes in _SIZES:
        sized = measurements[(measurements["rows"] == rows) & (measurements["classes"] == classes)]
        for index, (tolerance, solves) in enumerate(sized.groupby("tolerance", sort=False)):
            name = f"{len(solves)} of {rows:,} x {classes:,}" if index == 0 else ""
            passes = [_range(solves[f"{solver}_passes"]) for solver in ("newton", "L-BFGS")]
            # The limit of a solve counts where its passes are most of the time: at 50,000 x 10.
            is_shown = {solver: solver != "limit" or (rows, classes) == (50_000, 10) for solver in _RATIOS}
            ratios = [_ratio(solves[solver]) if is_shown[solver] else EMPTY_CELL for solver in _RATIOS]
            lines.append([name, f"{tolerance:.0e}".replace("e-0", "e-"), *passes, *ratios])
    return markdown_table(Block("", head, lines)) + "\n"


_SIZES = ((500, 5), (50_000, 10), (20_000, 100), (50_000, 1_000))
_RATIOS = {
    "L-BFGS": "L-BFGS", "scaling": "scaling", "dual ascent": "dual ascent, default η", "POT": "POT (λ = 1)", "limit": "limit",
}  # fmt: skip


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}-{high}"


def _ratio(values: pd.Series) -> str:
    if not values.notna().any():
        return EMPTY_CELL
    numbers = (values.median(), values.min(), values.max())
    middle, low, high = (f"{value:.1f}" if value < 9.95 else f"{value:.0f}" for value in numbers)
    return f"{middle} ({low}-{high})"


def coverage_table(measurements: pd.DataFrame) -> str:
    """How often three intervals hold the truth where few samples are wrong (docs/statistics.md)."""
    head = ["wrong samples", "n", "t over seeds", "bootstrap over seeds", "our rule"]
    lines = [
        [f"{row['wrong_percent']:g} %", f"{row['n']:g}", *(f"{row[name]:.1f} %" for name in ("t", "bootstrap", "rule"))]
        for _, row in measurements.iterrows()
    ]
    return markdown_table(Block("", head, lines)) + "\n"


def frozen_table(measurements: pd.DataFrame) -> str:
    """Frozen settings against the defaults, by each selection rule (docs/search.md)."""
    from adaprob_ray.reporting.search.tables.frozen import frozen_page  # which imports what a search needs

    rows = [{name: None if pd.isna(value) else value for name, value in row.items()} for row in rows_of(measurements)]
    return markdown_table(frozen_page("", rows).blocks[0]) + "\n"


BENCHMARKS: Mapping[str, Callable[[pd.DataFrame], str]] = {
    "projection.csv": projection_table,
    "coverage.csv": coverage_table,
    **{
        f"search_{name}_frozen-frozen.csv": frozen_table for name in ("digits", "digits_validation", "cifar5", "faces5")
    },
}

# -- sentences ------------------------------------------------------------------------------------------------------------


def sentence_faults(
    mark: Mark,
    records: Callable[[Path], pd.DataFrame],
    make: Callable[[Path, Sequence[str]], list[Table]],
    root: Path,
) -> list[str]:
    """The claims of a marked paragraph that differ from its Records, one line each.

    `records`: those of a file. `make`: its tables with these columns.
    """
    faults, claims, path = [], [], root / mark.file
    for text in mark.content:
        claim = _CLAIM.fullmatch(text)
        if claim is None:
            raise InputError(f"mark: must be LABEL COLUMN = WORDS or LABEL COLUMN seed N = WORDS, got {text!r}")
        claims.append(claim)
    tables = matching_tables(make(path, [claim["column"] for claim in claims if not _is_of_run(claim)]), mark.where)
    for claim in claims:
        words, is_of_run = claim["words"].strip(), _is_of_run(claim)
        value = _decimals(_run_minutes(records(path), mark), words) if is_of_run else _table_entry(claim, tables)
        name = f"{claim['label']} {claim['column']}" + (f" seed {claim['seed']}" if claim["seed"] else "")
        faults += _compared(name, value, words, mark)
    return faults


def _is_of_run(claim: re.Match[str]) -> bool:
    return (claim["label"], claim["column"], claim["seed"]) == ("run", "minutes", None)


def _run_minutes(records: pd.DataFrame, mark: Mark) -> float:
    """From the first start to the last Record of a file. Raises InputError where that is not the time of one run."""
    if mark.where:
        raise InputError(f"mark of {mark.source}: run minutes: must be of a whole file, got conditions")
    if "run_continued_after_epochs" in records and (records["run_continued_after_epochs"] > 0).any():
        raise InputError(f"mark of {mark.file}: a training was interrupted and continued, so the run has no minutes")
    started, done = (pd.to_datetime(records[name], format="ISO8601") for name in ("started_at", "run_committed_at"))
    return float((done.max() - started.min()).total_seconds() / 60)


def benchmark_faults(mark: Mark, measurements: pd.DataFrame) -> list[str]:
    """As `sentence_faults`, of a benchmark's numbers. Raises InputError for a mark that names no column, kind or row."""
    chosen, faults = measurements, []
    for name, value in mark.where.items():
        _require_column(name, measurements, mark.file)
        chosen = chosen[_equals_text(chosen[name], value)]
    if not len(chosen):
        raise InputError(f"{mark.source}: must have rows that meet these conditions, got none")
    for text in mark.content:
        claim = _COUNT.fullmatch(" ".join(text.split()))
        if claim is None:
            form = "COLUMN range|least|most|mean|median|count|above NUMBER = WORDS"
            raise InputError(f"mark: must be {form}, got {text!r}")
        _require_column(claim["column"], measurements, mark.file)
        values = chosen[claim["column"]].dropna()
        if claim["kind"] != "count" and not (len(values) and pd.api.types.is_numeric_dtype(values)):
            content = "words" if len(values) else "nothing"
            raise InputError(f"{mark.source}: {claim['column']}: must be numbers for {claim['kind']}, got {content}")
        faults += _compared(f"{claim['column']} {claim['kind']}", _counted(values, claim), claim["words"], mark)
    return faults


def _equals_text(values: pd.Series, words: str) -> pd.Series:
    """Which values equal the text; numbers are compared as numbers, so that 1e-6 equals 0.000001."""
    matches = values.map(str) == words
    with contextlib.suppress(ValueError):
        return matches | (pd.to_numeric(values, errors="coerce") == float(words))
    return matches


def _require_column(name: str, measurements: pd.DataFrame, file: str) -> None:
    if name not in measurements:
        raise InputError(f"{file}: {unknown_name('column', name, map(str, measurements.columns))}")


def _counted(values: pd.Series, claim: re.Match[str]) -> str:
    """In words, with as many decimals as those of the mark."""
    kind, words = claim["kind"], claim["words"]
    if claim["bound"] is not None:
        return str(int((values > float(claim["bound"])).sum()))
    if kind == "range":
        return " to ".join(_decimals(value, words.rpartition(" ")[2]) for value in (values.min(), values.max()))
    return _decimals(float(values.agg({"least": "min", "most": "max"}.get(kind, kind))), words)


def _decimals(value: float, words: str) -> str:
    """As many decimals as those of the words, 2.5e-7 as 2.5e-7, commas where they have some."""
    digits = len(words.partition("e")[0].partition(".")[2])
    if "e" in words:
        mantissa, exponent = f"{value:.{digits}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:{',' if ',' in words else ''}.{digits}f}"


def _compared(name: str, value: str, words: str, mark: Mark) -> list[str]:
    """Compare the mark with the value, and the paragraph with the mark."""
    faults = []
    if value != words:
        faults.append(f"{name} is {value} in {mark.file}, the page's mark says {words}")
    paragraph = _SEEDS.sub("seeds", mark.body)
    if re.search(rf"(?<![\w.,−-]){re.escape(words)}(?!\w|[.,]\d)", paragraph) is None:
        faults.append(f"the paragraph below the mark of {mark.file} does not say {words} ({name})")
    return faults


def _table_entry(claim: re.Match[str], tables: Sequence[Table]) -> str:
    """The table's entry, or a seed's value with as many decimals as the words have."""
    label, column = claim["label"], metric_format(claim["column"])
    all_rows = [row for table in tables for row in table.rows]
    rows = [row for row in all_rows if row.name == label]
    if not rows:
        raise InputError(f"mark: {unknown_name('label', label, [row.name for row in all_rows])}")
    if len(rows) > 1:
        raise InputError(f"mark: must select one table with {label}, got {len(rows)} (known: {', '.join(SELECTORS)})")
    if claim["seed"] is None:
        return format_estimate(rows[0].values.get(column.name), column)
    return _decimals(rows[0].seeds.get(column.name, {}).get(int(claim["seed"]), math.nan), claim["words"].strip())
