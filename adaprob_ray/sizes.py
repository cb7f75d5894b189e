"""How many bytes a cell will leave, from sizes in the catalogue alone."""

from __future__ import annotations

from adaprob_ray.catalogue import DATASETS, parameter_count
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
