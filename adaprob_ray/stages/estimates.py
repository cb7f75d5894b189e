"""How many bytes a cell will leave and how many passes it will make, from the catalogue alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adaprob_ray.catalogue import DATASETS, build_method, parameter_count
from adaprob_ray.methods.base import Cost, Sizes
from adaprob_ray.recipe import Recipe
from adaprob_ray.sweep.cell import Cell

FLOAT, LABEL = 4, 8  # bytes
SMALL_FILES = 4_000  # records, series, lease and commit, in bytes


def cell_bytes(cell: Cell) -> int:
    """Weights (parameters; batch-norm statistics add under 1 %) and Outputs (logits and labels of all parts), in bytes."""
    dataset, architecture = DATASETS[cell.settings["dataset"]["name"]], cell.settings["architecture"]
    total = SMALL_FILES
    if cell.stage in ("pretrain", "train") or (cell.stage == "unlearn" and cell.keep == "weights"):
        total += FLOAT * parameter_count(
            architecture["name"], dataset.classes, dataset.channels, architecture["filters"]
        )
    if cell.stage in ("train", "unlearn"):
        rows = sum(dataset.pool_per_class) + dataset.test_count
        total += rows * (FLOAT * dataset.classes + LABEL)
    return total


def cell_passes(cell: Cell) -> Cost | None:
    """What a pretrain, train or unlearn cell makes; None for one that reads Outputs, or trains until it has relearned."""
    settings = cell.settings
    if cell.stage not in ("pretrain", "train", "unlearn"):
        return None
    if cell.stage == "pretrain":
        passes = settings["recipe"]["epochs"] * sum(DATASETS[settings["dataset"]["name"]].train_per_class)
        return Cost(forward=passes, backward=passes)
    return build_method(settings).cost(_sizes(settings))


def _sizes(settings: Mapping[str, Any]) -> Sizes:
    """Rows of each part and the size of the network of a train or unlearn cell."""
    dataset, architecture = DATASETS[settings["dataset"]["name"]], settings["architecture"]
    train, forgotten, validation = sum(dataset.train_per_class), 0, 0
    forget = settings.get("forget")
    if forget is not None:
        forgotten = forget.get("count") or dataset.train_per_class[forget["class"]]
        validation = dataset.validation_per_class[forget["class"]]
    return Sizes(
        retain=train - forgotten,
        forget=forgotten,
        validation=validation,
        recipe_epochs=settings["recipe"]["epochs"],
        recipe_decay=Recipe(**settings["recipe"]).decay,
        classes=dataset.classes,
        parameters=parameter_count(architecture["name"], dataset.classes, dataset.channels, architecture["filters"]),
    )
