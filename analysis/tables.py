"""The table as data: Records grouped to labels and metrics, with intervals, differences to Retrain and the floor.

One table for each data set, architecture and forget request; one row for each label and each `method.*` setting that varies
within it (DESIGN §6). Only seeds and repeats are averaged: repeats within a seed first, then the spread is over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from adaprob_ray.errors import InputError
from adaprob_ray.sweep.spec import REFERENCES
from analysis.columns import Column
from analysis.provenance import Provenance, provenance, several
from analysis.statistics import Estimate, mean_interval, paired_difference, paired_distance, share_interval

GROUP = ("dataset", "test_pool", "architecture", "filters", "forget")
FLOOR = "floor"
_FIXED = ("method", "precision")  # besides method.…, recipe.…, relearn.…: what may not vary within a row

Seeds = dict[int, float]  # seed → value, repeats averaged


@dataclass(frozen=True)
class Row:
    """One line: a label, the settings that set it apart from others of its label, and an Estimate for each column."""

    label: str
    settings: str
    values: dict[str, Estimate]
    differences: dict[str, Estimate]

    @property
    def name(self) -> str:
        return f"{self.label} {self.settings}".strip()


@dataclass(frozen=True)
class Table:
    """All rows of one group. `columns` are those that hold a value in some row."""

    group: dict[str, Any]
    columns: list[Column]
    rows: list[Row]
    seeds: list[int]
    repeats: int
    provenance: Provenance


def tables(records: pd.DataFrame, columns: Sequence[Column], labels: Iterable[str]) -> list[Table]:
    """A table for each group of Records, in their order; rows in the order of references, then of `labels`.

    Raises InputError where a row would average over anything but seed and repeat.
    """
    order = list(dict.fromkeys([*REFERENCES, *labels]))
    return [
        _table(dict(zip(GROUP, group, strict=True)), part, columns, order)
        for group, part in records.groupby(list(GROUP), sort=False)
    ]


def _table(group: dict[str, Any], records: pd.DataFrame, columns: Sequence[Column], order: list[str]) -> Table:
    columns = [column for column in columns if column.name in records and records[column.name].notna().any()]
    parts = [
        (label, settings, part)
        for label in order
        for settings, part in _split_by_settings(records[records["label"] == label])
    ]
    for label, settings, part in parts:
        _refuse_to_average(f"{group['dataset']}, {group['forget']}: {label} {settings}".strip(), part)
    retrain = _seeds(records[records["label"] == "retrain"], columns)
    rows = [_row(label, settings, part, columns, retrain) for label, settings, part in parts]
    rows.append(_floor(_seeds(records[records["label"] == "retrain_independent"], columns), columns, retrain))
    seeds = sorted({int(seed) for seed in records["seed"]})
    return Table(group, columns, rows, seeds, int(records["repeat"].nunique()), provenance(records))


def _split_by_settings(records: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The Records of one label, apart for each value of the `method.*` columns that vary, in their own order."""
    names = [name for name in map(str, records) if name.startswith("method.") and len(several(records[name])) > 1]
    words = [
        " ".join(f"{name.removeprefix('method.')}={_word(row[name])}" for name in names)
        for _, row in records.iterrows()
    ]
    return [(settings, records[[word == settings for word in words]]) for settings in dict.fromkeys(words)]


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _refuse_to_average(row: str, records: pd.DataFrame) -> None:
    """Raises InputError naming the column that varies within a row; seeds and repeats may."""
    for name in map(str, records):
        values = several(records[name]) if name in _FIXED or name.startswith(("method.", "recipe.", "relearn.")) else []
        if len(values) > 1:
            raise InputError(
                f"{row}: would average over {name} ({', '.join(values)}); only seed and repeat are averaged"
            )
    twice = records[records.duplicated(["seed", "repeat"])]
    for _, record in twice.iterrows():
        raise InputError(
            f"{row}: would average over key: two Records of seed {record['seed']}, repeat {record['repeat']}"
        )


def _seeds(records: pd.DataFrame, columns: Sequence[Column]) -> dict[str, Seeds]:
    """Column → seed → mean over repeats; seeds without a value are left out."""
    found = {}
    for column in columns:
        values = records[column.name].astype(float).groupby(records["seed"]).mean().dropna()
        found[column.name] = {int(str(seed)): float(value) for seed, value in values.items()}
    return found


def _row(label: str, settings: str, records: pd.DataFrame, columns: Sequence[Column], retrain: dict[str, Seeds]) -> Row:
    seeds = _seeds(records, columns)
    values, differences = {}, {}
    for column in columns:
        own = seeds[column.name]
        if own:
            values[column.name] = _estimate(own, column, records)
        difference = paired_difference(own, retrain[column.name]) if label != "retrain" else None
        if difference:
            differences[column.name] = difference
    return Row(label, settings, values, differences)


def _estimate(own: Seeds, column: Column, records: pd.DataFrame) -> Estimate:
    """Shares of a known number of rows may be counted; all else has a t interval."""
    if column.rows not in records or records[column.rows].isna().any():
        return mean_interval(list(own.values()))
    rows = {int(seed): int(count) for seed, count in zip(records["seed"], records[column.rows], strict=True)}
    return share_interval(own, rows)


def _floor(independent: dict[str, Seeds], columns: Sequence[Column], retrain: dict[str, Seeds]) -> Row:
    """How far apart two honest retrainings are: |difference| of percentages; for divergences, Retrain's own (DESIGN §9)."""
    values, differences = {}, {}
    for column in columns:
        own = retrain[column.name]
        distance = paired_distance(independent[column.name], own) if column.is_share else None
        if distance:
            differences[column.name] = distance
        if column.is_divergence and own:
            values[column.name] = mean_interval(list(own.values()))
    return Row(FLOOR, "", values, differences)
