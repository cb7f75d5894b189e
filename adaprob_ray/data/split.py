"""The training, validation, test, forget and retain rows of a data set (protocol §1.2, §1.6), position for position.

Positions of forget and retain rows refer to the training set, which excludes the validation images. All generators here are
numpy's `RandomState`, seeded as in the protocol, so that positions equal the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaprob_ray.data.dataset import VALIDATION_FRACTION, Dataset, Integers, RawImages
from adaprob_ray.errors import InputError, first_names
from adaprob_ray.sweep.cell_settings import ForgetRequest

# Rows that one message names.
MAX_ROWS_SHOWN = 5


def validation_rows(labels: Integers, seed: int) -> tuple[Integers, Integers]:
    """(training rows, validation rows) of a pool: a fifth of each class, rounded down, class by class (protocol §1.2).

    Training rows ascend; validation rows are in the order of the draw, class by class.
    """
    generator = np.random.RandomState(seed)
    rows_per_class = []
    for label in range(int(np.max(labels)) + 1):
        class_rows = np.flatnonzero(labels == label)
        count = int(VALIDATION_FRACTION * len(class_rows))
        rows_per_class.append(generator.choice(class_rows, count, replace=False))
    validation = np.concatenate(rows_per_class)
    train = np.setdiff1d(np.arange(len(labels)), validation)
    return train, validation


def copy_groups(images: RawImages, train_rows: Integers) -> Integers | None:
    """The source number of each training row, if rows with the same one are forgotten together and there are such rows."""
    source = images.train_source[train_rows]
    has_copies = images.forget_copies and len(np.unique(source)) < len(source)
    return source if has_copies else None


def forget_positions(
    train_labels: Integers, forget: ForgetRequest, seed: int, groups: Integers | None = None
) -> Integers:
    """Positions of the rows to forget, in the order of the draw, for a whole class as well (protocol §1.6); indices ascend.

    With `groups`, the group of each training row (see `copy_groups`), all other rows of a drawn row's group follow, ascending.

    Raises InputError if no row is left to retain.
    """
    if forget.kind == "indices":
        sample = np.array(forget.indices)
        if sample[-1] >= len(train_labels):
            raise InputError(f"forget: indices: must be 0 to {len(train_labels) - 1}, got {sample[-1]}")
    else:
        class_rows = np.flatnonzero(train_labels == forget.class_index)
        count = len(class_rows) if forget.count is None else forget.count
        sample = np.random.RandomState(seed - 1).choice(class_rows, count, replace=False)
    if groups is None:
        return sample
    copies = np.setdiff1d(np.flatnonzero(np.isin(groups, groups[sample])), sample)
    if len(sample) + len(copies) == len(train_labels):
        raise InputError(
            "forget: must leave a training image to retain, got none: all others are copies of the forgotten ones"
        )
    return np.concatenate([sample, copies])


def request_positions(
    train_labels: Integers, forget: ForgetRequest, seed: int, groups: Integers | None = None
) -> tuple[Integers, Integers]:
    """Positions of the rows to forget, and of those that the requests before it in its sequence forgot, in their order.

    Args as of `forget_positions`.

    Raises:
        InputError: a row is asked for twice, or no row is left to retain.
    """
    rows = forget_positions(train_labels, forget, seed, groups)
    earlier = [forget_positions(train_labels, request, seed, groups) for request in forget.after]
    for number, others in enumerate(earlier, 1):
        both = np.intersect1d(rows, others)
        if len(both):
            names = first_names([str(row) for row in both], MAX_ROWS_SHOWN)
            raise InputError(
                f"forget: request {len(earlier) + 1} must name samples that are not forgotten yet, but request "
                f"{number} already forgets {names}"
            )
    before = np.concatenate(earlier) if earlier else np.empty(0, np.int64)
    if len(rows) + len(before) == len(train_labels):
        raise InputError(
            f"forget: must leave samples to retain, got all {len(train_labels)} in {len(earlier) + 1} requests"
        )
    return rows, before


def retain_positions(train_count: int, forget: Integers) -> Integers:
    """Positions of all other training rows, ascending."""
    return np.setdiff1d(np.arange(train_count), forget)


def replacement_positions(train_count: int, forget: Integers, seed: int) -> Integers:
    """The retain row that Retrain trains on in place of each forget row (protocol §1.6), drawn with replacement."""
    return np.random.RandomState(seed - 1).choice(retain_positions(train_count, forget), len(forget), replace=True)


def retrain_positions(train_count: int, forget: Integers, seed: int, *, variant: str) -> Integers:
    """Positions that Retrain trains on: `code` replaces each forget row by a retain row, `plain` leaves them out."""
    if variant == "plain":
        return retain_positions(train_count, forget)
    positions = np.arange(train_count)
    positions[forget] = replacement_positions(train_count, forget, seed)
    return positions


@dataclass(frozen=True, kw_only=True)
class SplitIndices:
    """Rows of `RawImages`: `train` and `validation` index its training images, `test` its test images."""

    train: Integers
    validation: Integers
    test: Integers


def split_images(images: RawImages, seed: int, *, test_pool: str) -> SplitIndices:
    """Split one data set. `test_pool: clean` drops test images that are also training images; `paper` keeps them."""
    train, validation = validation_rows(images.train_labels, seed)
    test = np.arange(len(images.test_labels))
    if test_pool == "clean" and images.test_is_from_train:
        test = test[~np.isin(images.test_source, images.train_source[train])]
    return SplitIndices(train=train, validation=validation, test=test)


def index_table(dataset: Dataset, root: Path, seed: int, forget: ForgetRequest, *, test_pool: str) -> dict[str, Any]:
    """Every index of a split and forget set as lists, the output of `adaprob-ray data indices`."""
    images = dataset.load(root, seed)
    rows = split_images(images, seed, test_pool=test_pool)
    forget_rows = forget_positions(images.train_labels[rows.train], forget, seed, copy_groups(images, rows.train))
    train_count = len(rows.train)
    table = {
        "train_source": images.train_source[rows.train],
        "validation_source": images.train_source[rows.validation],
        "test_source": images.test_source[rows.test],
        "forget_positions": forget_rows,
        "forget_source": images.train_source[rows.train][forget_rows],
        "retain_positions": retain_positions(train_count, forget_rows),
        "replacement_positions": replacement_positions(train_count, forget_rows, seed),
    }
    header = {"dataset": dataset.name, "seed": seed, "forget": forget.document(), "test_pool": test_pool}
    return {**header, **{name: [int(i) for i in values] for name, values in table.items()}}
