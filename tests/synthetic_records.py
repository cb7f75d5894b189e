"""Records as the store gives them, made up: only the columns that a test is about differ from one to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.reporting.records.archive import Series
from adaprob_ray.reporting.records.load import group_of
from adaprob_ray.sweep.sweep import Sweep

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


def of_cells(sweep: Sweep, columns: Iterable[str], *, without: Iterable[str] = ()) -> pd.DataFrame:
    """A made-up Record for every evaluate cell of a sweep but those whose title holds one of `without`.

    Values follow from the title alone: 10 to 30, nearly the same for all seeds of a label.
    """
    rows = []
    for key, cell in sweep.cells.items():
        if cell.stage != "evaluate" or any(words in cell.title for words in without):
            continue
        settings = cell.settings
        digest = hashlib.sha256(f"{settings.label}{settings.forget.document()}".encode()).digest()
        values = {name: 10 + digest[at] / 13 + 0.1 * settings.seed for at, name in enumerate(columns)}
        hyper = {f"method.{name}": value for name, value in settings.hyper.items()}
        rows.append(
            {
                **COMMON,
                **group_of(cell),
                **hyper,
                **values,
                "key": key,
                "model_key": cell.parents["model"],
                **{name: getattr(settings, name) for name in ("label", "method", "seed", "repeat", "precision")},
            }
        )
    return pd.DataFrame(rows)


def tiny_sweep(methods: str, metrics: str) -> str:
    """A sweep file of a few tiny cells with two seeds. `methods` is a YAML mapping."""
    return f"""
name: tiny
grid:
  dataset: digits
  architecture: {{name: allcnn, filters: 0.02}}
  forget: {{kind: selective, class: 3, count: 25}}
  seed: [1, 2]
train: {{recipe: large, epochs: 1}}
methods: {methods}
metrics: {metrics}
"""


class Memory:
    """Outputs by key."""

    def __init__(self, outputs: Mapping[str, Outputs]) -> None:
        self._outputs = outputs

    def outputs(self, key: str) -> Outputs:
        return self._outputs[key]

    def series(self, key: str) -> Series:
        return {"loss": [[1, float(len(key))], [2, None]]}
