"""The paper's tables as pages: for every metric three columns, the paper's number, ours with its interval, and the verdict."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from adaprob_ray.reporting.records.metric_format import Column
from adaprob_ray.reporting.tables.format import (
    GAP,
    NARROWEST,
    NOTHING,
    Page,
    Piece,
    caption,
    difference_pieces,
    heading,
    row_names,
    texts_of,
)
from adaprob_ray.reporting.tables.model import Row, Table
from analysis.paper.values import Published
from analysis.paper.verdicts import (
    MARGIN_ATTACK,
    MARGIN_DIVERGENCE,
    MARGIN_ERROR,
    VERDICTS,
    Judgement,
    concerns,
    judgements,
)

FIELDS = (
    "table", "dataset", "paper_dataset", "test_pool", "architecture", "filters", "forget", "label", "settings", "metric",
    "unit", "paper", "paper_deviation", "paper_runs", "mean", "half_width", "n", "predicted_half_width", "margin", "verdict",
    "why", "reading",
)  # fmt: skip


def paper_page(table: Table, entries: Sequence[Published], width: int) -> Page:
    """One group of Records beside the numbers of the paper that are, or may be, about it."""
    found = list(judgements(entries, table))
    judged = {(judgement.row.name, judgement.column): judgement for judgement in found}
    pieces = [*_pieces(table, judged, width), *difference_pieces(table, width)]
    return Page(heading(table), pieces, [*_legend(found), *_unmatched(entries, table, found), *caption(table)])


def _pieces(table: Table, judged: dict[tuple[str, str], Judgement], width: int) -> list[Piece]:
    """Columns with a number of the paper as triples, the others after them, cut where the width ends."""
    names = row_names(table)
    first = max(map(len, names), default=0)
    blocks = [_block(table, column, judged) for column in table.columns]
    blocks.sort(key=lambda block: -len(block[0]))  # stable: triples first
    pieces: list[Piece] = []
    left = 0
    for heads, lines in blocks:
        widths = [max(NARROWEST, *(len(line[at]) for line in lines)) for at in range(len(heads))]
        needed = sum(widths) + GAP * len(widths)
        if not pieces or left < needed:
            pieces.append(Piece("", [""], [first], [[name] for name in names]))
            left = width - first
        piece = pieces[-1]
        piece.head.extend(heads)
        piece.widths.extend(widths)
        for line, entries in zip(piece.lines, lines, strict=True):
            line.extend(entries)
        left -= needed
    return [_without_empty_lines(piece) for piece in pieces]


def _without_empty_lines(piece: Piece) -> Piece:
    lines = [line for line in piece.lines if set(line[1:]) != {NOTHING}]
    return Piece(piece.title, piece.head, piece.widths, lines)


def _block(table: Table, column: Column, judged: dict[tuple[str, str], Judgement]) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of one metric: three columns where the paper has a number for some row, else ours alone."""
    ours = texts_of(table, column)
    found = [judged.get((row.name, column.name)) for row in table.rows]
    if not any(found):
        return [column.header()], [[text] for text in ours]
    heads = [f"{column.header()}, paper", "ours", "verdict"]
    lines = [
        [judgement.published.text, text, judgement.verdict] if judgement else [NOTHING, text, NOTHING]
        for judgement, text in zip(found, ours, strict=True)
    ]
    return heads, lines


def _legend(found: Sequence[Judgement]) -> list[str]:
    if not found:
        return ["the paper has no number that can be set beside these rows"]
    return [
        "paper: as printed, ± its standard deviation over runs where it has one. Verdict, from where our seeds predict the "
        "mean of the paper's runs (3 for the baselines of Tables 2 and 4, else 1) at 95 %: outside is not reproduced; inside "
        f"is reproduced where the prediction is within ± {MARGIN_ERROR:g} points of an error, {MARGIN_ATTACK:g} of the attack, "
        f"{100 * MARGIN_DIVERGENCE:g} % of a divergence, else undetermined",
        *_reasons(found),
        *_readings(found),
    ]


def _readings(found: Sequence[Judgement]) -> list[str]:
    words = dict.fromkeys(other.reading for judgement in found for other in judgement.published.alternatives)
    return [f"also judged, in the CSV file: the paper's numbers read as {'; '.join(words)}"] if words else []


def _reasons(found: Sequence[Judgement]) -> list[str]:
    """Why some numbers of the paper have no verdict, each once."""
    reasons = {judgement.why: judgement for judgement in found if judgement.verdict in VERDICTS[3:]}
    return [f"{judgement.verdict}: {why}" for why, judgement in reasons.items()]


def _unmatched(entries: Sequence[Published], table: Table, found: Sequence[Judgement]) -> list[str]:
    """Numbers of the paper about this group for which there is no row."""
    matched = {id(judgement.published) for judgement in found}
    missing = [entry for entry in entries if concerns(entry, table.group) and id(entry) not in matched]
    words = [f"{entry.method} {entry.column} {entry.text}" for entry in missing]
    return [f"not measured: {'; '.join(words)}"] if words else []


def judged_numbers(found: Sequence[tuple[Table, Judgement]]) -> str:
    """A line for each number of the paper and row of ours, as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for table, judgement in found:
        writer.writerow({**table.group, **_numbers(judgement)})
    return text.getvalue()


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
