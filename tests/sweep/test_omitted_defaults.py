"""Settings that keys leave out at their defaults: what those are, and that sweep files may write them all the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from adaprob_ray.catalogue import METHODS, REGISTRY
from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import hyperparameters
from adaprob_ray.sweep.cell_settings import ArchitectureSettings, DatasetSettings
from adaprob_ray.sweep.sweep import Sweep

# Cells do not say which of these values they have. A new default needs a new revision of the class that it belongs to.
OMITTED: dict[str, dict[str, Any]] = {
    "AdaProb": {
        "max_drop": None,
        "retain_targets": "refined",
        "steps": None,
        "schedule": "constant",
        "batches": "random",
        "forget_batch": 16,
    },
    "Recipe": {"schedule": "constant"},
    "DatasetSettings": {"train_per_class": None},
    "ArchitectureSettings": {"arguments": None},
}


def omitted(cls: type) -> dict[str, Any]:
    return {name: field.default for name, field in hyperparameters(cls).items() if field.omit_default}


def test_the_defaults_that_keys_leave_out_stay() -> None:
    classes = [*METHODS.values(), Recipe, DatasetSettings, ArchitectureSettings]
    assert {cls.__name__: omitted(cls) for cls in classes if omitted(cls)} == OMITTED


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"lr": 0.01, "batches": ["random", "stratified"]}, ["batches=random", "batches=stratified"]),
        ({"lr": 0.01, "schedule": ["constant", "cosine"]}, ["schedule=constant", "schedule=cosine"]),
        ({"max_drop": [None, 3.0]}, ["max_drop=null", "max_drop=3"]),
        (
            {"lr": 0.01, "batches": "stratified", "forget_batch": [8, 16]},
            ["forget_batch=8", "forget_batch=16"],
        ),
    ],
)
def test_a_list_may_contain_the_default(settings: dict[str, Any], names: list[str]) -> None:
    document = {
        "name": "lists",
        "grid": {
            "dataset": "digits",
            "architecture": "allcnn",
            "forget": {"kind": "selective", "class": 3, "count": 25},
            "seed": 1,
        },
        "methods": {"adaprob": settings},
        "metrics": ["errors"],
    }
    cells = Sweep.parse(yaml.safe_dump(document), REGISTRY).cells.values()
    unlearned = [cell for cell in cells if cell.stage == "unlearn"]
    assert [name for cell in unlearned for name in cell.distinguishing_settings] == names
    assert len({cell.key for cell in unlearned}) == len(names)
