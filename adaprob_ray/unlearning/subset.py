"""Subsets of a user's samples with the interface of `data.batches.Subset`, by which methods read images and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.data.batches import Batch, Subset
from adaprob_ray.data.dataset import Integers
from adaprob_ray.unlearning.samples import Samples

# Of the images in one batch without shuffling: predictions may be made in smaller batches than training.
PREDICT_BYTES = 32 << 20


@dataclass(frozen=True)
class TrainingSamples:
    """The samples that a method may read, by position: `sources[n]` and `rows[n]` say where sample n is.

    Attributes:
        samples: one or several sources.
        sources, rows: of each position [N].
        labels: int64 [N], on the device.
        device: where batches are made.
    """

    samples: tuple[Samples, ...]
    sources: Integers
    rows: Integers
    labels: Tensor
    device: torch.device

    def images(self, batches: list[Tensor]) -> Iterator[Tensor]:
        """Normalized images [B, …] of positions in batches."""
        if len(self.samples) == 1:
            yield from self.samples[0].images((self.rows[batch.cpu().numpy()] for batch in batches), self.device)
            return
        for batch in batches:
            positions = batch.cpu().numpy()
            parts, order = [], []
            for index, samples in enumerate(self.samples):
                chosen = np.flatnonzero(self.sources[positions] == index)
                if len(chosen):
                    parts += list(samples.images([self.rows[positions[chosen]]], self.device))
                    order.append(chosen)
            place = torch.from_numpy(np.argsort(np.concatenate(order))).to(self.device)
            yield torch.cat(parts)[place]


class SampleSubset(Subset):
    """Some positions of a user's samples in a fixed order.

    Args:
        training: the samples.
        rows: int64 positions in them [N]; repeats are allowed.

    Example:
        >>> from adaprob_ray.unlearning.samples import open_samples
        >>> samples = open_samples((torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])), "dataset")
        >>> labels, _ = samples.scan([0, 1, 2, 3])
        >>> training = TrainingSamples((samples,), np.zeros(4, int), np.arange(4), labels, torch.device("cpu"))
        >>> [batch.labels.tolist() for batch in SampleSubset(training, torch.tensor([3, 0, 1])).batches(2)]
        [[1, 0], [1]]
    """

    def __init__(self, training: TrainingSamples, rows: Tensor) -> None:
        self.training, self.rows = training, rows

    @property
    def labels(self) -> Tensor:
        return self.training.labels[self.rows]

    def batch(self, rows: Tensor) -> Batch:
        (images,) = self.training.images([rows])
        return Batch(images, self.training.labels[rows], rows)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Batches of `size` samples, the last one smaller; shuffled if a CPU generator is passed, else in order.

        In order, batches are smaller where `size` images would take more than PREDICT_BYTES.
        """
        rows = self.rows
        if generator is not None:
            rows = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
        elif len(rows):
            (first,) = self.training.images([rows[:1]])
            size = max(1, min(size, PREDICT_BYTES // max(first.nbytes, 1)))
        batches = list(rows.split(size))
        for batch_rows, images in zip(batches, self.training.images(batches), strict=True):
            yield Batch(images, self.training.labels[batch_rows], batch_rows)

    def with_rows(self, rows: Tensor) -> SampleSubset:
        """The subset of these positions of all samples (not of this subset), repeats allowed."""
        return SampleSubset(self.training, rows)
