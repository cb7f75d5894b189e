"""What a data set is, before any of it is read.

A `Dataset` is an entry of the catalogue: its sizes are written down, so that a sweep can be planned and checked without
reading an image. `load` reads it, `verify` says whether its files are there and whole.

Axes: N images, H W height and width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VALIDATION_FRACTION = 0.2  # of each class of the training part (protocol §1.2)

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RawImages:
    """One data set as read: everything is in the order of its source.

    `train_source` and `test_source` number each image in its source file; `test_is_from_train` says that the test images
    were drawn from the same source file as the training images, as the paper's CIFAR-5 does.
    """

    train_NHWC: NDArray[np.uint8]
    train_labels: Integers
    train_source: Integers
    test_NHWC: NDArray[np.uint8]
    test_labels: Integers
    test_source: Integers
    test_is_from_train: bool = False


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An entry of the catalogue. Pixels are uint8; `mean` and `std` are of pixels scaled to [0, 1], one a channel."""

    name: str
    about: str
    channels: int
    size: int
    pool_per_class: tuple[int, ...]
    test_count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    load: Callable[[Path, int], RawImages] = field(
        repr=False
    )  # (ADAPROB_DATA, seed): CIFAR-5 is drawn anew for each seed
    verify: Callable[[Path], str | None] = field(repr=False)  # what is wrong, in one line, or None
    prepare: Callable[[Path], None] | None = field(default=None, repr=False)
    pretrain_on: str | None = None
    revision: int = 1

    @property
    def classes(self) -> int:
        return len(self.pool_per_class)

    @property
    def validation_per_class(self) -> tuple[int, ...]:
        return tuple(int(VALIDATION_FRACTION * count) for count in self.pool_per_class)

    @property
    def train_per_class(self) -> tuple[int, ...]:
        """Training images of each class once the validation images are taken out."""
        pairs = zip(self.pool_per_class, self.validation_per_class, strict=True)
        return tuple(pool - validation for pool, validation in pairs)
