"""Which methods are inside the noise floor, and at what cost: the claim that unlearning is as good as retraining, only cheaper.

The rules are those of adaprob_ray/reporting/stats/noise_floor.py, applied to forget error, membership AUC and KL forget; test
error may differ from Retrain's by one point in the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.figures.cost import relative_cost
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_format
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.stats.intervals import Estimate, mean_interval, paired_difference
from adaprob_ray.reporting.stats.noise_floor import (
    FloorComparison,
    compare_distance_with_floor,
    compare_with_floor,
    retrained_inside_share,
)
from adaprob_ray.reporting.tables.compare import selected_tables
from adaprob_ray.reporting.tables.format import format_estimate
from adaprob_ray.reporting.tables.layout import EMPTY_CELL, Block, Document
from adaprob_ray.reporting.tables.model import FLOOR, Row, Table
from adaprob_ray.reporting.tables.output import Output, missing_document
from adaprob_ray.reporting.tables.render import to_csv, write_documents
from adaprob_ray.sweep.method_choices import REFERENCES

TEST_ERROR, SECONDS = "test_error_percent", "unlearn_seconds"
FLOOR_COLUMNS = ("forget_error_percent", "membership_auc_percent", "kl_forget_nats")
DISTANCES = ("kl_forget_nats",)  # from retrain_independent, so that Retrain's value is the floor
PASSES = ("forward_examples", "backward_examples")
MAX_TEST_DIFFERENCE = 1.0  # percentage points
INSIDE, MEAN_INSIDE = " ✓", " ~"


@dataclass(frozen=True)
class FloorRow:
    """One row of a table against the floor.

    Attributes:
        comparisons: by column of FLOOR_COLUMNS.
        test_difference: test error − Retrain's, seed by seed.
        passes: forward and backward passes relative to Retrain's, None if unknown.
        seconds: of the unlearning, None if it was not timed.
    """

    name: str
    comparisons: Mapping[str, FloorComparison]
    test_difference: Estimate
    passes: float | None
    seconds: Estimate | None

    @property
    def is_inside(self) -> bool:
        """Whether every comparison is inside the floor, and the mean test error within one point of Retrain's."""
        near = abs(self.test_difference.mean) <= MAX_TEST_DIFFERENCE
        return near and all(comparison.is_inside for comparison in self.comparisons.values())


def build_floor(selection: Selection, out: Path) -> Output:
    """Write floor-SWEEP.md, .tex and .csv to `out`; SWEEP is the first file where several share their references."""
    gathered = selection.gather()
    pages, numbers = floor_pages(selected_tables(gathered.records, selection, floor_columns()))
    if not pages:
        raise InputError(
            f"{selection.location}: must have errors, membership_auc, kl_to_retrain and passes of a method, got none"
        )
    documents = [*pages, *missing_document(gathered.missing)]
    name = "floor-" + next(iter(selection.sweeps.values())).name
    return Output(documents, write_documents(documents, numbers, name, out))


def floor_columns() -> list[MetricFormat]:
    """The columns of Records that the table needs."""
    return [metric_format(name) for name in (TEST_ERROR, *FLOOR_COLUMNS, SECONDS, *PASSES)]


def floor_pages(tables: Iterable[Table]) -> tuple[list[Document], str]:
    """A page for each table that has a row, and the numbers of all as CSV."""
    rows = [(table, list(floor_rows(table))) for table in tables]
    pages = [floor_page(table, of_table) for table, of_table in rows if of_table]
    return pages, floor_numbers([(table, row) for table, of_table in rows for row in of_table])


def floor_rows(table: Table) -> Iterator[FloorRow]:
    """The rows that are no references and have every column."""
    by_label = {row.label: row for row in table.rows if row.label in REFERENCES}
    retrain, independent = by_label.get("retrain"), by_label.get("retrain_independent")
    if retrain is None or independent is None:
        return
    for row in table.rows:
        if row.label in REFERENCES[1:] or not row.seeds:
            continue
        comparisons = {name: _comparison(name, row, retrain, independent) for name in FLOOR_COLUMNS}
        test = paired_difference(row.seeds.get(TEST_ERROR, {}), retrain.seeds.get(TEST_ERROR, {}))
        if test is None or None in comparisons.values():
            continue
        seconds = row.seeds.get(SECONDS)
        yield FloorRow(
            row.name,
            {name: comparison for name, comparison in comparisons.items() if comparison is not None},
            test,
            relative_cost(row, retrain),
            mean_interval(list(seconds.values())) if seconds else None,
        )


def _comparison(name: str, row: Row, retrain: Row, independent: Row) -> FloorComparison | None:
    own, reference = row.seeds.get(name, {}), retrain.seeds.get(name, {})
    if name in DISTANCES:
        return compare_distance_with_floor(own, reference)
    return compare_with_floor(own, reference, independent.seeds.get(name, {}))


def floor_page(table: Table, rows: list[FloorRow]) -> Document:
    """The rows in words, the floor last."""
    formats = {name: metric_format(name) for name in (TEST_ERROR, *FLOOR_COLUMNS, SECONDS)}
    differences = [f"Δ {formats[name].header(difference=True)}" for name in (*FLOOR_COLUMNS, TEST_ERROR)]
    head = ["", *differences, "passes relative to retrain", formats[SECONDS].header(), "inside the floor"]
    body = [_line(row, formats) for row in rows]
    if rows:
        floors = [f"± {rows[0].comparisons[name].floor:.2g}" for name in FLOOR_COLUMNS]
        body.append([FLOOR, *floors, f"± {MAX_TEST_DIFFERENCE:g}", "", "", ""])
    return Document(table.heading, [Block("", head, body)], [*notes(len(table.seeds)), *table.provenance])


def _line(row: FloorRow, formats: Mapping[str, MetricFormat]) -> list[str]:
    entries = []
    for name in FLOOR_COLUMNS:
        comparison = row.comparisons[name]
        mark = INSIDE if comparison.is_inside else MEAN_INSIDE if comparison.is_mean_inside else ""
        decimals = 2 if name in DISTANCES else 1
        entries.append(format_estimate(comparison.difference, formats[name], decimals, signed=True) + mark)
    return [
        row.name,
        *entries,
        format_estimate(row.test_difference, formats[TEST_ERROR], 1, signed=True),
        EMPTY_CELL if row.passes is None else f"{row.passes:.2f}",
        format_estimate(row.seconds, formats[SECONDS], 1),
        "yes" if row.is_inside else "no",
    ]


def notes(seeds: int) -> list[str]:
    """What the marks mean, and how often a retrained model has them."""
    return [
        "Δ: forget error and AUC − retrain_independent's, KL and test error − retrain's; paired by seed, mean ± half-width of "
        "the 95 % t interval",
        "noise floor: the half-width of that interval for retrain − retrain_independent; for KL, of the interval of retrain's "
        "own KL, and only a larger KL is outside",
        f"{INSIDE.strip()}: the whole interval is inside the floor; {MEAN_INSIDE.strip()}: only the mean is; a third retrained "
        f"model has {INSIDE.strip()} in one metric in {100 * retrained_inside_share(seeds):.0f} % of tables of {seeds} seeds "
        "(simulated)",
        f"inside the floor: {INSIDE.strip()} in all three, and a mean test error within {MAX_TEST_DIFFERENCE:g} point of "
        "retrain's",
    ]


def floor_numbers(rows: list[tuple[Table, FloorRow]]) -> str:
    """The same as CSV."""
    lines = []
    for table, row in rows:
        line = {**table.group, "row": row.name, "seeds": len(table.seeds)}
        for name, comparison in row.comparisons.items():
            line |= {
                f"{name}_difference": comparison.difference.mean,
                f"{name}_half_width": comparison.difference.half_width,
                f"{name}_floor": comparison.floor,
                f"{name}_inside": comparison.is_inside,
            }
        line |= {
            f"{TEST_ERROR}_difference": row.test_difference.mean,
            "relative_passes": row.passes,
            SECONDS: None if row.seconds is None else row.seconds.mean,
            "inside": row.is_inside,
        }
        lines.append(line)
    return to_csv(lines, list(dict.fromkeys(name for line in lines for name in line)))
