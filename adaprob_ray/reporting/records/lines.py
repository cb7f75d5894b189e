"""Records taken apart for a figure: groups, and in each the lines of a label and of the settings that vary within it.

As in tables only seeds and repeats are averaged, repeats within a seed first (DESIGN §6).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from adaprob_ray.catalogue import METHODS
from adaprob_ray.reporting.records.grouping import GROUP, refuse_to_average, split_by_settings
from adaprob_ray.reporting.records.provenance import provenance

_CATALOGUE = list(METHODS)


@dataclass(frozen=True)
class Line:
    """One curve, bar or point: the name in the legend, the method that it stands for, and its Records."""

    name: str
    label: str
    method: str
    records: pd.DataFrame


@dataclass(frozen=True)
class Group:
    """One data set, architecture and forget request; lines in the catalogue's order of methods, then by label."""

    title: str
    lines: list[Line]


def groups(records: pd.DataFrame, *, along: str = "") -> list[Group]:
    """The Records apart. `along`: a `method.*` column that is an axis of the figure, and so parts no lines.

    Raises InputError where a line would average over anything but seed and repeat.
    """
    return [
        Group(title := group_title(dict(zip(GROUP, group, strict=True))), _lines(part, along, title))
        for group, part in records.groupby(list(GROUP), sort=False)
    ]


def _lines(records: pd.DataFrame, along: str, title: str) -> list[Line]:
    found = []
    for label in dict.fromkeys(records["label"]):
        for settings, part in split_by_settings(records[records["label"] == label], along):
            name = f"{label} {settings}".strip()
            refuse_to_average(f"{title}: {name}", part, along)
            found.append(Line(name, label, str(part["method"].iloc[0]), part))
    return sorted(found, key=lambda line: (_place(line.method), line.label))


def _place(method: str) -> int:
    return _CATALOGUE.index(method) if method in _CATALOGUE else len(_CATALOGUE)


def group_title(group: Mapping[str, Any]) -> str:
    """`cifar5 (resnet18 × 0.4)` and, below it, the forget request."""
    pool = "" if group["test_pool"] == "clean" else f", test pool {group['test_pool']}"
    filters = "" if group["filters"] == 1 else f" × {group['filters']:g}"
    match = re.fullmatch(r"(\d+)of(\d+)", group["forget"])
    request = f"{match[1]} of class {match[2]}" if match else re.sub(r"^class(\d+)$", r"class \1", group["forget"])
    return f"{group['dataset']} ({group['architecture']}{filters}{pool})\nforget {request}"


def facts(records: pd.DataFrame) -> list[str]:
    """What stands under a figure: seeds; then precision, device, threads and commit, with what is mixed called mixed."""
    seeds = sorted({int(seed) for seed in records["seed"]})
    noun = "seed" if len(seeds) == 1 else "seeds"
    return [f"n = {len(seeds)} {noun} ({', '.join(map(str, seeds))})", provenance(records).lines()[0]]
