"""The whole page: head, holes, a section for each part, all cells, put into the template and written at once."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pandas as pd

from adaprob_ray.reporting.report.dot_plot import dots
from adaprob_ray.reporting.report.html import Html, element, join
from adaprob_ray.reporting.report.html_tables import bullets, cell_list, part_tables
from adaprob_ray.reporting.report.markers import Mark, marks
from adaprob_ray.reporting.report.sections import Part, embedded, parts
from adaprob_ray.reporting.report.summary import facts, warnings
from adaprob_ray.reporting.report.trade_off import trade_off
from adaprob_ray.reporting.tables.format import notes as table_notes
from adaprob_ray.reporting.tables.render import write_whole

FILE = "report.html"
LONG = 50  # characters, from which a fact takes two columns
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ExtraSection:
    """A section of other things than Records. `labels`: those that `render` needs markers of; `counts`: what it holds."""

    anchor: str
    heading: str
    labels: Sequence[str]
    counts: str
    render: Callable[[Mapping[str, Mark]], Html]


def write_report(
    records: pd.DataFrame,
    *,
    holes: Sequence[str],
    title: str,
    folder: Path,
    reading: str | None = None,
    extra: Sequence[ExtraSection] = (),
    notes: Sequence[str] = (),
) -> Path:
    """`report.html` in `folder`, which is made if absent; the file appears whole or not at all. Raises OSError.

    `records`: one row for each Record, as `load_records` gives them, possibly none. `holes`: titles of cells without one.
    `reading`: of the labels that share its method the only one that is tested against Retrain.
    `extra`: sections before the tables. `notes`: what else the reader should know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return write_whole(
        folder / FILE, page(records, holes=holes, title=title, reading=reading, extra=extra, notes=notes)
    )


def page(
    records: pd.DataFrame,
    *,
    holes: Sequence[str],
    title: str,
    reading: str | None = None,
    extra: Sequence[ExtraSection] = (),
    notes: Sequence[str] = (),
) -> str:
    """The report as text: the same Records give the same text."""
    records = records.reset_index(drop=True)
    found = parts(records, reading)
    labels = [str(label) for label in records["label"]] if "label" in records else []
    known = marks([*labels, *(label for section in extra for label in section.labels)])
    style, script = ((FOLDER / "static" / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    return Template((FOLDER / "templates" / "report.html.j2").read_text(encoding="utf-8")).substitute(
        title=join(title),
        policy=join(f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"),
        style=style,
        script=script,
        head=_head(records, found, extra, notes),
        holes=_holes(holes, len(records)),
        contents=_contents(found, extra),
        parts=join(
            *(section.render(known) for section in extra),
            *(_section(number, part, records, known) for number, part in enumerate(found, 1)),
        ),
        cells=_cells(records, known) if len(records) or not extra else "",
        data=_json(embedded(records, found)),
    )


def _hash(text: str) -> str:
    """What a Content-Security-Policy calls this text by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: object) -> str:
    """JSON that ends no script element: ASCII only, no `<`."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _head(records: pd.DataFrame, found: Sequence[Part], extra: Sequence[ExtraSection], notes: Sequence[str]) -> Html:
    lines = [_fact(words, ", ".join(values)) for words, values in facts(records)]
    counts = f"{_many(len(records), 'Record')} in {_many(len(found), 'table')}"
    if extra:
        counts = "; ".join([counts] * bool(len(records)) + [section.counts for section in extra])
    return join(
        element("p", {"class": "counts"}, counts),
        element("dl", {"class": "facts"}, *lines) if lines else "",
        bullets("warnings", [*warnings(records), *notes]),
    )


def _fact(words: str, values: str) -> Html:
    wide = {"class": "wide" if len(values) > LONG else None}
    return element("div", wide, element("dt", {}, words), element("dd", {}, values))


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + "s" * (count != 1)


def _holes(holes: Sequence[str], records: int) -> Html:
    if not holes:
        return join()
    words = f"{_many(len(holes), 'hole')}: {len(holes):,} of {len(holes) + records:,} Records are missing"
    explained = "These cells of the sweep have no Record yet. What is below is made of the others."
    return element(
        "section",
        {"id": "holes", "class": "holes"},
        element("h2", {}, words),
        element("p", {}, explained),
        bullets("titles", list(holes)),
    )


def _contents(found: Sequence[Part], extra: Sequence[ExtraSection]) -> Html:
    items = [element("li", {}, element("a", {"href": f"#{section.anchor}"}, section.heading)) for section in extra]
    items += [
        element("li", {}, element("a", {"href": f"#part-{number}"}, part.heading))
        for number, part in enumerate(found, 1)
    ]
    if found or not extra:
        items.append(element("li", {}, element("a", {"href": "#cells"}, "All cells")))
    return element("ol", {}, *items)


def _section(number: int, part: Part, records: pd.DataFrame, known: Mapping[str, Mark]) -> Html:
    """Notes, tables, what the numbers are, figures."""
    rows = {name: known[str(records["label"][at[0]])] for name, at in part.positions.items()}
    figures = [trade_off(part.table, rows), *(dots(part.table, column, rows) for column in part.table.columns)]
    return element(
        "section",
        {"id": f"part-{number}", "class": "part"},
        element("h2", {}, part.heading),
        bullets("notes", part.notes),
        *part_tables(part, rows),
        bullets("caption", table_notes(part.table)),
        element("div", {"class": "figures"}, *filter(None, figures)),
    )


def _cells(records: pd.DataFrame, known: Mapping[str, Mark]) -> Html:
    listed = cell_list(records, known) if len(records) else element("p", {}, "There are no Records yet.")
    return element("section", {"id": "cells"}, element("h2", {}, "All cells"), listed)
