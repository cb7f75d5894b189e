"""Subsets of a data set whose images live on the device as uint8; a batch selects rows and normalizes them there.

Axes: N rows, B batch, C channels, H W height and width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaprob_ray.data.dataset import Dataset, Integers
from adaprob_ray.data.split import copy_groups, request_positions, split_images
from adaprob_ray.errors import InputError
from adaprob_ray.sweep.cell_settings import ForgetRequest


class Batch(NamedTuple):
    """Normalized images [B, C, H, W] float32, labels [B] int64, and `rows` [B], the positions in the training set.

    For the validation and test subsets `rows` are positions in that subset.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor


class PairedBatch(NamedTuple):
    """A batch of retain rows together with a batch of forget rows."""

    images: Tensor
    labels: Tensor
    rows: Tensor
    forget: Batch


def pair_batches(retain: Iterable[Batch], forget: Iterable[Batch]) -> Iterator[PairedBatch]:
    """One pass over the retain batches; the forget batches are cycled in unchanged order until it ends (protocol §5.2)."""
    pairs = zip(retain, itertools.cycle(forget), strict=False)
    return (PairedBatch(*retain_batch, forget_batch) for retain_batch, forget_batch in pairs)


def paired_forget_rows(retain_rows: int, retain_batch: int, forget_rows: int, forget_batch: int) -> int:
    """The number of forget rows in one pass of `pair_batches`, with repeats."""
    batches = -(-retain_rows // retain_batch)
    cycles, rest = divmod(batches, -(-forget_rows // forget_batch))
    return cycles * forget_rows + min(rest * forget_batch, forget_rows)


@dataclass(frozen=True)
class DeviceImages:
    """uint8 images [N, H, W, C] and labels [N] on a device, with the scale and shift per channel that normalize them."""

    images_NHWC: Tensor
    labels: Tensor
    scale_C: Tensor
    shift_C: Tensor

    def select(self, rows: Tensor) -> Tensor:
        """Normalized images [B, C, H, W] float32, in channels-last memory format."""
        images_BHWC = self.images_NHWC.index_select(0, rows).to(torch.float32)
        return images_BHWC.mul_(self.scale_C).add_(self.shift_C).permute(0, 3, 1, 2)


class Subset:
    """Some rows of a set of images in a fixed order, such as the retain, forget or validation rows.

    Args:
        pixels: the images that the rows refer to.
        rows: int64 positions in `pixels` [N], on the same device; repeats are allowed.

    Example:
        >>> pixels = DeviceImages(torch.zeros(5, 2, 2, 1, dtype=torch.uint8), torch.arange(5), torch.ones(1), torch.ones(1))
        >>> [batch.labels.tolist() for batch in Subset(pixels, torch.tensor([4, 0, 2])).batches(2)]
        [[4, 0], [2]]
    """

    def __init__(self, pixels: DeviceImages, rows: Tensor) -> None:
        self.pixels, self.rows = pixels, rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor:
        return self.pixels.labels[self.rows]

    def batch(self, rows: Tensor) -> Batch:
        """One batch of these rows of the underlying images, as `with_rows`."""
        return Batch(self.pixels.select(rows), self.pixels.labels[rows], rows)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Batches of `size` rows, the last one smaller; shuffled if a CPU generator is passed, else in order."""
        rows = self.rows
        if generator is not None:
            order = torch.randperm(len(rows), generator=generator)
            rows = rows[order.to(rows.device)]
        for batch_rows in rows.split(size):
            yield self.batch(batch_rows)

    def copied(self, positions: Integers) -> Subset:
        """A subset of these rows alone, which are numbered from 0: its images are a copy."""
        rows = torch.from_numpy(positions).to(self.rows.device)
        pixels = self.pixels
        images = DeviceImages(pixels.images_NHWC[rows], pixels.labels[rows], pixels.scale_C, pixels.shift_C)
        return Subset(images, torch.arange(len(rows), device=rows.device))

    def with_rows(self, rows: Tensor) -> Subset:
        """The subset of these rows of the underlying images (not of this subset) on their device, repeats allowed."""
        return Subset(self.pixels, rows)

    def select(self, positions: Integers) -> Subset:
        """`with_rows` of an array."""
        return self.with_rows(torch.from_numpy(positions).to(self.rows.device))


@dataclass(frozen=True, kw_only=True)
class Subsets:
    """The training, validation and test subsets of one data set and seed, on one device.

    `groups` numbers the training rows that are forgotten together, see `split.copy_groups`.
    """

    train: Subset
    validation: Subset
    test: Subset
    groups: Integers | None = None

    def request_positions(self, forget: ForgetRequest, seed: int) -> tuple[Integers, Integers]:
        """Positions in the training set of the samples to forget, and of those forgotten before, see `split`."""
        return request_positions(self.train.labels.cpu().numpy(), forget, seed, self.groups)


# One process executes many cells of few data sets, and each data set is read once while four of them fit.
@lru_cache(maxsize=4)
def load_subsets(dataset: Dataset, root: Path, seed: int, *, test_pool: str, device: torch.device) -> Subsets:
    """Read a data set, split it and copy it to a device.

    Normalization, (x/255 − mean)/std, is stored as one multiplication and one addition. Results are cached.

    Args:
        dataset: an entry of the catalogue.
        root: the folder ADAPROB_DATA.
        seed: the training seed, which decides the split.
        test_pool: "clean" drops test images that are also training images, "paper" keeps them.
        device: device of the images.

    Returns:
        The training, validation and test subsets.

    Raises:
        InputError: the files of the data set are missing or corrupt, or no test image is left.

    Example:
        >>> from adaprob_ray.data.digits import DIGITS
        >>> subsets = load_subsets(DIGITS, Path(), seed=1, test_pool="clean", device=torch.device("cpu"))
        >>> len(subsets.train), len(subsets.validation), len(subsets.test)
        (1154, 283, 360)
    """
    images = dataset.load(root, seed)
    rows = split_images(images, seed, test_pool=test_pool)
    if not len(rows.test):
        raise InputError(
            f"test_pool: must leave a test image, got {test_pool}: all test images of {dataset.name} are copies of training "
            "images; use `test_pool: paper`, or other test images"
        )
    std = torch.tensor(dataset.std, dtype=torch.float64)
    mean = torch.tensor(dataset.mean, dtype=torch.float64)
    scale_C = (1 / (255 * std)).to(device, torch.float32)
    shift_C = (-mean / std).to(device, torch.float32)

    def subset(images_NHWC: NDArray[np.uint8], labels: Integers, rows: Integers) -> Subset:
        pixels = torch.tensor(images_NHWC[rows], device=device)
        device_labels = torch.tensor(labels[rows], device=device)
        return Subset(DeviceImages(pixels, device_labels, scale_C, shift_C), torch.arange(len(rows), device=device))

    return Subsets(
        train=subset(images.train_NHWC, images.train_labels, rows.train),
        validation=subset(images.train_NHWC, images.train_labels, rows.validation),
        test=subset(images.test_NHWC, images.test_labels, rows.test),
        groups=copy_groups(images, rows.train),
    )
