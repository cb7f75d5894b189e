"""Which images train, validate, test, are forgotten and are retained (protocol §1.2, §1.6), position for position.

Positions of forget and retain rows are in the training set, that is, after the validation images were taken out.
All generators here are numpy's `RandomState`, seeded as the protocol seeds them, so that positions equal the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaprob_ray.data.dataset import VALIDATION_FRACTION, Dataset, Integers, RawImages


def validation_rows(labels: Integers, seed: int) -> tuple[Integers, Integers]:
    """(training rows, validation rows) of a pool: a fifth of each class, rounded down, drawn class by class (§1.2).

    Both ascend in the order of the pool only for training; validation rows stand class by class in the order drawn.
    """
    generator = np.random.RandomState(seed)
    drawn = []
    for label in range(int(np.max(labels)) + 1):
        members = np.flatnonzero(labels == label)
        drawn.append(generator.choice(members, int(VALIDATION_FRACTION * len(members)), replace=False))
    validation = np.concatenate(drawn)
    train = np.setdiff1d(np.arange(len(labels)), validation)
    return train, validation


def forget_positions(train_labels: Integers, forget: Mapping[str, Any], seed: int) -> Integers:
    """Positions of the rows to forget, in the order drawn (§1.6); a whole class in the protocol's order too.

    `forget` is {kind: selective, class, count} or {kind: class, class}.
    """
    members = np.flatnonzero(train_labels == forget["class"])
    count = forget["count"] if forget["kind"] == "selective" else len(members)
    return np.random.RandomState(seed - 1).choice(members, count, replace=False)


def retain_positions(train_count: int, forget: Integers) -> Integers:
    """Positions of all other training rows, ascending."""
    return np.setdiff1d(np.arange(train_count), forget)


def replacement_positions(train_count: int, forget: Integers, seed: int) -> Integers:
    """For each forget row the retain row that Retrain trains on in its place (§1.6), drawn with replacement."""
    return np.random.RandomState(seed - 1).choice(retain_positions(train_count, forget), len(forget), replace=True)


def retrain_positions(train_count: int, forget: Integers, seed: int, *, variant: str) -> Integers:
    """Positions that Retrain trains on: `code`, each forget row overwritten by another; `plain`, the retain rows alone."""
    if variant == "plain":
        return retain_positions(train_count, forget)
    positions = np.arange(train_count)
    positions[forget] = replacement_positions(train_count, forget, seed)
    return positions


@dataclass(frozen=True, kw_only=True)
class Indices:
    """Rows of `Images`: `train` and `validation` of its pool, `test` of its test part."""

    train: Integers
    validation: Integers
    test: Integers


def split_images(images: RawImages, seed: int, *, test_pool: str) -> Indices:
    """Split one data set. `test_pool: clean` drops test images that are also training images; `paper` keeps them."""
    train, validation = validation_rows(images.train_labels, seed)
    test = np.arange(len(images.test_labels))
    if test_pool == "clean" and images.test_is_from_train:
        test = test[~np.isin(images.test_source, images.train_source[train])]
    return Indices(train=train, validation=validation, test=test)


def index_table(
    dataset: Dataset, root: Path, seed: int, forget: Mapping[str, Any], *, test_pool: str
) -> dict[str, Any]:
    """Every index of a split and forget set, as plain lists: what `adaprob-ray data indices` writes."""
    images = dataset.load(root, seed)
    rows = split_images(images, seed, test_pool=test_pool)
    forgotten = forget_positions(images.train_labels[rows.train], forget, seed)
    count = len(rows.train)
    table = {
        "train_source": images.train_source[rows.train],
        "validation_source": images.train_source[rows.validation],
        "test_source": images.test_source[rows.test],
        "forget_positions": forgotten,
        "forget_source": images.train_source[rows.train][forgotten],
        "retain_positions": retain_positions(count, forgotten),
        "replacement_positions": replacement_positions(count, forgotten, seed),
    }
    header = {"dataset": dataset.name, "seed": seed, "forget": dict(forget), "test_pool": test_pool}
    return {**header, **{name: [int(i) for i in values] for name, values in table.items()}}
