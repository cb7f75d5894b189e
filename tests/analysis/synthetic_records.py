"""Records as the store gives them, made up: only the columns that a test is about differ from one to the next."""

from __future__ import annotations

from typing import Any

import pandas as pd

COMMON = {
    "dataset": "digits",
    "test_pool": "clean",
    "architecture": "allcnn",
    "filters": 0.12,
    "forget": "25of3",
    "method": "original",
    "repeat": 0,
    "precision": "float32",
    "recipe.lr": 0.01,
    "device": "cpu (a)",
    "threads": 1,
    "commit": "e2d24799f071",
    "run_dirty": False,
    "exclusive": True,
    "forget_rows": 25,
    "test_rows": 1000,
}


def record(label: str, seed: int, **columns: Any) -> dict[str, Any]:
    return {**COMMON, "label": label, "seed": seed, "key": f"{label}{seed}{columns.get('repeat', 0)}", **columns}


def frame(*records: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(records))


def seeds(label: str, column: str, *values: float, **others: Any) -> list[dict[str, Any]]:
    """Records of seeds 1, 2, … that hold these values of one column."""
    return [record(label, seed, **{column: value}, **others) for seed, value in enumerate(values, 1)]
