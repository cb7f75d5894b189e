"""The whole report: summary, missing cells, a section for each table, all cells; rendered by templates and written at once."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from adaprob_ray.reporting.figures.cost import floor_summary
from adaprob_ray.reporting.records.provenance import summary_facts, summary_warnings
from adaprob_ray.reporting.report.content import ReportTable, embedded, report_tables, row_names
from adaprob_ray.reporting.report.dot_plot import dot_plot
from adaprob_ray.reporting.report.html_tables import cell_table, part_tables
from adaprob_ray.reporting.report.markers import SIZE, Marker, markers_of
from adaprob_ray.reporting.report.scatter import cost_chart, trade_off
from adaprob_ray.reporting.report.svg import marker_at
from adaprob_ray.reporting.tables.format import table_notes
from adaprob_ray.reporting.tables.render import write_whole

FILE = "report.html"
LONG = 50  # characters, from which a fact takes two columns
MAX_OVERVIEWS = 6  # tables whose answers are at the beginning of the report; the contents name all
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ExtraSection:
    """A section that does not show Records, such as a search.

    Attributes:
        anchor: The `id` of its element.
        heading: As in the contents.
        counts: What it holds, for the head of the report.
        methods: Label → method of all labels that it shows.
        template: The file in templates/ that renders it, as `section`.
        content: What the template reads, from the markers of labels.
    """

    anchor: str
    heading: str
    counts: str
    methods: Mapping[str, str]
    template: str
    content: Callable[[Mapping[str, Marker]], Mapping[str, Any]] = field(repr=False)


def write_report(records: pd.DataFrame, *, folder: Path, **content: Any) -> Path:
    """Write report.html to `folder`, which is created if absent. The file appears whole or not at all.

    Args:
        records: One row for each Record.
        folder: Of the file.
        content: The other arguments of `render_report`.

    Raises:
        OSError: The file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return write_whole(folder / FILE, render_report(records, **content))


def render_report(
    records: pd.DataFrame,
    *,
    missing: Sequence[str],
    title: str,
    primary_label: str | None = None,
    extra: Sequence[ExtraSection] = (),
    notes: Sequence[str] = (),
) -> str:
    """The report as text: the same Records give the same text.

    Args:
        records: One row for each Record, as `load_records` gives them, possibly none.
        missing: Titles of cells without a Record.
        title: The heading of the report.
        primary_label: Of the labels that share its method the only one that is tested against Retrain.
        extra: Sections before the tables.
        notes: What else the reader should know.
    """
    records = records.reset_index(drop=True)
    parts = report_tables(records, primary_label)
    methods = {} if records.empty else dict(zip(records["label"][::-1], records["method"][::-1], strict=True))
    methods = {str(label): str(method) for label, method in reversed(methods.items())}
    for section in extra:
        methods |= section.methods
    markers, colours = markers_of(methods)
    style, script = ((FOLDER / "static" / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    style += colours
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    counts = [f"{_many(len(records), 'Record')} in {_many(len(parts), 'table')}"] if len(records) or not extra else []
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.loader = FileSystemLoader(FOLDER / "templates")
    environment.globals.update(marker_at=marker_at, glyph_box=f"{-SIZE} {-SIZE} {2 * SIZE} {2 * SIZE}")
    return environment.get_template("report.html.j2").render(
        title=title,
        policy=policy,
        style=style,
        script=script,
        counts="; ".join([*counts, *(section.counts for section in extra)]),
        facts=[(words, ", ".join(values)) for words, values in summary_facts(records)],
        long=LONG,
        max_overviews=MAX_OVERVIEWS,
        warnings=[*summary_warnings(records), *notes],
        missing=missing,
        missing_counts=f"{len(missing):,} of {len(missing) + len(records):,}",
        extra=[(section, section.content(markers)) for section in extra],
        sections=[_section(number, part, records, markers) for number, part in enumerate(parts, 1)],
        cells=cell_table(records, markers, [name for _, name in row_names(parts)]) if len(records) else None,
        has_records=bool(len(records)) or not extra,
        # Ends no script element: ASCII only, no `<`.
        data=json.dumps(embedded(records, parts), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _hash(text: str) -> str:
    """The hash of a text in a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + "s" * (count != 1)


def _section(number: int, part: ReportTable, records: pd.DataFrame, markers: Mapping[str, Marker]) -> dict[str, Any]:
    """What the template shows of a table: first the answer in words and as a picture, then tables and figures."""
    rows = {name: markers[str(records["label"][positions[0]])] for name, positions in part.positions.items()}
    figures = [trade_off(part.table, rows), *(dot_plot(part.table, column, rows) for column in part.table.columns)]
    return {
        "anchor": f"part-{number}",
        "heading": part.heading,
        "summary": floor_summary(part.table),
        "overview": cost_chart(part.table, rows) or figures[0],
        "notes": part.notes,
        "tables": part_tables(part, rows),
        "table_notes": table_notes(part.table),
        "figures": [figure for figure in figures if figure is not None],
    }
