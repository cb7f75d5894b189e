"""Tables as Markdown, LaTeX, CSV and rich text for a terminal, and files that are written whole."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from adaprob_ray.reporting.records.grouping import GROUP
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.latex import latex
from adaprob_ray.reporting.tables.layout import GAP, Block, Document
from adaprob_ray.reporting.tables.model import CHANCE, FLOOR, Row, Table

MARKDOWN_WIDTH = 120  # characters: about what a page of GitHub shows without a scroll bar

_FIELDS = (
    "sweep", *GROUP, "label", "settings", "metric", "unit", "mean", "half_width", "n", "difference_mean",
    "difference_half_width", "seeds", "repeats", "events", "rows", "low_percent", "high_percent",
)  # fmt: skip


def terminal(pages: Sequence[Document]) -> RenderableType:
    """All pages, each block between heading and caption."""
    parts: list[RenderableType] = []
    for page in pages:
        parts.append(Text(page.heading, style="bold"))
        parts += [_rich_table(block) for block in page.blocks]
        parts += [Text(f"· {line}", style="dim") for line in page.notes]
        parts.append(Text(""))
    return Group(*parts)


def _rich_table(block: Block) -> RenderableType:
    """Widths are the block's, heads are broken here. Texts, not strings: rich reads `milestones=[3, 5]` as its own markup."""
    padding = (0, GAP - 1, 0, 0)  # 1 is the box's own
    table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding)
    for index, (head, width) in enumerate(zip(block.header, block.widths, strict=True)):
        words = Text("\n".join(textwrap.wrap(head, width)))
        table.add_column(words, justify="right" if index else "left", vertical="bottom", width=width)
    for line in block.body:
        table.add_row(*map(Text, line), style="italic" if line[0] in (FLOOR, CHANCE) else "")
    return Group(*([Text(block.title, style="bold")] if block.title else []), table, Text(""))


def markdown(pages: Sequence[Document], title: str) -> str:
    """The documents as Markdown, at a fixed width that does not depend on the terminal."""
    parts = [f"# {title}"]
    for page in pages:
        parts.append(f"## {page.heading}")
        for block in page.blocks:
            parts += [f"**{block.title}**"] if block.title else []
            parts.append(markdown_table(block))
        parts.append("\n".join(f"- {line}" for line in page.notes))
    return "\n\n".join(parts) + "\n"


def markdown_table(block: Block) -> str:
    """One block as a Markdown table."""
    rule = [":--", *("--:" for _ in block.header[1:])]
    lines = [block.header, rule, *block.body]
    return "\n".join("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in lines)


def to_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """One line for each row; missing values are empty."""
    return pd.DataFrame([*rows], columns=list(columns), dtype=object).to_csv(index=False, lineterminator="\n")


def table_csv(tables: Sequence[Table], sweep: str) -> str:
    """Long format: a line for each group, label, varying setting and metric; no entry where there is none."""
    rows = [
        {"sweep": sweep, **table.group, **line} for table in tables for row in table.rows for line in _lines(table, row)
    ]
    return to_csv(rows, _FIELDS)


def _lines(table: Table, row: Row) -> Iterator[dict[str, Any]]:
    for column in table.columns:
        value, difference = row.values.get(column.name), row.differences.get(column.name)
        if estimate := value or difference:
            yield {
                "label": row.label,
                "settings": row.settings,
                "metric": column.name,
                "unit": column.unit,
                "n": estimate.n,
                "seeds": " ".join(map(str, table.seeds)),
                "repeats": table.repeats,
                **_numbers(value, ""),
                **_numbers(difference, "difference_"),
                **(vars(value.count) if value and value.count else {}),
            }


def _numbers(estimate: Estimate | None, prefix: str) -> dict[str, float | None]:
    return {f"{prefix}mean": estimate.mean, f"{prefix}half_width": estimate.half_width} if estimate else {}


def document_files(pages: Sequence[Document], numbers: str, path: Path) -> dict[Path, str]:
    """PATH.md, PATH.tex and PATH.csv (`numbers`) with their texts."""
    title = path.name.removeprefix("compare-")
    texts = {"md": markdown(pages, title), "tex": latex(pages, title), "csv": numbers}
    return {path.with_name(f"{path.name}.{ending}"): text for ending, text in texts.items()}


def write_documents(pages: Sequence[Document], numbers: str, name: str, folder: Path) -> list[Path]:
    """NAME.md, NAME.tex and NAME.csv (`numbers`) in `folder`, which is created if absent; each write is atomic."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write_whole(path, text) for path, text in document_files(pages, numbers, folder / name).items()]


def write_whole(path: Path, text: str) -> Path:
    """Write to a temporary file in the same folder and rename it, so that no reader sees a partial file."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path
