"""The paper's tables: for every metric three columns, the paper's number, ours with its interval, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaprob_ray.reporting.records.load import group_of
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_format
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.compare import selected_tables
from adaprob_ray.reporting.tables.format import EMPTY_CELL, difference_blocks, table_notes, texts_of
from adaprob_ray.reporting.tables.layout import GAP, WIDEST_NAME, Block, Document, column_width, pack
from adaprob_ray.reporting.tables.model import Row, Table
from adaprob_ray.reporting.tables.output import Output, missing_document, terminal_width
from adaprob_ray.reporting.tables.render import MARKDOWN_WIDTH, to_csv, write_documents
from analysis.paper.values import PaperValue, paper_values, with_alternatives
from analysis.paper.verdicts import (
    MARGIN_ATTACK,
    MARGIN_DIVERGENCE,
    MARGIN_ERROR,
    VERDICTS,
    Judgement,
    applies_to,
    judgements,
)

FIELDS = (
    "table", "dataset", "paper_dataset", "test_pool", "architecture", "filters", "forget", "label", "settings", "metric",
    "unit", "paper", "paper_deviation", "paper_runs", "mean", "half_width", "n", "predicted_half_width", "margin", "verdict",
    "why", "reading",
)  # fmt: skip


def build_paper_table(selection: Selection, out: Path, *, table: str, columns: Sequence[str], name: str) -> Output:
    """Write NAME.md, .tex and .csv of a table of the paper to `out`: its numbers, ours, and the verdict."""
    entries = paper_values(table)
    gathered = selection.gather(lambda cell: any(applies_to(entry, group_of(cell)) for entry in entries))
    group_tables = selected_tables(gathered.records, selection, list(map(metric_format, columns)))
    everything = list(with_alternatives(entries))
    judged = [
        (group_table, judgement) for group_table in group_tables for judgement in judgements(everything, group_table)
    ]
    missing = missing_document(gathered.missing)
    documents = [*(paper_page(group_table, entries, MARKDOWN_WIDTH) for group_table in group_tables), *missing]
    paths = write_documents(documents, judged_numbers(judged), name, out)
    width = terminal_width()
    return Output([*(paper_page(group_table, entries, width) for group_table in group_tables), *missing], paths)


def paper_page(table: Table, entries: Sequence[PaperValue], width: int) -> Document:
    """One group of Records compared with the numbers of the paper that are, or may be, about it."""
    table_judgements = list(judgements(entries, table))
    judged = {(judgement.row.name, judgement.column): judgement for judgement in table_judgements}
    blocks = [*_blocks(table, judged, width), *difference_blocks(table, width)]
    return Document(
        table.heading,
        blocks,
        [*_legend(table_judgements), *_unmatched(entries, table, table_judgements), *table_notes(table)],
    )


def _blocks(table: Table, judged: dict[tuple[str, str], Judgement], width: int) -> list[Block]:
    """Columns with a number of the paper as triples, the others after them, cut where the width ends."""
    names = [row.name for row in table.rows]
    column_texts = [_block(table, column, judged) for column in table.columns]
    column_texts.sort(key=lambda columns: -len(columns[0]))  # stable: triples first
    widths = [
        sum(map(column_width, columns[0], zip(*columns[1], strict=True))) + GAP * (len(columns[0]) - 1)
        for columns in column_texts
    ]
    blocks = []
    for places in pack(widths, width - min(max(map(len, names), default=0), WIDEST_NAME)):
        headers = [header for index in places for header in column_texts[index][0]]
        body = [
            [name, *(entry for index in places for entry in column_texts[index][1][row])]
            for row, name in enumerate(names)
        ]
        blocks.append(Block("", ["", *headers], [row for row in body if set(row[1:]) != {EMPTY_CELL}]))
    return blocks


def _block(
    table: Table, column: MetricFormat, judged: dict[tuple[str, str], Judgement]
) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of one metric: three columns where the paper has a number for some row, else ours alone."""
    ours = texts_of(table, column)
    column_judgements = [judged.get((row.name, column.name)) for row in table.rows]
    if not any(column_judgements):
        return [column.header()], [[text] for text in ours]
    heads = [f"{column.header()}, paper", "ours", "verdict"]
    lines = [
        [judgement.published.text, text, judgement.verdict] if judgement else [EMPTY_CELL, text, EMPTY_CELL]
        for judgement, text in zip(column_judgements, ours, strict=True)
    ]
    return heads, lines


def _legend(table_judgements: Sequence[Judgement]) -> list[str]:
    if not table_judgements:
        return ["the paper has no number for these rows"]
    return [
        "paper: as printed, ± the standard deviation over its runs if given. Verdict, by the 95 % prediction interval of our "
        "seeds for the mean of the paper's runs (3 for the baselines of Tables 2 and 4, else 1): not reproduced outside it; "
        f"inside it, reproduced if its half-width is at most {MARGIN_ERROR:g} pp of an error, {MARGIN_ATTACK:g} pp of the "
        f"attack or {100 * MARGIN_DIVERGENCE:g} % of a divergence, else undetermined",
        *_reasons(table_judgements),
        *_readings(table_judgements),
    ]


def _readings(table_judgements: Sequence[Judgement]) -> list[str]:
    words = dict.fromkeys(other.reading for judgement in table_judgements for other in judgement.published.alternatives)
    return [f"also judged, in the CSV file: the paper's numbers read as {'; '.join(words)}"] if words else []


def _reasons(table_judgements: Sequence[Judgement]) -> list[str]:
    """Why some numbers of the paper have no verdict, each once."""
    reasons = {judgement.why: judgement for judgement in table_judgements if judgement.verdict in VERDICTS[3:]}
    return [f"{judgement.verdict}: {why}" for why, judgement in reasons.items()]


def _unmatched(entries: Sequence[PaperValue], table: Table, table_judgements: Sequence[Judgement]) -> list[str]:
    """Numbers of the paper about this group for which there is no row."""
    matched = {id(judgement.published) for judgement in table_judgements}
    missing = [entry for entry in entries if applies_to(entry, table.group) and id(entry) not in matched]
    words = [f"{entry.method} {entry.column} {entry.text}" for entry in missing]
    return [f"not measured: {'; '.join(words)}"] if words else []


def judged_numbers(pairs: Sequence[tuple[Table, Judgement]]) -> str:
    """A line for each number of the paper and row of ours, as CSV."""
    return to_csv([{**table.group, **_numbers(judgement)} for table, judgement in pairs], FIELDS)


def _numbers(judgement: Judgement) -> dict[str, object]:
    entry, row = judgement.published, judgement.row
    return {
        "table": entry.table,
        "paper_dataset": entry.paper_dataset,
        **_row(row),
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


def _row(row: Row) -> dict[str, str]:
    return {"label": row.label, "settings": row.settings}
