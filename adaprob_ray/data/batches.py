"""A split whose images live on the device as uint8; a batch is an index selection, normalised there.

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
from adaprob_ray.data.split import split_images


class Batch(NamedTuple):
    """Normalised images [B, C, H, W] float32, labels [B] int64, and `rows` [B]: positions in the training set.

    For validation and test parts `rows` are positions in that part.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor


class PairedBatch(NamedTuple):
    """A batch of retain rows, with a batch of forget rows beside it."""

    images: Tensor
    labels: Tensor
    rows: Tensor
    forget: Batch


def pair_batches(retain: Iterable[Batch], forget: Iterable[Batch]) -> Iterator[PairedBatch]:
    """One pass over retain; the forget batches are repeated as they are until it ends (protocol §5.2)."""
    return (PairedBatch(*kept, left) for kept, left in zip(retain, itertools.cycle(forget), strict=False))


def paired_forget_rows(retain_rows: int, retain_batch: int, forget_rows: int, forget_batch: int) -> int:
    """How many forget rows one pass of `paired` holds, each as often as it comes."""
    batches = -(-retain_rows // retain_batch)
    rounds, rest = divmod(batches, -(-forget_rows // forget_batch))
    return rounds * forget_rows + min(rest * forget_batch, forget_rows)


@dataclass(frozen=True)
class DeviceImages:
    """uint8 images [N, H, W, C] and labels [N] on a device, with what normalises them."""

    images_NHWC: Tensor
    labels: Tensor
    scale_C: Tensor
    shift_C: Tensor

    def select(self, rows: Tensor) -> Tensor:
        """Normalised images [B, C, H, W] in channels-last memory, as they are stored."""
        chosen = self.images_NHWC.index_select(0, rows).to(torch.float32)
        return chosen.mul_(self.scale_C).add_(self.shift_C).permute(0, 3, 1, 2)


class Subset:
    """Some rows of a set of images, in a fixed order: retain, forget, train, validation or test."""

    def __init__(self, pixels: DeviceImages, rows: Tensor) -> None:
        self.pixels, self.rows = pixels, rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor:
        return self.pixels.labels[self.rows]

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Batches of `size` rows, the last one smaller; shuffled if a CPU generator is given, else in order."""
        rows = self.rows
        if generator is not None:
            order = torch.randperm(len(rows), generator=generator)
            rows = rows[order.to(rows.device)]
        for chosen in rows.split(size):
            yield Batch(self.pixels.select(chosen), self.pixels.labels[chosen], chosen)

    def select(self, positions: Integers) -> Subset:
        """The part that consists of these rows of the underlying images, repeats allowed."""
        return Subset(self.pixels, torch.from_numpy(positions).to(self.rows.device))


@dataclass(frozen=True, kw_only=True)
class Subsets:
    """The training, validation and test parts of one data set and seed, on one device."""

    train: Subset
    validation: Subset
    test: Subset


def _whole(images_NHWC: Tensor, labels: Tensor, scale: Tensor, shift: Tensor) -> Subset:
    return Subset(DeviceImages(images_NHWC, labels, scale, shift), torch.arange(len(labels), device=labels.device))


@lru_cache(maxsize=4)  # one process runs many cells of few data sets
def load_subsets(dataset: Dataset, root: Path, seed: int, *, test_pool: str, device: torch.device) -> Subsets:
    """Read a data set, split it and put it on `device`; (x/255 − mean)/std becomes one multiplication and one addition."""
    images = dataset.load(root, seed)
    rows = split_images(images, seed, test_pool=test_pool)
    std = torch.tensor(dataset.std, dtype=torch.float64)
    mean = torch.tensor(dataset.mean, dtype=torch.float64)
    scale = (1 / (255 * std)).to(device, torch.float32)
    shift = (-mean / std).to(device, torch.float32)

    def part(pixels: NDArray[np.uint8], labels: Integers, chosen: Integers) -> Subset:
        chosen_images = torch.tensor(pixels[chosen], device=device)
        return _whole(chosen_images, torch.tensor(labels[chosen], device=device), scale, shift)

    return Subsets(
        train=part(images.train_NHWC, images.train_labels, rows.train),
        validation=part(images.train_NHWC, images.train_labels, rows.validation),
        test=part(images.test_NHWC, images.test_labels, rows.test),
    )
