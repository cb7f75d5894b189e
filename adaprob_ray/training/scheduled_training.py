"""Training for a number of batches, each at a learning rate of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn

from adaprob_ray.data.batches import Batch
from adaprob_ray.recipe import scheduled_rate
from adaprob_ray.training.batch_source import BatchSource, batch_count
from adaprob_ray.training.loop import TrainingContext, train_epoch
from adaprob_ray.training.losses import L2SPPenalty, Loss


def scheduled_rates(lr: float, steps: int, schedule: str) -> list[float]:
    """The rate of each step: `constant`, or from `lr` to 0 along half a `cosine`.

    >>> [round(rate, 3) for rate in scheduled_rates(0.1, 4, "cosine")]
    [0.1, 0.085, 0.05, 0.015]
    """
    return [scheduled_rate(lr, step, steps, schedule) for step in range(steps)]


def _at_rates(batches: Iterable[Batch], optimizer: torch.optim.Optimizer, rates: Sequence[float]) -> Iterator[Batch]:
    """As many batches as there are rates; before each one the optimizer gets its rate."""
    for rate, batch in zip(rates, batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate
        yield batch


def train_at_rates(
    model: nn.Module,
    source: BatchSource,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    rates: Sequence[float],
    *,
    penalty: L2SPPenalty | None,
    context: TrainingContext,
) -> None:
    """Train a network in place for as many batches as there are rates. The caller sets the model's mode.

    Args:
        model: the network.
        source: of the batches.
        loss: of a batch.
        optimizer: its rate is set here.
        rates: of each batch.
        penalty: see `train_epoch`.
        context: of the method. Loss and error are reported after each epoch, also after one that the rates end early.

    Raises:
        Diverged: the mean loss of an epoch is not finite.
        DeadlineExceeded: the deadline has passed.
    """
    size, shuffle = len(source), context.generator("shuffle")
    for epoch in range(batch_count(len(rates), size)):
        context.check_deadline()
        batches = _at_rates(source.batches(shuffle), optimizer, rates[epoch * size : (epoch + 1) * size])
        metrics = train_epoch(model, batches, loss, optimizer, precision=context.precision, penalty=penalty)
        context.report(epoch + 1, loss=metrics.loss, train_error_percent=metrics.error_percent)
