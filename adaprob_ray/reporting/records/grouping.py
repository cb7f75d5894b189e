"""Records taken apart: groups, labels, the settings that vary in one. Only seeds and repeats are averaged (DESIGN §6)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.records.provenance import several

GROUP = ("dataset", "test_pool", "architecture", "filters", "forget")
_FIXED = ("method", "precision")  # besides method.…, recipe.…, pretrain.…, relearn.…: what may not vary within a row


def split_by_settings(records: pd.DataFrame, along: str = "") -> list[tuple[str, pd.DataFrame]]:
    """The Records of one label, apart for each value of the `method.*` columns that vary, in their own order.

    `along`: a `method.*` column that is an axis of a figure, and so parts nothing.
    """
    names = [name for name in _settings(records, along) if len(several(records[name])) > 1]
    words = [
        " ".join(f"{name.removeprefix('method.')}={_word(row[name])}" for name in names)
        for row in records[names].to_dict("records")
    ]
    return [(settings, records[[word == settings for word in words]]) for settings in dict.fromkeys(words)]


def _settings(records: pd.DataFrame, along: str) -> list[str]:
    return [name for name in map(str, records) if name.startswith("method.") and name != along]


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def refuse_to_average(row: str, records: pd.DataFrame, along: str = "") -> None:
    """Raises InputError naming the column that varies within a row; seeds and repeats may, and what a figure runs along."""
    others = [
        name for name in map(str, records) if name in _FIXED or name.startswith(("recipe.", "pretrain.", "relearn."))
    ]
    for name in [*others, *_settings(records, along)]:
        values = several(records[name])
        if len(values) > 1:
            raise InputError(
                f"{row}: would average over {name} ({', '.join(values)}); only seed and repeat are averaged"
            )
    for _, record in records[records.duplicated(["seed", "repeat", *([along] if along else [])])].iterrows():
        raise InputError(
            f"{row}: would average over key: two Records of seed {record['seed']}, repeat {record['repeat']}"
        )


def seed_means(records: pd.DataFrame, column: str) -> dict[int, float]:
    """seed → mean over its repeats; a seed without a value is left out. Raises InputError for an unknown column."""
    if column not in records:
        raise InputError(unknown_name("column", column, map(str, records)))
    values = records[column].astype(float).groupby(records["seed"]).mean().dropna()
    return {int(str(seed)): float(value) for seed, value in values.items()}
