"""The table of any sweep: labels against metrics, with intervals and differences from Retrain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_columns, metric_format
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.format import table_document
from adaprob_ray.reporting.tables.layout import Document
from adaprob_ray.reporting.tables.model import RETRAIN, Table, tables
from adaprob_ray.reporting.tables.output import Output, missing_document, terminal_width
from adaprob_ray.reporting.tables.render import MARKDOWN_WIDTH, table_csv, write_documents
from adaprob_ray.sweep.method_choices import REFERENCES


def build_comparison(selection: Selection, out: Path, *, metrics: str | None = None, against: str = RETRAIN) -> Output:
    """Write compare-SWEEP.md, .tex and .csv to `out`.

    The names end in -selection where `only` selects a part of the sweep, and in -against-LABEL for another label than retrain.

    Args:
        selection: The Records of one sweep.
        out: A folder, created if absent.
        metrics: Only these columns, separated by commas, in this order.
        against: The label that all others are compared with.

    Raises:
        InputError: A column or label is unknown, or Records are missing.
    """
    sweep = selection.sweep
    if against not in (labels := list(dict.fromkeys([*REFERENCES, *selection.labels]))):
        raise InputError(f"--against: {unknown_name('label', against, labels)}")
    columns = _selected(metric_columns(sweep.file.metrics), metrics)
    gathered = selection.gather()
    group_tables = selected_tables(gathered.records, selection, columns, against)
    missing = missing_document(gathered.missing)
    heading = _selection_document(selection)

    def documents_of(width: int) -> list[Document]:
        pages = [table_document(table, width) for table in group_tables]
        return [*heading, *(replace(page, notes=[*page.notes, *selection.warnings]) for page in pages), *missing]

    name = comparison_name(f"{sweep.name}-selection" if heading else sweep.name, against)
    paths = write_documents(documents_of(MARKDOWN_WIDTH), table_csv(group_tables, sweep.name), name, out)
    return Output(documents_of(terminal_width()), paths)


def comparison_name(sweep: str, against: str) -> str:
    """The name of the files, without their endings."""
    return f"compare-{sweep}" if against == RETRAIN else f"compare-{sweep}-against-{against}"


def _selection_document(selection: Selection) -> list[Document]:
    """The conditions that the rows meet, above the tables of a part of a sweep."""
    if selection.only is None:
        return []
    *others, last = selection.references or ("",)
    notes = [f"with {', '.join(others)} and {last} of the same groups and seeds"] if others else []
    return [Document(f"selection: {selection.only}", [], notes)]


def _selected(columns: list[MetricFormat], metrics: str | None) -> list[MetricFormat]:
    """The columns of the sweep, or those of them that were asked for."""
    if metrics is None:
        return columns
    available = [column.name for column in columns]
    names = [name.strip() for name in metrics.split(",")]
    if faults := [f"--metrics: {unknown_name('column', name, available)}" for name in names if name not in available]:
        raise InputError(*faults)
    return [metric_format(name) for name in dict.fromkeys(names)]


def selected_tables(
    records: pd.DataFrame, selection: Selection, columns: Sequence[MetricFormat], against: str = RETRAIN
) -> list[Table]:
    """A table for each group; none without a Record."""
    if not len(records):
        return []
    return tables(records, columns, selection.labels, selection.primary_label, against)
