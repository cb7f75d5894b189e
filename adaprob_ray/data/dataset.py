"""The description of a data set, which is known before any of it is read.

A `Dataset` is an entry of the catalogue: it states its sizes, so that a sweep can be planned and checked without reading an
image. `load` reads the images, and `verify` checks that the files are present and intact.

Axes: N images, H W height and width, C channels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.errors import InputError

# The fraction of each class of the pool that validates, rounded down to whole images (protocol §1.2).
VALIDATION_FRACTION = 0.2
# With fewer images in a class none of them would validate, as the validation fraction is rounded down. One of so many does.
MIN_POOL_PER_CLASS = int(1 / VALIDATION_FRACTION)
MIN_TRAIN_PER_CLASS = MIN_POOL_PER_CLASS - 1

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RawImages:
    """The images of one data set in the order of their source.

    `train_source` and `test_source` number each image in its source file. `test_is_from_train` is True if the test images
    were drawn from the same source file as the training images, as the paper's CIFAR-5 does. `forget_copies` is True if
    training images with the same source number are forgotten together.
    """

    train_NHWC: NDArray[np.uint8]
    train_labels: Integers
    train_source: Integers
    test_NHWC: NDArray[np.uint8]
    test_labels: Integers
    test_source: Integers
    test_is_from_train: bool = False
    forget_copies: bool = False

    def first_of_each_class(self, count: int) -> RawImages:
        """The same test images, and of each class its first `count` training images."""
        labels = np.unique(self.train_labels)
        rows = np.sort(np.concatenate([np.flatnonzero(self.train_labels == label)[:count] for label in labels]))
        return replace(
            self,
            train_NHWC=self.train_NHWC[rows],
            train_labels=self.train_labels[rows],
            train_source=self.train_source[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An entry of the catalogue.

    Attributes:
        name: the name in a sweep file.
        about: one line for `adaprob-ray data list`.
        channels: channels of an image.
        size: height and width of an image, in pixels.
        pool_per_class: images of each class to train and validate on.
        test_count: test images, of all classes.
        mean, std: per channel, of pixels scaled to [0, 1].
        load: reads the images, from the folder ADAPROB_DATA and the training seed.
        verify: returns the fault in the files under ADAPROB_DATA, in one line, or None.
        prepare: downloads or draws the files under ADAPROB_DATA; None if that is not possible.
        pretrain_on: the name of the data set to pretrain on, None for no pretraining.
        drawn_from: the name of the data set that each seed draws the images of this one from, and whose source numbers they
            keep; None if they are not drawn from another data set.
        revision: changes if the images do; it is part of the key of every cell that reads them.

    Example:
        >>> from adaprob_ray.data.cifar import CIFAR5
        >>> CIFAR5.classes, CIFAR5.train_per_class, CIFAR5.validation_per_class
        (5, (100, 100, 100, 100, 100), (25, 25, 25, 25, 25))
    """

    name: str
    about: str
    channels: int
    size: int
    pool_per_class: tuple[int, ...]
    test_count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    load: Callable[[Path, int], RawImages] = field(repr=False)
    verify: Callable[[Path], str | None] = field(repr=False)
    prepare: Callable[[Path], None] | None = field(default=None, repr=False)
    pretrain_on: str | None = None
    drawn_from: str | None = None
    revision: int = 1

    @property
    def classes(self) -> int:
        return len(self.pool_per_class)

    @property
    def validation_per_class(self) -> tuple[int, ...]:
        return tuple(int(VALIDATION_FRACTION * count) for count in self.pool_per_class)

    @property
    def train_per_class(self) -> tuple[int, ...]:
        """Training images of each class, without the validation images."""
        pairs = zip(self.pool_per_class, self.validation_per_class, strict=True)
        return tuple(pool - validation for pool, validation in pairs)

    @functools.cache  # noqa: B019  # a few entries that live as long as the process
    def reduced(self, train_per_class: int) -> Dataset:
        """This data set with fewer training images: of each class its first ones in the order of the files.

        Its validation images are a fifth of those too, so that splits and draws work as in the whole data set. The test images
        are the same.

        Args:
            train_per_class: training images of each class, without the validation images; at most those of the smallest class.

        Raises:
            InputError: a class has fewer training images.

        Example:
            >>> from adaprob_ray.data.cifar import CIFAR10
            >>> reduced = CIFAR10.reduced(600)
            >>> reduced.pool_per_class[0], reduced.train_per_class[0], reduced.validation_per_class[0]
            (750, 600, 150)
        """
        if not MIN_TRAIN_PER_CLASS <= train_per_class <= min(self.train_per_class):
            raise InputError(
                f"{self.name}: train_per_class: must be {MIN_TRAIN_PER_CLASS} (with fewer no image would validate) to "
                f"{min(self.train_per_class)} (the training images of its smallest class), got {train_per_class}"
            )
        # Of p images ⌊p/5⌋ validate. This is the largest p that leaves so many to train on.
        pool = train_per_class * 5 // 4
        return replace(
            self,
            name=f"{self.name}-{train_per_class}",
            pool_per_class=tuple(min(pool, count) for count in self.pool_per_class),
            load=functools.partial(_load_reduced, self.load, pool),
        )


def _load_reduced(load: Callable[[Path, int], RawImages], count: int, root: Path, seed: int) -> RawImages:
    return load(root, seed).first_of_each_class(count)
