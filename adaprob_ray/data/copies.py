"""How many images of a data set are there, and how many of them are copies of one another."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from adaprob_ray.data.dataset import Dataset
from adaprob_ray.data.folder_files import first_of_same_pixels


class ImageCounts(NamedTuple):
    """A row of the table of `data prepare`.

    copies: training images with the same pixels as an earlier one.
    test_copies: test images with the same pixels as a training image, or an earlier test image.
    """

    name: str
    read: int
    scaled: int | None
    passed_over: int | None
    copies: int
    test_copies: int


def count_copies(dataset: Dataset, root: Path) -> ImageCounts:
    """Count the copies in a data set that is used as it is, in the draw of seed 1."""
    images = dataset.load(root, 1)
    train_count = len(images.train_NHWC)
    rows = [*images.train_NHWC, *images.test_NHWC]
    is_copy = [row != first for row, first in enumerate(first_of_same_pixels(rows))]
    return ImageCounts(
        name=dataset.name,
        read=len(rows),
        scaled=None,
        passed_over=None,
        copies=sum(is_copy[:train_count]),
        test_copies=sum(is_copy[train_count:]),
    )
