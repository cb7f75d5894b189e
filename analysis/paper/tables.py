"""The paper's tables: for every metric three columns, the paper's number, ours with its interval, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaprob_ray.reporting.records.load import group_of
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_format
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.compare import selected_tables
from adaprob_ray.reporting.tables.format import EMPTY_CELL, difference_blocks, table_notes, texts_of
from adaprob_ray.reporting.tables.layout import Document, packed_blocks
from adaprob_ray.reporting.tables.model import Table
from adaprob_ray.reporting.tables.output import Output, missing_document, terminal_width
from adaprob_ray.reporting.tables.render import MARKDOWN_WIDTH, to_csv, write_documents
from analysis.paper import verdicts
from analysis.paper.values import PaperValue, paper_values, with_alternatives

FIELDS = (
    "table", "dataset", "paper_dataset", "test_pool", "architecture", "filters", "forget", "label", "settings", "metric",
    "unit", "paper", "paper_deviation", "paper_runs", "mean", "half_width", "n", "predicted_half_width", "margin", "verdict",
    "why", "reading",
)  # fmt: skip


def build_paper_table(selection: Selection, out: Path, *, table: str, columns: Sequence[str], name: str) -> Output:
    """Write NAME.md, .tex and .csv of a table of the paper to `out`: its numbers, ours, and the verdict."""
    entries = paper_values(table)
    gathered = selection.gather(lambda cell: any(verdicts.applies_to(entry, group_of(cell)) for entry in entries))
    group_tables = selected_tables(gathered.records, selection, list(map(metric_format, columns)))
    readings = with_alternatives(entries)
    judged = [(each, judgement) for each in group_tables for judgement in verdicts.judgements(readings, each)]

    def documents_of(width: int) -> list[Document]:
        return [*(paper_page(each, entries, width) for each in group_tables), *missing_document(gathered.missing)]

    paths = write_documents(documents_of(MARKDOWN_WIDTH), judged_numbers(judged), name, out)
    return Output(documents_of(terminal_width()), paths)


def paper_page(table: Table, entries: Sequence[PaperValue], width: int) -> Document:
    """One group of Records compared with the numbers of the paper that are, or may be, about it."""
    table_judgements = list(verdicts.judgements(entries, table))
    judged = {(judgement.row.name, judgement.column): judgement for judgement in table_judgements}
    # Columns with a number of the paper as triples, the others after them, cut where the width ends.
    metrics = sorted((_columns(table, column, judged) for column in table.columns), key=len, reverse=True)
    blocks = packed_blocks("", [row.name for row in table.rows], metrics, width) + difference_blocks(table, width)
    notes = [*_legend(table_judgements), *_unmatched(entries, table, table_judgements), *table_notes(table)]
    return Document(table.heading, blocks, notes)


def _columns(
    table: Table, column: MetricFormat, judged: dict[tuple[str, str], verdicts.Judgement]
) -> list[tuple[str, list[str]]]:
    """Headers with entries of one metric: three columns where the paper has a number for some row, else ours alone."""
    ours = texts_of(table, column)
    column_judgements = [judged.get((row.name, column.name)) for row in table.rows]
    if not any(column_judgements):
        return [(column.header(), ours)]
    paper_texts = [judgement.published.text if judgement else EMPTY_CELL for judgement in column_judgements]
    words = [judgement.verdict if judgement else EMPTY_CELL for judgement in column_judgements]
    return [(f"{column.header()}, paper", paper_texts), ("ours", ours), ("verdict", words)]


def _legend(table_judgements: Sequence[verdicts.Judgement]) -> list[str]:
    if not table_judgements:
        return ["the paper has no number for these rows"]
    reasons = {each.why: each.verdict for each in table_judgements if each.verdict in verdicts.VERDICTS[3:]}
    readings = dict.fromkeys(other.reading for each in table_judgements for other in each.published.alternatives)
    return [
        "paper: as printed, ± the standard deviation over its runs if given. Verdict, by the 95 % prediction interval of our "
        "seeds for the mean of the paper's runs (3 for the baselines of Tables 2 and 4, else 1): not reproduced outside it; "
        f"inside it, reproduced if its half-width is at most {verdicts.MARGINS}, else undetermined",
        # Why some numbers of the paper have no verdict, each once.
        *(f"{verdict}: {why}" for why, verdict in reasons.items()),
        *([f"also judged, in the CSV file: the paper's numbers read as {'; '.join(readings)}"] if readings else []),
    ]


def _unmatched(
    entries: Sequence[PaperValue], table: Table, table_judgements: Sequence[verdicts.Judgement]
) -> list[str]:
    """Numbers of the paper about this group for which there is no row."""
    matched = {id(judgement.published) for judgement in table_judgements}
    missing = [entry for entry in entries if verdicts.applies_to(entry, table.group) and id(entry) not in matched]
    words = "; ".join(f"{entry.method} {entry.column} {entry.text}" for entry in missing)
    return [f"not measured: {words}"] if words else []


def judged_numbers(pairs: Sequence[tuple[Table, verdicts.Judgement]]) -> str:
    """A line for each number of the paper and row of ours, as CSV."""
    return to_csv([{**table.group, **_numbers(judgement)} for table, judgement in pairs], FIELDS)


def _numbers(judgement: verdicts.Judgement) -> dict[str, object]:
    entry, row = judgement.published, judgement.row
    return {
        "table": entry.table,
        "paper_dataset": entry.paper_dataset,
        "label": row.label,
        "settings": row.settings,
        "metric": judgement.column,
        "unit": judgement.unit,
        "paper": entry.value,
        "paper_deviation": entry.deviation,
        "paper_runs": entry.runs,
        "mean": judgement.ours.mean,
        "half_width": judgement.ours.half_width,
        "n": judgement.ours.n,
        "predicted_half_width": judgement.prediction.half_width,
        "margin": judgement.margin,
        "verdict": judgement.verdict,
        "why": judgement.why,
        "reading": entry.reading,
    }
