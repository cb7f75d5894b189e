"""The content of a report as data: tables of averaged Records, and all Records as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pandas as pd

from adaprob_ray.reporting.records import grouping
from adaprob_ray.reporting.records.metric_format import all_columns
from adaprob_ray.reporting.records.provenance import unique_strings
from adaprob_ray.reporting.stats.intervals import MIN_INTERVAL_SEEDS, Estimate
from adaprob_ray.reporting.tables.model import Table, tables
from adaprob_ray.sweep.forget_request import sequence_length

SHORT_KEY_LENGTH = 8
_IDENTITY = ("key", "model_key", "lineage", "stage", *grouping.GROUP, "label", "method", "seed", "repeat", "precision")
_PREFIXES = {  # title of a section: how the names of its columns begin
    "Method": "method.", "Recipe": "recipe.", "Pretraining": "pretrain.", "Imported original": "original.",
    "Relearning": "relearn.", "Probe": "probe.",
}  # fmt: skip


@dataclass(frozen=True)
class ReportTable:
    """A table, the settings that distinguish it from others of its group, the rows of its Records, and notes.

    `positions`: row name -> the rows of the whole DataFrame that it averages.
    """

    table: Table
    settings: str
    positions: dict[str, list[int]]
    notes: list[str]

    @property
    def heading(self) -> str:
        return self.table.heading + (f" · {self.settings}" if self.settings else "")

    def row_words(self, name: str) -> str:
        """What a row is called in the whole report; the search box takes it between double quotes."""
        return f"{self.heading} · {name}".replace('"', "'")


# -- tables -------------------------------------------------------------------------------------------------------------------


def report_tables(records: pd.DataFrame, primary_label: str | None = None) -> list[ReportTable]:
    """The Records of each data set, architecture and forget request, split until only seeds and repeats are averaged."""
    if records.empty:
        return []
    forgets = set(records["forget"])
    return [
        _part(members, settings, primary_label, sequence_length(values["forget"], forgets))
        for values, group in grouping.split_groups(records.reset_index(drop=True))
        for settings, members in _split(group.assign(label=_row_names(group)))
    ]


def _row_names(group: pd.DataFrame) -> pd.Series[Any]:
    """A label, with its method and the `method.…` settings where they vary within it."""
    names: dict[Any, str] = {}
    for label, rows in group.groupby("label", sort=False):
        texts = grouping.setting_texts(rows, grouping.columns_with_prefix(rows, "method"))
        names |= {index: f"{label} {text}".strip() for index, text in zip(rows.index, texts, strict=True)}
    return pd.Series(names, dtype=object)


def row_names(all_tables: list[ReportTable]) -> list[tuple[ReportTable, str]]:
    """For each Record the table and the name of the row that averages it."""
    rows = {
        position: (report_table, name)
        for report_table in all_tables
        for name, positions in report_table.positions.items()
        for position in positions
    }
    return [rows[position] for position in range(len(rows))]


def _split(named: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The Records split by every column that varies within a row and may not, each with its values as text."""
    members_by_label = [members for _, members in named.groupby("label", sort=False)]
    varying = [
        name
        for name in grouping.columns_with_prefix(named, "precision", *grouping.FIXED_PREFIXES)
        if any(len(unique_strings(members[name])) > 1 for members in members_by_label)
    ]
    return grouping.split_by_text(named, grouping.setting_texts(named, varying, separator=", "))


def _part(records: pd.DataFrame, settings: str, primary_label: str | None, requests: int) -> ReportTable:
    """One table. Records with the same settings, seed and repeat become rows of their own, named by their keys.

    `requests`: the number in the sequence that the group's request is part of.
    """
    labels, keys = records["label"], records["key"]
    unclear = labels[records.duplicated(["label", "seed", "repeat"], keep=False)].unique()
    is_unclear = labels.isin(unclear)
    digits = SHORT_KEY_LENGTH if keys[is_unclear].str[:SHORT_KEY_LENGTH].is_unique else None
    records = records.assign(label=labels.mask(is_unclear, labels + " key " + keys.str[:digits]))
    (table,) = tables(records, all_columns(), dict.fromkeys(records["label"]), primary_label)
    positions = {str(name): list(map(int, members.index)) for name, members in records.groupby("label", sort=False)}
    notes = [
        f"{name}: several Records have the same settings, seed and repeat; each is a row of its own, named by its key"
        for name in unclear
    ]
    for name, seeds in records.groupby("label", sort=False)["seed"]:
        if missing := [str(seed) for seed in table.seeds if seed not in set(seeds)]:
            notes.append(f"{name}: no Record of seed{'s' * (len(missing) > 1)} {', '.join(missing)}")
    if "retrain" not in set(records["label"]):
        notes.append("no Records with the single label retrain: differences from it are not shown")
    return ReportTable(replace(table, requests=requests), settings, positions, notes)


def format_full(estimate: Estimate, unit: str) -> str:
    """All digits that matter, where a table rounds."""
    has_interval = estimate.half_width is not None and estimate.n >= MIN_INTERVAL_SEEDS
    half = f" ± {estimate.half_width:.6g}" if has_interval else ""
    seeds = f", n = {estimate.n}" if estimate.n else ""
    count = f"; {estimate.count.events:g} of {estimate.count.rows} samples" if estimate.count else ""
    return f"{estimate.mean:.10g}{half} {unit}".rstrip() + seeds + count


# -- cells -----------------------------------------------------------------------------------------------------------------


def embedded(records: pd.DataFrame, all_tables: list[ReportTable]) -> dict[str, Any]:
    """All Records for the page's script: sections of columns, the values of each column, and the row that averages each."""
    columns = {str(name): [plain(value) for value in records[name]] for name in records}
    rows = [report_table.row_words(name) for report_table, name in row_names(all_tables)]
    return {"sections": _column_sections(list(columns)), "columns": columns, "rows": rows}


def _column_sections(columns: list[str]) -> list[dict[str, Any]]:
    """Every column in the first section that takes it; identity and metrics in their own order."""
    sections = {
        "Cell": [name for name in _IDENTITY if name in columns],
        **{title: [name for name in columns if name.startswith(prefix)] for title, prefix in _PREFIXES.items()},
        "Metrics": [column.name for column in all_columns() if column.name in columns],
    }
    rest = [name for name in columns if name not in chain(*sections.values())]
    sections["Provenance"] = [name for name in rest if _is_provenance(name)]
    sections["Other facts"] = [name for name in rest if not _is_provenance(name)]
    return [{"title": title, "columns": names} for title, names in sections.items() if names]


def _is_provenance(name: str) -> bool:
    facts = ("commit", "host", "device", "threads", "exclusive", "started_at")
    processor = ("onednn_instruction_set", "blas", "mkl_instructions", "mkl_cbwr")
    return name in (*facts, *processor) or name.startswith(("run_", "cpu_")) or name.endswith(("_version", "_seconds"))


def plain(value: Any) -> Any:
    """A value as JSON has it; an empty entry is None, what JSON does not know is text."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    is_json = isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
    return value if is_json else str(value)
