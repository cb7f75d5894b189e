"""The report's tables as data for its templates: values and differences of a part, and the list of all cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from adaprob_ray.reporting.records.grouping import GROUP, columns_with_values
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_format
from adaprob_ray.reporting.records.provenance import commit_words, unique_strings
from adaprob_ray.reporting.report.content import SHORT_KEY_LENGTH, ReportTable, format_full, plain
from adaprob_ray.reporting.report.markers import Marker
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.format import EMPTY_CELL, MINUS_SIGN, format_estimate, table_blocks
from adaprob_ray.reporting.tables.layout import Block

PAGE_WIDTH = 175  # characters of a table: about what a desktop window and a landscape page hold

_SHOWN = ("test_error_percent", "retain_error_percent", "forget_error_percent", "membership_accuracy_percent",
          "kl_forget_nats", "unlearn_seconds")  # fmt: skip
_SETTINGS = (*GROUP, "precision", "repeat")
TEXT = {"class": "text"}  # of a column that is sorted by its words


@dataclass(frozen=True)
class Entry:
    """An entry or a header, with the attributes of its element: what it sorts by, a tooltip, classes."""

    text: str
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class HtmlRow:
    """A row: its name with a marker, which may be a button with attributes, and entries."""

    name: str
    entries: Sequence[Entry]
    marker: Marker | None = None
    button: Mapping[str, object] | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class HtmlTable:
    """A table in a frame of its own. `region`: the frame's name; rows of the foot stay there when others are sorted."""

    kind: str
    caption: str
    region: str
    headers: Sequence[Entry]
    body: Sequence[HtmlRow]
    foot: Sequence[HtmlRow] = ()


# -- a part ------------------------------------------------------------------------------------------------------------


def part_tables(part: ReportTable, markers: Mapping[str, Marker]) -> list[HtmlTable]:
    """The blocks of a table, values first. `markers`: by row name."""
    blocks = table_blocks(part.table, PAGE_WIDTH)
    before = [block.title for block in blocks]
    return [_part_table(part, block, block.title in before[:i], markers) for i, block in enumerate(blocks)]


def _part_table(part: ReportTable, block: Block, is_continued: bool, markers: Mapping[str, Marker]) -> HtmlTable:
    """Rows that average Records can be sorted; references without Records are the table's foot."""
    is_difference = bool(block.title)
    by_header = {column.header(difference=is_difference): column for column in part.table.columns}
    columns = [by_header[header] for header in block.header[1:]]
    estimates = {row.name: row.differences if is_difference else row.values for row in part.table.rows}
    body, foot = [], []
    for name, *texts in block.body:
        entries = [
            _entry(text, column, estimates[name].get(column.name), is_difference)
            for column, text in zip(columns, texts, strict=True)
        ]
        if name not in part.positions:
            foot.append(HtmlRow(name, entries))
            continue
        find = {"class": "find", "data-query": f'"row={part.row_words(name)}"', "title": "find its cells"}
        where = {"data-name": name, "data-cells": " ".join(map(str, part.positions[name]))}
        body.append(HtmlRow(name, entries, markers[name], find, where))
    title = (block.title.capitalize() if is_difference else "Values") + (", continued" if is_continued else "")
    headers = [Entry("label", TEXT), *map(Entry, block.header[1:])]
    return HtmlTable("values", title, f"{title}: {part.heading}", headers, body, foot)


def _entry(text: str, column: MetricFormat, estimate: Estimate | None, is_difference: bool) -> Entry:
    if estimate is None:
        return Entry(text, {"class": "nothing"})
    title = format_full(estimate, column.difference_unit if is_difference else column.unit)
    classes = "fewer" if "[n=" in text else None
    return Entry(text, {"data-value": repr(estimate.mean), "title": title, "class": classes})


# -- all cells ---------------------------------------------------------------------------------------------------------


def cell_table(records: pd.DataFrame, markers: Mapping[str, Marker], names: Sequence[str]) -> HtmlTable:
    """A row for each Record, which the script opens to all that it holds. Settings only if they vary.

    `markers`: by label; `names`: of the row of a table that averages each Record.
    """
    metrics = list(map(metric_format, columns_with_values(records, _SHOWN)))
    settings = [name for name in _SETTINGS if name in records and len(unique_strings(records[name])) > 1]
    facts = ["seed", *settings]
    of_facts = [Entry(name, TEXT if any(isinstance(value, str) for value in records[name]) else {}) for name in facts]
    of_metrics = [Entry(metric.header()) for metric in metrics]
    headers = [Entry("label", TEXT), *of_facts, *of_metrics, Entry("commit", TEXT), Entry("key", TEXT)]
    body, opens = [], {"class": "open", "aria-expanded": "false"}
    for index, (_, record) in enumerate(records.iterrows()):
        key = str(record["key"])
        entries = [
            *(_fact(plain(record[name])) for name in facts),
            *(_metric(plain(record[metric.name]), metric) for metric in metrics),
            Entry(commit_words(record), {"class": "code text"}),
            Entry(key[:SHORT_KEY_LENGTH], {"class": "code text", "title": key}),
        ]
        body.append(HtmlRow(names[index], entries, markers[str(record["label"])], opens, {"data-at": index}))
    return HtmlTable("cells", "Every Record. Click a label for details", "all cells", headers, body)


def _fact(value: Any) -> Entry:
    if isinstance(value, int | float):
        return Entry(f"{value:g}", {"data-value": repr(value)})
    return Entry(EMPTY_CELL if value is None else str(value), TEXT)


def _metric(value: float | None, metric: MetricFormat) -> Entry:
    if value is None:
        return Entry(EMPTY_CELL, {"class": "nothing"})
    text = format_estimate(Estimate(float(value), None, 1), metric, metric.max_decimals)
    return Entry(text, {"data-value": repr(float(value)), "title": f"{value!r} {metric.unit}".strip()})


# -- tables of text ----------------------------------------------------------------------------------------------------


def text_table(block: Block, caption: str) -> HtmlTable:
    """Any block. A column that has numbers alone is sorted by them."""
    columns = list(zip(*block.body, strict=True)) or [()] * len(block.header)
    is_text = [any(_number(text) is None and text != EMPTY_CELL for text in column) for column in columns]
    is_text[0] = True
    headers = [Entry(text, TEXT if flag else {}) for text, flag in zip(block.header, is_text, strict=True)]
    body = [HtmlRow(name, list(map(_text_entry, texts, is_text[1:]))) for name, *texts in block.body]
    return HtmlTable("values", caption, caption, headers, body)


def _text_entry(text: str, is_text: bool) -> Entry:
    if text == EMPTY_CELL:
        return Entry(text, {"class": "nothing text" if is_text else "nothing"})
    return Entry(text, TEXT if is_text else {"data-value": repr(_number(text))})


def _number(text: str) -> float | None:
    with suppress(ValueError):
        return float(text.replace(",", "").replace(MINUS_SIGN, "-"))
    return None
