"""Frozen settings against the defaults, by both selection rules, on seeds no search has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.archive import rows_of
from adaprob_ray.reporting.records.grouping import GROUP
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.stats.intervals import Estimate, mean_interval, paired_difference
from adaprob_ray.reporting.tables.format import EMPTY_CELL, MINUS_SIGN
from adaprob_ray.reporting.tables.layout import Block, Document
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.reporting.tables.render import write_documents
from adaprob_ray.search.rules import Rule, rule_for
from adaprob_ray.search.search_file import DEFAULT_SUFFIX
from adaprob_ray.sweep.cell_settings import ForgetRequest

RULES = ("oracle", "validation")
NOTE = (
    "gap: what the rule minimizes, in percentage points; mean ± half-width of the 95 % t interval over the report's seeds; "
    "difference: frozen − default, seed by seed; an interval that contains 0 shows no difference"
)
LIMITED = (
    "above the original: retain and validation error (whole class: of the other classes) minus the original's, mean over the "
    "seeds; the search allows its margin"
)


def build_frozen(selection: Selection, out: Path) -> Output:
    """Write a table for each frozen sweep file to `out`."""
    if not selection.sweeps:
        raise InputError("--sweep: must name a sweep file that adaprob-ray search --freeze wrote")
    paths, documents = [], []
    for path, sweep in selection.sweeps.items():
        rows = frozen_rows(replace(selection, sweeps={path: sweep}).gather().records)
        if not rows:
            raise InputError(f"{path}: must have a label LABEL together with LABEL{DEFAULT_SUFFIX}")
        documents.append(frozen_page(sweep.name, rows))
        paths += write_documents(documents[-1:], pd.DataFrame(rows).to_csv(index=False), f"{sweep.name}-frozen", out)
    return Output(documents, paths)


def frozen_rows(records: pd.DataFrame) -> list[dict[str, Any]]:
    """One row for each grid point, label and rule: means, half-widths and the paired difference.

    Raises InputError if the Records lack the columns of a rule.
    """
    rows = []
    for point, group in records.groupby(list(GROUP), sort=False):
        forget = ForgetRequest.from_record(next(rows_of(group)))
        labels = [label for label in dict.fromkeys(group["label"]) if f"{label}{DEFAULT_SUFFIX}" in set(group["label"])]
        retrain = _by_seed(group, "retrain")
        for label in labels:
            for name in RULES:
                rule = rule_for(name, forget)
                facts = {
                    name: _seeds(rule, _by_seed(group, each), retrain)
                    for name, each in (("default", f"{label}{DEFAULT_SUFFIX}"), ("frozen", label))
                }
                gaps = {
                    name: {seed: rule.gap(model, other) for seed, (model, other) in by_seed.items()}
                    for name, by_seed in facts.items()
                }
                difference = paired_difference(gaps["frozen"], gaps["default"])
                row: dict[str, Any] = {**dict(zip(GROUP, point, strict=True)), "label": label, "rule": rule.name}
                row["seeds"] = len(gaps["frozen"])
                for name, by_seed in gaps.items():
                    row |= _columns(f"gap.{name}", mean_interval(list(by_seed.values())))
                row |= _columns("difference", difference) if difference is not None else {}
                for name, seeds in facts.items():
                    excesses = rule.excesses([model for model, _ in seeds.values()])
                    for (column, _), excess in zip(rule.limited, excesses, strict=True):
                        row[f"{column}_above_original.{name}"] = excess
                rows.append(row)
    return rows


def frozen_page(name: str, rows: list[dict[str, Any]]) -> Document:
    """The rows in words."""
    head = ["rule", "method", "gap: default", "gap: frozen", "difference", "above the original: default", "frozen"]
    lines = [
        [
            row["rule"],
            row["label"],
            _words(row, "gap.default"),
            _words(row, "gap.frozen"),
            _words(row, "difference", signed=True),
            _excess_words(row, "default"),
            _excess_words(row, "frozen"),
        ]
        for row in sorted(rows, key=lambda row: str(row["rule"]))
    ]
    rules = "oracle: mean gap to Retrain in forget, retain and test error; validation: see docs/search.md"
    return Document(f"{name}: frozen settings against the defaults", [Block("", head, lines)], [NOTE, LIMITED, rules])


def _excess_words(row: Mapping[str, Any], name: str) -> str:
    values = [
        value for column, value in row.items() if column.endswith(f"_above_original.{name}") and value is not None
    ]
    return ", ".join(f"{value:+.2f}".replace("-", MINUS_SIGN) for value in values) or EMPTY_CELL


def _by_seed(group: pd.DataFrame, label: str) -> dict[int, Mapping[str, Any]]:
    rows = group[group["label"] == label].to_dict("records")
    return {int(row["seed"]): {str(name): value for name, value in row.items()} for row in rows}


def _seeds(
    rule: Rule, rows: Mapping[int, Mapping[str, Any]], retrain: Mapping[int, Mapping[str, Any]]
) -> dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The facts of each seed that the rule reads. Raises InputError if a Record lacks a column."""
    for row in rows.values():
        if missing := [name for name in rule.columns if row.get(name) is None or pd.isna(row[name])]:
            raise InputError(
                f"rule {rule.name}: must have {missing[0]} in the Records, got none; add errors and selection to metrics"
            )
    return {seed: (row, retrain[seed]) for seed, row in rows.items()}


def _columns(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {name: estimate.mean, f"{name}_half_width": estimate.half_width}


def _words(row: Mapping[str, Any], name: str, *, signed: bool = False) -> str:
    mean, half_width = row.get(name), row.get(f"{name}_half_width")
    if mean is None:
        return EMPTY_CELL
    text = f"{mean:+.2f}" if signed else f"{mean:.2f}"
    return (f"{text} ± {half_width:.2f}" if half_width is not None else f"{text} (all equal)").replace("-", MINUS_SIGN)
