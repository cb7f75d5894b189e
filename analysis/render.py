"""Drawing: the same tables for a terminal (rich), as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Drawn
from rich.text import Text

from analysis.statistics import Estimate
from analysis.tables import FLOOR, GROUP, Row, Table
from analysis.words import GAP, Piece, caption, heading, pieces

MARKDOWN_WIDTH = 120  # characters: about what a page of GitHub shows without a scroll bar

_FIELDS = (
    "sweep", *GROUP, "label", "settings", "metric", "unit", "mean", "half_width", "n", "difference_mean",
    "difference_half_width", "seeds", "repeats", "events", "rows", "low_percent", "high_percent",
)  # fmt: skip


def terminal(tables: Sequence[Table], width: int) -> RenderableType:
    """All tables, each under its heading and over its caption, cut to `width` characters."""
    parts: list[RenderableType] = []
    for table in tables:
        parts.append(Text(heading(table), style="bold"))
        parts += [_drawn(piece) for piece in pieces(table, width)]
        parts += [Text(f"· {line}", style="dim") for line in caption(table)]
        parts.append(Text(""))
    return Group(*parts)


def _drawn(piece: Piece) -> RenderableType:
    """Widths are the piece's, heads are broken here. Texts, not strings: rich reads `milestones=[3, 5]` as its own markup."""
    drawn = Drawn(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0)
    )  # 1 is the box's own
    for at, (head, width) in enumerate(zip(piece.head, piece.widths, strict=True)):
        words = Text("\n".join(textwrap.wrap(head, width)))
        drawn.add_column(words, justify="right" if at else "left", vertical="bottom", width=width)
    for line in piece.lines:
        drawn.add_row(*map(Text, line), style="italic" if line[0] == FLOOR else "")
    return Group(*([Text(piece.title, style="bold")] if piece.title else []), drawn, Text(""))


def markdown(tables: Sequence[Table], sweep: str) -> str:
    """What the terminal shows, at a width of its own, so that the file does not depend on a window."""
    parts = [f"# {sweep}"]
    for table in tables:
        parts.append(f"## {heading(table)}")
        for piece in pieces(table, MARKDOWN_WIDTH):
            parts += [f"**{piece.title}**"] if piece.title else []
            parts.append(_grid(piece))
        parts.append("\n".join(f"- {line}" for line in caption(table)))
    return "\n\n".join(parts) + "\n"


def _grid(piece: Piece) -> str:
    rule = [":--", *("--:" for _ in piece.head[1:])]
    lines = [piece.head, rule, *piece.lines]
    return "\n".join("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in lines)


def comma_separated(tables: Sequence[Table], sweep: str) -> str:
    """Long format: a line for each group, label, varying setting and metric; no entry where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for row in table.rows:
            writer.writerows({"sweep": sweep, **table.group, **line} for line in _lines(table, row))
    return text.getvalue()


def _lines(table: Table, row: Row) -> Iterator[dict[str, Any]]:
    for column in table.columns:
        value, difference = row.values.get(column.name), row.differences.get(column.name)
        if value is None and difference is None:
            continue
        known = value or difference
        yield {
            "label": row.label,
            "settings": row.settings,
            "metric": column.name,
            "unit": column.unit,
            "n": known.n if known else 0,
            "seeds": " ".join(map(str, table.seeds)),
            "repeats": table.repeats,
            **_numbers(value, ""),
            **_numbers(difference, "difference_"),
            **(vars(value.count) if value and value.count else {}),
        }


def _numbers(estimate: Estimate | None, prefix: str) -> dict[str, float | None]:
    if estimate is None:
        return {}
    return {f"{prefix}mean": estimate.mean, f"{prefix}half_width": estimate.half_width}


def write(tables: Sequence[Table], sweep: str, folder: Path) -> list[Path]:
    """compare-SWEEP.md and .csv in `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"md": markdown(tables, sweep), "csv": comma_separated(tables, sweep)}
    paths = [folder / f"compare-{sweep}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths
