"""Records grouped for tables and figures: a group for each data set, architecture and forget request, in it a row for each
label and for each `method.*` setting that varies within the label.

Only seeds and repeats are averaged, repeats within a seed first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.records.provenance import is_empty, unique_strings
from adaprob_ray.sweep.forget_request import forget_words
from adaprob_ray.user_code.source import is_path

GROUP = ("dataset", "test_pool", "architecture", "filters", "forget")
# The order of methods in a figure and its legend: references, baselines, AdaProb.
METHOD_ORDER = (
    "original", "retrain", "retrain_independent", "finetune", "neggrad_plus", "fisher", "ntk", "cf_k", "eu_k", "bad_teacher",
    "scrub", "scrub_rewind", "random_label", "bias_shift", "adaprob",
)  # fmt: skip
# Columns that must not vary within a row, besides method.…
_FIXED = ("method", "precision")
FIXED_PREFIXES = ("recipe.", "pretrain.", "original.", "relearn.", "probe.")


@dataclass(frozen=True)
class RowGroup:
    """The Records of one row of a table, or of one bar, curve or point of a figure.

    `settings`: the `method.*` settings that distinguish it from other rows of its label, as text.
    """

    label: str
    settings: str
    records: pd.DataFrame

    @property
    def name(self) -> str:
        return f"{self.label} {self.settings}".strip()

    @property
    def method(self) -> str:
        return str(self.records["method"].iloc[0])


def row_groups(records: pd.DataFrame, labels: Iterable[str], *, along: str = "") -> list[RowGroup]:
    """The rows of one group, label by label.

    Args:
        records: The Records of one group.
        labels: The labels that are wanted, in order.
        along: A `method.*` column that is an axis of a figure; it does not split Records into rows.
    """
    rows = []
    for label in labels:
        of_label = records[records["label"] == label]
        texts = setting_texts(of_label, [name for name in columns_with_prefix(records, "method.") if name != along])
        rows += [RowGroup(label, text, members) for text, members in split_by_text(of_label, texts)]
    return rows


def split_by_text(records: pd.DataFrame, texts: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """The Records of each text, of which each Record has one, in their order."""
    return [(str(text), members) for text, members in records.groupby(np.array(texts, dtype=object), sort=False)]


def record_groups(records: pd.DataFrame, *, along: str = "") -> dict[str, list[RowGroup]]:
    """Title → rows of all groups, in their order; rows are in the order of METHOD_ORDER, then by label.

    Raises:
        InputError: A row would average over anything but seed and repeat.
    """
    groups, places = {}, {method: place for place, method in enumerate(METHOD_ORDER)}
    for values, members in split_groups(records):
        title, rows = group_title(values), row_groups(members, dict.fromkeys(members["label"]), along=along)
        for row in rows:
            refuse_to_average(f"{title}: {row.name}", row.records, along)
        groups[title] = sorted(rows, key=lambda row: (places.get(row.method, math.inf), row.label))
    return groups


def split_groups(records: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The values of the columns GROUP and the Records that have them, in the order of the Records."""
    groups = records.groupby(list(GROUP), sort=False)
    return [(dict(zip(GROUP, values, strict=True)), members) for values, members in groups]


def setting_texts(records: pd.DataFrame, names: Iterable[str], *, separator: str = " ") -> list[str]:
    """For each Record the values of those columns that vary, such as `lr=0.1 epochs=3`."""
    varying = [name for name in names if len(unique_strings(records[name])) > 1]
    if not varying:  # of a frame without columns, to_dict gives no row in some versions of pandas
        return [""] * len(records)
    return [
        separator.join(
            f"{name.removeprefix('method.')}={format_setting(row[name])}"
            for name in varying
            # Records leave out some settings of methods at their defaults.
            if not (name.startswith("method.") and is_empty(row[name]))
        )
        for row in records[varying].to_dict("records")
    ]


def columns_with_prefix(records: pd.DataFrame, *prefixes: str) -> list[str]:
    """The columns whose names begin with one of these, in their order."""
    return [name for name in map(str, records) if name.startswith(prefixes)]


def format_setting(value: Any) -> str:
    """A setting as text, a number as short as it can be without loss."""
    if is_empty(value):
        return "none"
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def refuse_to_average(row: str, records: pd.DataFrame, along: str = "") -> None:
    """Raises InputError naming the column that varies within a row; only seed, repeat and the axis of a figure may."""
    names = [name for name in map(str, records) if name in _FIXED or name.startswith(FIXED_PREFIXES)]
    names += [name for name in columns_with_prefix(records, "method.") if name != along]
    for name in names:
        if len(values := unique_strings(records[name])) > 1:
            known = ", ".join(values)
            raise InputError(f"{row}: would average over {name} ({known}); only seed and repeat are averaged")
    for _, record in records[records.duplicated(["seed", "repeat", *([along] if along else [])])].iterrows():
        twice = f"two Records of seed {record['seed']}, repeat {record['repeat']}"
        raise InputError(f"{row}: would average over key: {twice}")


def columns_with_values(records: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Those of these columns in which some Record has a value."""
    return [name for name in names if name in records and records[name].notna().any()]


def seed_means(records: pd.DataFrame, column: str) -> dict[int, float]:
    """seed → mean over its repeats; a seed without a value is left out. Raises InputError for an unknown column."""
    if column not in records:
        raise InputError(unknown_name("column", column, map(str, records)))
    values = records[column].astype(float).groupby(records["seed"]).mean().dropna()
    return {int(str(seed)): float(value) for seed, value in values.items()}


def only_group_title(records: pd.DataFrame, what: str) -> str:
    """The title of the Records' group, on one line, for a figure of `what`. Raises InputError for several groups."""
    titles = [group_title(values).replace("\n", ", ") for values, _ in split_groups(records)]
    if len(titles) > 1:
        raise InputError(f"--only: must select one group for a figure of {what}, got {'; '.join(titles)}")
    return titles[0]


# -- titles ------------------------------------------------------------------------------------------------------------


def group_title(group: Mapping[str, Any]) -> str:
    """For figures: `cifar5 (resnet18 × 0.4)` and, below it, the forget request."""
    pool = "" if group["test_pool"] == "clean" else f", test pool {group['test_pool']}"
    filters = "" if group["filters"] == 1 else f" × {group['filters']:g}"
    return f"{group['dataset']} ({group['architecture']}{filters}{pool})\nforget {forget_words(group['forget'])}"


def group_heading(group: Mapping[str, Any], requests: int = 1) -> str:
    """For tables: data set, architecture and forget request on one line; `requests`: the number in its sequence."""
    pool = "" if group["test_pool"] == "clean" else f" (test pool: {group['test_pool']})"
    # Most networks of other packages have no width multiplier.
    has_filters = group["filters"] != 1 or not is_path(group["architecture"])
    architecture = f"{group['architecture']}" + (f", filters {group['filters']:g}" if has_filters else "")
    words = forget_words(group["forget"], "all of ", "samples ", of=requests)
    return f"{group['dataset']}{pool} · {architecture} · forget {words}"
