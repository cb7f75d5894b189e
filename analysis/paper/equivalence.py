"""Which methods are equivalent to Retrain, and at what cost: the claim that unlearning is as good as retraining, only cheaper.

Forget error, membership AUC and KL forget are compared by the rules of adaprob_ray/reporting/stats/equivalence.py; test
error may differ from Retrain's by one point in the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.figures.cost import PASSES, relative_cost
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_format
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.stats.equivalence import (
    COLUMNS,
    MAX_TEST_DIFFERENCE,
    TEST_ERROR,
    Comparison,
    compare,
    retrained_share,
)
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.compare import selected_tables
from adaprob_ray.reporting.tables.format import format_estimate
from adaprob_ray.reporting.tables.layout import EMPTY_CELL, Block, Document
from adaprob_ray.reporting.tables.model import Table
from adaprob_ray.reporting.tables.output import Output, missing_document
from adaprob_ray.reporting.tables.render import to_csv, write_documents

SECONDS = "unlearn_seconds"
RETRAINED = ("retrain", "retrain_independent")
EQUIVALENT, MEAN_WITHIN = "✓", "~"
PREFIX = "equivalence-"  # of the files' names


@dataclass(frozen=True)
class EquivalenceRow:
    """One row of a table against the two retrained models.

    Attributes:
        comparisons: by column of COLUMNS; None for one that the row or a retrained model lacks.
        test_difference: test error − Retrain's, seed by seed.
        passes: forward and backward passes relative to Retrain's, None if unknown or nothing was unlearned.
        seconds: of the unlearning, None if it was not timed.
    """

    name: str
    comparisons: Mapping[str, Comparison | None]
    test_difference: Estimate | None
    passes: float | None
    seconds: Estimate | None

    @property
    def verdict(self) -> bool | None:
        """Whether the row is equivalent in every column, with a mean test error near Retrain's; None where one is missing."""
        comparisons = [comparison for comparison in self.comparisons.values() if comparison is not None]
        if self.test_difference is None or len(comparisons) < len(self.comparisons):
            return None
        near = abs(self.test_difference.mean) <= MAX_TEST_DIFFERENCE
        return near and all(comparison.is_equivalent for comparison in comparisons)


def build_equivalence(selection: Selection, out: Path) -> Output:
    """Write equivalence-SWEEP.md, .tex and .csv to `out`, with the ending -selection for a part of the sweep."""
    gathered = selection.gather()
    pages, numbers = equivalence_pages(selected_tables(gathered.records, selection, equivalence_columns()))
    if not pages:
        raise InputError(
            f"{selection.location}: must have Records of retrain, retrain_independent and a method, got none"
        )
    documents = [*pages, *missing_document(gathered.missing)]
    name = PREFIX + next(iter(selection.sweeps.values())).name + ("" if selection.only is None else "-selection")
    return Output(documents, write_documents(documents, numbers, name, out))


def equivalence_columns() -> list[MetricFormat]:
    """The columns of Records that the table needs."""
    return [metric_format(name) for name in (TEST_ERROR, *COLUMNS, SECONDS, *PASSES)]


def equivalence_pages(tables: Iterable[Table]) -> tuple[list[Document], str]:
    """A page for each table that has a row, and the numbers of all as CSV."""
    rows = [(table, list(equivalence_rows(table))) for table in tables]
    pages = [equivalence_page(table, of_table) for table, of_table in rows if of_table]
    return pages, equivalence_numbers([(table, row) for table, of_table in rows for row in of_table])


def equivalence_rows(table: Table) -> Iterator[EquivalenceRow]:
    """Every row but the retrained models, without which there is none."""
    by_label = {row.label: row for row in table.rows if row.label in RETRAINED}
    if len(by_label) < len(RETRAINED):
        return
    retrained = [by_label[label] for label in RETRAINED]
    for row in table.rows:
        if row.seeds and row.label not in RETRAINED:
            values = {name: [each.seeds.get(name, {}) for each in (row, *retrained)] for name in COLUMNS}
            yield EquivalenceRow(
                row.name,
                {name: compare(name, *by_model) for name, by_model in values.items()},
                row.differences.get(TEST_ERROR),
                relative_cost(row, retrained[0]) if row.label != "original" else None,
                row.values.get(SECONDS),
            )


def equivalence_page(table: Table, rows: list[EquivalenceRow]) -> Document:
    """The rows in words, the margins last."""
    differences = [f"Δ {metric_format(name).header(difference=True)}" for name in (*COLUMNS, TEST_ERROR)]
    head = ["", *differences, "passes relative to retrain", metric_format(SECONDS).header(), "equivalent"]
    body = [_line(row) for row in rows]
    margins = ["margin", *(_margin(name, rows) for name in COLUMNS), f"± {MAX_TEST_DIFFERENCE:g}", "", "", ""]
    return Document(table.heading, [Block("", head, [*body, margins])], [*notes(len(table.seeds)), *table.provenance])


def _margin(name: str, rows: list[EquivalenceRow]) -> str:
    """Of the first row that was compared; rows with fewer seeds have others."""
    comparison = next((row.comparisons[name] for row in rows if row.comparisons[name]), None)
    if comparison is None:
        return EMPTY_CELL
    return f"{'≤ +' if comparison.one_sided else '± '}{comparison.margin:.{metric_format(name).min_decimals}f}"


def _line(row: EquivalenceRow) -> list[str]:
    entries = []
    for name, comparison in row.comparisons.items():
        if comparison is None:
            entries.append(EMPTY_CELL)
            continue
        text = format_estimate(comparison.difference, metric_format(name), signed=True)
        mark = EQUIVALENT if comparison.is_equivalent else MEAN_WITHIN if comparison.is_mean_within else ""
        entries.append(f"{text} {mark}".strip())
    return [
        row.name,
        *entries,
        format_estimate(row.test_difference, metric_format(TEST_ERROR), signed=True),
        EMPTY_CELL if row.passes is None else f"{row.passes:.2f}",
        format_estimate(row.seconds, metric_format(SECONDS)),
        {True: "yes", False: "no", None: EMPTY_CELL}[row.verdict],
    ]


def notes(seeds: int) -> list[str]:
    """What the marks mean, and how often a retrained model has them."""
    return [
        "Δ: forget error and AUC − retrain_independent's, KL and test error − retrain's; paired by seed, mean ± half-width of "
        "the 95 % t interval",
        "margin: the half-width of that interval for retrain − retrain_independent; for KL, of the interval of retrain's own "
        "KL, and a smaller KL is always within it",
        f"{EQUIVALENT}: the whole interval is within the margin; {MEAN_WITHIN}: only the mean is. A third retrained model has "
        f"{EQUIVALENT} in forget error in {100 * retrained_share(seeds):.0f} % of tables of {seeds} seeds (simulated), and as "
        "often in AUC, so that its absence is weak evidence",
        f"equivalent: {EQUIVALENT} in all three, and a mean test error within {MAX_TEST_DIFFERENCE:g} point of retrain's",
    ]


def equivalence_numbers(rows: list[tuple[Table, EquivalenceRow]]) -> str:
    """The same as CSV."""
    lines = []
    for table, row in rows:
        line = {**table.group, "row": row.name, "seeds": len(table.seeds)}
        for name, comparison in row.comparisons.items():
            line |= {
                f"{name}_difference": comparison and comparison.difference.mean,
                f"{name}_half_width": comparison and comparison.difference.half_width,
                f"{name}_margin": comparison and comparison.margin,
                f"{name}_equivalent": comparison and comparison.is_equivalent,
            }
        line[f"{TEST_ERROR}_difference"] = row.test_difference and row.test_difference.mean
        line |= {"relative_passes": row.passes, SECONDS: row.seconds and row.seconds.mean, "equivalent": row.verdict}
        lines.append(line)
    return to_csv(lines, list(dict.fromkeys(name for line in lines for name in line)))
