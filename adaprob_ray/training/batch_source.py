"""Where the batches of a training come from: all training samples at random, or a share of forget samples in each batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from adaprob_ray.data.batches import Batch, Subset


class BatchSource(Protocol):
    """Batches of one epoch after another."""

    def __len__(self) -> int:
        """Batches of one epoch."""

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch, in an order that a CPU generator draws."""


def batch_count(rows: int, size: int) -> int:
    """Batches of `size` rows in one pass, the last one smaller."""
    return -(-rows // size)


class EpochSize(NamedTuple):
    """Batches and rows of one epoch, and rows of each batch but the last."""

    batches: int
    rows: int
    batch_rows: int

    def rows_of(self, batches: int) -> int:
        """Rows of the first `batches` batches of a training."""
        epochs, rest = divmod(batches, self.batches)
        return epochs * self.rows + rest * self.batch_rows


def random_epoch(rows: int, size: int) -> EpochSize:
    """The size of an epoch of `RandomBatches`."""
    return EpochSize(batch_count(rows, size), rows, min(rows, size))


def stratified_epoch(retain: int, forget: int, *, retain_size: int, forget_size: int) -> EpochSize:
    """The size of an epoch of `StratifiedBatches`."""
    batches, forget_rows = batch_count(retain, retain_size), min(forget, forget_size)
    return EpochSize(batches, retain + batches * forget_rows, min(retain, retain_size) + forget_rows)


@dataclass(frozen=True)
class RandomBatches:
    """An epoch is one pass over a subset in random order."""

    subset: Subset
    size: int

    def __len__(self) -> int:
        return batch_count(len(self.subset), self.size)

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        return self.subset.batches(self.size, generator)


@dataclass(frozen=True)
class StratifiedBatches:
    """An epoch is one pass over the retain rows; each batch has forget rows too, which are drawn in passes of their own.

    With few forget rows, a random batch has few of them or none, and their gradient is mostly noise. Here each batch has the
    same number, and `weights` make up for it: in the mean over the batches of an epoch, the expected gradient is that of all
    rows.

    Args:
        retain, forget: the rows.
        retain_size: retain rows of a batch; the last batch of an epoch has fewer.
        forget_size: forget rows of a batch. A batch has at most all of them.
    """

    retain: Subset
    forget: Subset
    retain_size: int
    forget_size: int

    def __len__(self) -> int:
        return batch_count(len(self.retain), self.retain_size)

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Batches [B] with the forget rows first."""
        forget = self._forget_rows(generator)
        order = torch.randperm(len(self.retain), generator=generator)
        for rows in self.retain.rows[order.to(self.retain.rows.device)].split(self.retain_size):
            yield self.retain.batch(torch.cat([next(forget), rows]))

    def _forget_rows(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Blocks of rows without end: each row once in a random order, then each once in another, across block borders."""
        size = min(self.forget_size, len(self.forget))
        waiting = self.forget.rows[:0]
        while True:
            while len(waiting) < size:
                order = torch.randperm(len(self.forget), generator=generator)
                waiting = torch.cat([waiting, self.forget.rows[order.to(waiting.device)]])
            yield waiting[:size]
            waiting = waiting[size:]

    def weights(self) -> Tensor:
        """The weight of each row [N] of retain and forget rows together.

        The sum of weight × loss over the rows of a batch estimates the mean loss over all rows; in the mean over the batches of
        an epoch the estimate is unbiased. There each retain row has its share exactly, and a forget row has it times the number
        of its draws divided by their mean, which is 1 in expectation. A batch other than the smaller last one gives retain rows
        slightly more.
        """
        count = len(self.retain) + len(self.forget)
        weight_N = torch.empty(count, dtype=torch.float32, device=self.retain.rows.device)
        weight_N[self.retain.rows] = len(self) / count
        weight_N[self.forget.rows] = len(self.forget) / (count * min(self.forget_size, len(self.forget)))
        return weight_N
