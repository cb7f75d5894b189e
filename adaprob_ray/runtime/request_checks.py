"""Whether the requests of a sequence name different samples, which for classes only the labels of the data set can tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from adaprob_ray.data.dataset import Dataset
from adaprob_ray.data.split import copy_groups, request_positions, split_images
from adaprob_ray.errors import InputError
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import DatasetSettings, ForgetRequest
from adaprob_ray.sweep.registry import Registry


def request_faults(cells: Iterable[Cell], data_root: Path, registry: Registry) -> list[str]:
    """One line for each data set, seed and request that names samples which an earlier request of its sequence has forgotten.

    Args:
        cells: Data sets are read only for those whose request is in a sequence.
        data_root: folder of the data sets, which must be there and intact.
        registry: the data sets.
    """
    requests: dict[tuple[DatasetSettings, int], dict[ForgetRequest, None]] = defaultdict(dict)  # ordered sets
    for cell in cells:
        if cell.forget is not None and cell.forget.after:
            requests[cell.settings.dataset, cell.settings.seed][cell.forget] = None
    faults = []
    for (dataset, seed), of_seed in requests.items():
        images = cast(Dataset, registry.dataset(dataset)).load(data_root, seed)
        rows = split_images(images, seed, test_pool="paper").train  # the test pool changes no training row
        for forget in of_seed:
            try:
                request_positions(images.train_labels[rows], forget, seed, copy_groups(images, rows))
            except InputError as error:
                faults += [f"grid.{fault} ({dataset}, seed {seed})" for fault in error.faults]
    return faults
