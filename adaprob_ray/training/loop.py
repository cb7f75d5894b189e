"""One fit loop and one predict loop, for everything that trains.

Axes: N rows, B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from adaprob_ray.data.batches import Batch, PairedBatch, Subset
from adaprob_ray.errors import Diverged
from adaprob_ray.recipe import Recipe
from adaprob_ray.training.checkpoint import TrainingState, parameters_of
from adaprob_ray.training.losses import L2SPPenalty, LossOutput, cross_entropy, penalty_to_start

# Rows of one forward pass without gradients: large enough for full speed, small enough for any of the networks here.
PREDICT_BATCH = 500
RATE_DECAY = 0.1  # what a milestone multiplies the learning rate by, in all of the authors' notebooks
AnyBatch = TypeVar("AnyBatch", Batch, PairedBatch)
Weights = dict[str, Tensor]


class EpochMetrics(NamedTuple):
    """Means over the rows of one pass, taken while it trained: loss (without added decay terms) and top-1 error in %."""

    loss: float
    error_percent: float


def distance(weights: Iterable[Tensor], others: Iterable[Tensor]) -> float:
    """‖w − w'‖₂ over all tensors together, in float64."""
    pairs = zip(weights, others, strict=True)
    return math.sqrt(sum(float((a.detach().double() - b.detach().double()).square().sum()) for a, b in pairs))


@contextmanager
def only_trainable(model: nn.Module, *parts: nn.Module) -> Iterator[None]:
    """The parameters of these parts stay trainable, all others are frozen until the end."""
    chosen = {id(parameter) for part in parts for parameter in part.parameters()}
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in chosen]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def set_mode(model: nn.Module, batch_norm: str) -> None:
    """Training mode; with `frozen` batch norm uses its running statistics and leaves them, its scale and shift train."""
    model.train()
    if batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


@contextmanager
def autocast(precision: str, device: torch.device) -> Iterator[None]:
    """bfloat16 for the training passes when `precision` says so; weights and optimiser stay float32."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def sgd(model: nn.Module, *, lr: float, momentum: float, weight_decay: float = 0.0) -> torch.optim.SGD:
    """SGD over the trainable parameters, in one fused kernel."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(trainable, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)


def decayed_rate(lr: float, milestones: Iterable[int], epoch: int) -> float:
    """`lr` divided by ten for each milestone before this epoch, which counts from 1."""
    return lr * RATE_DECAY ** sum(milestone < epoch for milestone in milestones)


def train_epoch(
    model: nn.Module,
    batches: Iterable[AnyBatch],
    loss: Callable[[nn.Module, AnyBatch], LossOutput],
    optimizer: torch.optim.Optimizer,
    *,
    precision: str,
    penalty: L2SPPenalty | None = None,
) -> EpochMetrics:
    """One optimiser step for each batch; the error is over its `labels`. The model's mode is the caller's.

    Raises Diverged when the mean loss is not finite.
    """
    parameters = parameters_of(optimizer)
    totals = torch.zeros(2, dtype=torch.float64, device=parameters[0].device)
    rows = 0
    for batch in batches:
        with autocast(precision, batch.images.device):
            step = loss(model, batch)
        optimizer.zero_grad(set_to_none=True)
        step.loss.backward()
        if penalty is not None:
            penalty.add_to_gradients(parameters)
        optimizer.step()
        count = len(batch.labels)
        wrong = (step.logits.detach().argmax(1) != batch.labels).sum()
        totals += torch.stack((step.loss.detach().double() * count, wrong.double()))
        rows += count
    mean_loss, error = (totals / max(rows, 1)).tolist()
    if not math.isfinite(mean_loss):
        raise Diverged(f"the mean loss of an epoch is {mean_loss}; a smaller learning rate may help")
    return EpochMetrics(mean_loss, 100 * error)


def fit(
    model: nn.Module,
    part: Subset,
    recipe: Recipe,
    *,
    generator: torch.Generator,
    precision: str,
    report: Callable[..., None],
    start_from: TrainingState | None = None,
    after_epoch: Callable[[Callable[[], TrainingState]], None] = lambda state: None,
) -> EpochMetrics:
    """Train by a recipe; the anchor of `decay_to_start` is the model as it is given. Returns the last epoch.

    `start_from`: go on from this state, which `after_epoch`, offered a way to take it after each epoch, once kept.
    """
    optimizer = sgd(model, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    penalty = penalty_to_start(model, recipe)
    set_mode(model, recipe.batch_norm)
    done, epoch = 0, EpochMetrics(math.nan, math.nan)
    if start_from is not None:
        start_from.restore(model, optimizer, generator)
        done, epoch = start_from.epoch, EpochMetrics(start_from.loss, start_from.error_percent)
    for number in range(done + 1, recipe.epochs + 1):
        batches = part.batches(recipe.batch_size, generator)
        epoch = train_epoch(model, batches, cross_entropy, optimizer, precision=precision, penalty=penalty)
        report(number, loss=epoch.loss, error_percent=epoch.error_percent)
        after_epoch(partial(TrainingState.of, model, optimizer, generator, epoch=number, **epoch._asdict()))
    return epoch


@torch.no_grad()
def predict(model: nn.Module, part: Subset) -> Tensor:
    """float32 logits [N, K] of a part in its order, in eval mode, whatever the precision of training."""
    model.eval()
    if not len(part):
        raise ValueError("predict needs at least one row")
    return torch.cat([model(batch.images).float() for batch in part.batches(PREDICT_BATCH)])


def check_finite(weights: Mapping[str, Any]) -> None:
    """Raises Diverged naming the first tensor that holds a NaN or an infinity."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Diverged(f"{name} is not finite after training; a smaller learning rate may help")
