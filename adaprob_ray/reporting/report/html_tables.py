"""The report's tables as markup: values and differences of a part, and the list of all cells; in `analysis.words`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_format
from adaprob_ray.reporting.records.provenance import commit_words, unique_strings
from adaprob_ray.reporting.report.html import Html, element, join
from adaprob_ray.reporting.report.markers import Mark
from adaprob_ray.reporting.report.sections import KEY_DIGITS, Part, exact, plain
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.format import EMPTY_CELL, blocks, entry
from adaprob_ray.reporting.tables.layout import Block

PAGE = 175  # characters of a table: about what a desktop window and a landscape page hold

_SHOWN = ("test_error_percent", "retain_error_percent", "forget_error_percent", "membership_accuracy_percent",
          "kl_forget_nats", "unlearn_seconds")  # fmt: skip
_SETTINGS = ("dataset", "test_pool", "architecture", "filters", "forget", "precision", "repeat")


# -- a part ----------------------------------------------------------------------------------------------------------------


def part_tables(part: Part, marks: Mapping[str, Mark]) -> list[Html]:
    """The blocks of a table, values first. `marks`: by row name."""
    found = blocks(part.table, PAGE)
    titles = [block.title for block in found]
    return [_piece(part, block, block.title in titles[:at], marks) for at, block in enumerate(found)]


def _piece(part: Part, block: Block, is_continued: bool, marks: Mapping[str, Mark]) -> Html:
    """Rows that average Records can be sorted; what stands beside them as a measure is the table's foot."""
    is_difference = bool(block.title)
    columns = {column.header(difference=is_difference): column for column in part.table.columns}
    found = {row.name: row.differences if is_difference else row.values for row in part.table.rows}
    body, foot = [], []
    for name, *texts in block.body:
        cells = [
            _entry(text, columns[head], found[name].get(columns[head].name), is_difference)
            for head, text in zip(block.header[1:], texts, strict=True)
        ]
        if name in part.positions:
            where = {"data-name": name, "data-cells": " ".join(map(str, part.positions[name]))}
            body.append(element("tr", where, _row_head(part, name, marks), *cells))
        else:
            foot.append(element("tr", {}, element("th", {"scope": "row"}, name), *cells))
    heads = [column_head("label", is_text=True), *map(column_head, block.header[1:])]
    title = (block.title.capitalize() if is_difference else "Values") + (", continued" if is_continued else "")
    return scrolling(f"{title}: {part.heading}", grid("values", title, heads, body, foot))


def _row_head(part: Part, name: str, marks: Mapping[str, Mark]) -> Html:
    """The mark and the name, which looks up the row's cells."""
    find = {"type": "button", "class": "find", "data-query": f'"row={part.row_words(name)}"', "title": "find its cells"}
    return element("th", {"scope": "row"}, marks[name].alone(), element("button", find, name))


def _entry(text: str, column: MetricFormat, estimate: Estimate | None, is_difference: bool) -> Html:
    if estimate is None:
        return element("td", {"class": "nothing"}, text)
    title = exact(estimate, column.difference_unit if is_difference else column.unit)
    classes = "fewer" if "[n=" in text else None
    return element("td", {"data-value": repr(estimate.mean), "title": title, "class": classes}, text)


def column_head(words: str, is_text: bool = False) -> Html:
    """A column's head: a button that sorts, in a cell that says how the column is sorted."""
    button = element("button", {"type": "button"}, words)
    return element("th", {"scope": "col", "aria-sort": "none", "class": "text" if is_text else None}, button)


def grid(name: str, caption: str, heads: list[Html], body: list[Html], foot: list[Html]) -> Html:
    """A table; what is in the foot stays there when the rest is sorted."""
    return element(
        "table",
        {"class": f"grid {name}"},
        element("caption", {}, caption),
        element("thead", {}, element("tr", {}, *heads)),
        element("tbody", {}, *body),
        element("tfoot", {}, *foot) if foot else "",
    )


def scrolling(name: str, table: Html) -> Html:
    """A frame of its own for what may be wider than the page; the keyboard reaches it."""
    return element("div", {"class": "scroll", "role": "region", "tabindex": 0, "aria-label": name}, table)


# -- all cells -------------------------------------------------------------------------------------------------------------


def cell_list(records: pd.DataFrame, marks: Mapping[str, Mark]) -> Html:
    """A line for each Record, which the script opens to all that it holds. `marks`: by label. Settings only if they vary."""
    metrics = [metric_format(name) for name in _SHOWN if name in records and records[name].notna().any()]
    settings = [name for name in _SETTINGS if name in records and len(unique_strings(records[name])) > 1]
    facts = ["seed", *settings]
    heads = [column_head("label", is_text=True), *(column_head(name, _is_text(records[name])) for name in facts)]
    heads += [
        *(column_head(metric.header()) for metric in metrics),
        column_head("commit", is_text=True),
        column_head("key", is_text=True),
    ]
    body = [
        _cell(at, record, facts, metrics, marks[str(record["label"])])
        for at, (_, record) in enumerate(records.iterrows())
    ]
    caption = "Every Record. Press a label for all that it holds"
    return scrolling("all cells", grid("cells", caption, heads, body, []))


def _is_text(values: pd.Series[Any]) -> bool:
    return any(isinstance(value, str) for value in values)


def _cell(at: int, record: pd.Series[Any], facts: list[str], metrics: list[MetricFormat], mark: Mark) -> Html:
    opens = element("button", {"type": "button", "class": "open", "aria-expanded": "false"}, str(record["label"]))
    return element(
        "tr",
        {"data-at": at},
        element("th", {"scope": "row"}, mark.alone(), opens),
        *(_fact(plain(record[name])) for name in facts),
        *(_metric(plain(record[metric.name]), metric) for metric in metrics),
        element("td", {"class": "code text"}, commit_words(record)),
        element("td", {"class": "code text", "title": str(record["key"])}, str(record["key"])[:KEY_DIGITS]),
    )


def _fact(value: Any) -> Html:
    if isinstance(value, int | float):
        return element("td", {"data-value": repr(value)}, f"{value:g}")
    return element("td", {"class": "text"}, EMPTY_CELL if value is None else str(value))


def _metric(value: float | None, metric: MetricFormat) -> Html:
    if value is None:
        return element("td", {"class": "nothing"}, EMPTY_CELL)
    text = entry(Estimate(float(value), None, 1), metric, metric.most)
    return element("td", {"data-value": repr(float(value)), "title": f"{value!r} {metric.unit}".strip()}, text)


def bullets(classes: str, lines: list[str]) -> Html:
    """A list of sentences; nothing where there are none."""
    items = [element("li", {}, line) for line in lines]
    return element("ul", {"class": classes}, *items) if items else join()
