"""The table as data: Records grouped to labels and metrics, with intervals, differences from one label, and the floor.

One table for each data set, architecture and forget request; one row for each label and each `method.*` setting that varies
within it (DESIGN §6). Only seeds and repeats are averaged: repeats within a seed first, then the spread is over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records import grouping
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_format
from adaprob_ray.reporting.records.provenance import provenance, unique_strings
from adaprob_ray.reporting.stats.intervals import (
    Estimate,
    mean_interval,
    paired_difference,
    paired_distance,
    share_interval,
)
from adaprob_ray.reporting.stats.significance import TestFamily, chance_percent, family
from adaprob_ray.sweep.forget_request import sequence_length
from adaprob_ray.sweep.method_choices import REFERENCES

RETRAIN, FLOOR, CHANCE = "retrain", "noise floor", "chance level"
RETAIN_ERROR, FORGET_ERROR = "retain_error_percent", "forget_error_percent"
ATTACK, AUC = "membership_accuracy_percent", "membership_auc_percent"

Seeds = dict[int, float]  # seed → value, repeats averaged


@dataclass(frozen=True)
class Row:
    """One line: a label, the settings that distinguish it from others of its label, and an Estimate for each column.

    `seeds` are the values behind them: column → seed → mean over repeats. `chosen` holds the `method.*` settings, by name.
    """

    label: str
    settings: str
    values: dict[str, Estimate]
    differences: dict[str, Estimate]
    method: str = ""
    seeds: dict[str, Seeds] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.label} {self.settings}".strip()


@dataclass(frozen=True)
class Table:
    """All rows of one group. `columns` are those that hold a value in some row, `families` the tests of each.

    `against`: the label that all others are compared with.
    `requests`: the number of requests in the sequence that the group's is part of, among all tables.
    """

    group: dict[str, Any]
    columns: list[MetricFormat]
    rows: list[Row]
    families: dict[str, TestFamily]
    seeds: list[int]
    repeats: int
    provenance: list[str]
    requests: int = 1
    against: str = RETRAIN

    @property
    def heading(self) -> str:
        return grouping.group_heading(self.group, self.requests)


def tables(
    records: pd.DataFrame,
    columns: Sequence[MetricFormat],
    labels: Iterable[str],
    primary_label: str | None = None,
    against: str = RETRAIN,
) -> list[Table]:
    """A table for each group of Records, in their order; rows in the order of references, then of `labels`.

    Args:
        records: of evaluate cells.
        columns: those to show; the ones without a value in a group are left out there.
        labels: in the order of their rows.
        primary_label: Of the labels that share its method, the only one that is tested.
        against: The label that the others are compared with, seed by seed.

    Raises:
        InputError: A row would average over anything but seed and repeat, or `against` has several rows in a group.
    """
    order, result = list(dict.fromkeys([*REFERENCES, *labels])), []
    for group, members in grouping.split_groups(records):
        present = [column for column in columns if column.name in members and members[column.name].notna().any()]
        groups = grouping.row_groups(members, order)
        for row in groups:
            grouping.refuse_to_average(f"{group['dataset']}, {group['forget']}: {row.name}", row.records)
        retrain, independent = (_seeds(members[members["label"] == label], present) for label in REFERENCES[1:])
        reference = retrain if against == RETRAIN else _reference(groups, against, present, group)
        rows = [_row(row, present, reference, against) for row in groups]
        rows += [_floor(independent, present, retrain, against), *_chance_level(members, present)]
        # Of the labels of one method, only the primary one is tested.
        methods = set(members.loc[members["label"] == primary_label, "method"])
        others = set(members.loc[members["method"].isin(methods), "label"]) - {primary_label}
        untested = {*REFERENCES, FLOOR, CHANCE, against, *others}
        families = _families([row for row in rows if row.label not in untested], present, reference)
        seeds, repeats = sorted({int(seed) for seed in members["seed"]}), int(members["repeat"].nunique())
        requests = sequence_length(group["forget"], set(records["forget"]))
        result.append(Table(group, present, rows, families, seeds, repeats, provenance(members), requests, against))
    return result


def _reference(
    rows: Sequence[grouping.RowGroup], label: str, columns: Sequence[MetricFormat], group: dict[str, Any]
) -> dict[str, Seeds]:
    """The values that others are compared with; none in a group without the label. Raises InputError for several settings."""
    matching = [row for row in rows if row.label == label]
    if len(matching) > 1:
        settings = ", ".join(row.settings for row in matching)
        where = f"against: {group['dataset']}, {group['forget']}"
        raise InputError(f"{where}: {label} must have one row, has {len(matching)} ({settings})")
    return _seeds(matching[0].records, columns) if matching else {column.name: {} for column in columns}


def _families(
    rows: Sequence[Row], columns: Sequence[MetricFormat], reference: dict[str, Seeds]
) -> dict[str, TestFamily]:
    """For each column the tests of these rows against the values of another."""
    families = {}
    for column in columns:
        expected = reference[column.name]
        differences = {
            row.name: [row.seeds[column.name][seed] - expected[seed] for seed in shared_seeds]
            for row in rows
            if (shared_seeds := sorted(row.seeds[column.name].keys() & expected))
        }
        if differences:
            families[column.name] = family(differences)
    return families


def _chance_level(records: pd.DataFrame, columns: Sequence[MetricFormat]) -> list[Row]:
    """The chance level of the attacks at their number of samples here."""
    names, sizes = {column.name for column in columns}, ("forget_rows", "test_rows", "test_other_classes_rows")
    values = {AUC: Estimate(50.0, None, 0)} if AUC in names else {}
    if ATTACK in names and set(sizes) <= set(records):
        forget, test, others = (records[size].min() for size in sizes)
        expected = chance_percent(int(min(forget, test - others)))
        values |= {ATTACK: Estimate(expected, None, 0)} if expected is not None else {}
    return [Row(CHANCE, "", values, {})] if values else []


def _seeds(records: pd.DataFrame, columns: Sequence[MetricFormat]) -> dict[str, Seeds]:
    """Column → seed → mean over repeats; seeds without a value are left out."""
    return {column.name: grouping.seed_means(records, column.name) for column in columns}


def _row(group: grouping.RowGroup, columns: Sequence[MetricFormat], reference: dict[str, Seeds], against: str) -> Row:
    seeds, names = _seeds(group.records, columns), [column.name for column in columns]
    compared = names if group.label != against else []
    values = {name: value for name in names if (value := estimate_of(group.records, name))}
    differences = {name: value for name in compared if (value := paired_difference(seeds[name], reference[name]))}
    return Row(group.label, group.settings, values, differences, group.method, seeds, _chosen(group.records))


def _chosen(records: pd.DataFrame) -> dict[str, Any]:
    """The `method.*` settings of a row, which all its Records share; those that do not apply are left out."""
    first = records.iloc[0]
    names = grouping.columns_with_prefix(records, "method.")
    return {name.removeprefix("method."): first[name] for name in names if unique_strings(records[name]) != ["none"]}


def estimate_of(records: pd.DataFrame, name: str) -> Estimate | None:
    """Mean and interval of a column over seeds; None without a value.

    A percentage of a known number of samples may be counted (see `share_interval`); all else has a t interval.
    """
    seeds = grouping.seed_means(records, name)
    if not seeds:
        return None
    samples = metric_format(name).rows
    if samples not in records or records[samples].isna().any():
        return mean_interval(list(seeds.values()))
    counts = {int(seed): int(count) for seed, count in zip(records["seed"], records[samples], strict=True)}
    return share_interval(seeds, counts)


def _floor(
    independent: dict[str, Seeds], columns: Sequence[MetricFormat], retrain: dict[str, Seeds], against: str
) -> Row:
    """The noise floor of two retrainings: |difference| of percentages; for divergences, Retrain's own (DESIGN §9).

    Differences from any other label have no floor.
    """
    divergences = [column.name for column in columns if column.is_divergence and retrain[column.name]]
    shares = [column.name for column in columns if column.is_share and against == RETRAIN]
    values = {name: mean_interval(list(retrain[name].values())) for name in divergences}
    differences = {name: value for name in shares if (value := paired_distance(independent[name], retrain[name]))}
    return Row(FLOOR, "", values, differences)
