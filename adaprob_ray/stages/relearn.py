"""Relearn time (protocol §6.2): for how long a model must train until it knows the forget rows as well as the original does.

    s = 1, 2, …, epochs:   stop at s if  mean_{n in forget} CE(f(x_n; w), y_n)  ≤  the original's + 1e-5
                           else  w ← one epoch of  CE + (wd/2)·‖w − w_model‖²  over `rows` training rows

The rows are drawn anew for each epoch, with replacement, from all training rows, those to be forgotten included. Batch norm
keeps its statistics, SGD has neither momentum nor weight decay; wd is the recipe's, in whichever form it has it. The last s is
given whether the threshold was reached there or never. A model that never held what it should forget needs long. One whose
loss stops being finite fails.

The one metric that needs weights: a cell of the stage `relearn` makes the number, and the evaluate cell copies it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from adaprob_ray.data.batches import Subset
from adaprob_ray.errors import Diverged
from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import hyperparameter, settings_dataclass
from adaprob_ray.training.loop import predict, set_mode, sgd, train_epoch
from adaprob_ray.training.losses import L2SPPenalty, cross_entropy, snapshot

SLACK = 1e-5  # nats above the original's loss that still count as reached


@settings_dataclass
class Relearning:
    """How a model is trained on."""

    lr: float = hyperparameter(default=0.01, gt=0)
    epochs: int = hyperparameter(default=100, ge=1, help="the most that are tried, and what never is reported as")
    rows: int = hyperparameter(default=500, unit="rows an epoch", ge=1)
    batch_size: int = hyperparameter(default=128, unit="rows", ge=1)


RELEARNING = {"small": Relearning(lr=0.1), "large": Relearning(lr=0.01)}  # by the recipe of the models


class Relearned(NamedTuple):
    """The step at which training stopped, and the mean forget loss there."""

    steps: int
    forget_loss: float


def forget_loss(model: nn.Module, forget: Subset) -> float:
    """Mean cross-entropy over the rows in eval mode, float64 from float32 logits. Raises Diverged if it is not finite."""
    loss = float(functional.cross_entropy(predict(model, forget).double(), forget.labels))
    if not math.isfinite(loss):
        raise Diverged(f"the mean loss of the forget rows is {loss}; a smaller learning rate may help")
    return loss


def draw(train: Subset, count: int, generator: torch.Generator) -> Subset:
    """So many rows of a part, with replacement."""
    drawn = torch.randint(len(train), (count,), generator=generator)
    return Subset(train.pixels, train.rows[drawn.to(train.rows.device)])


def relearn(
    model: nn.Module,
    train: Subset,
    forget: Subset,
    settings: Relearning,
    recipe: Recipe,
    *,
    threshold: float,
    generator: torch.Generator,
    precision: str,
    report: Callable[..., None],
) -> Relearned:
    """Train `model` in place until its mean forget loss is at most `threshold`."""
    penalty = L2SPPenalty(anchor=snapshot(model), strength=recipe.decay) if recipe.decay else None
    optimizer = sgd(model, lr=settings.lr, momentum=0.0)
    for step in range(1, settings.epochs + 1):
        loss = forget_loss(model, forget)
        report(step, forget_loss=loss)
        if loss <= threshold or step == settings.epochs:
            break
        set_mode(model, "frozen")
        batches = draw(train, settings.rows, generator).batches(settings.batch_size)
        epoch = train_epoch(model, batches, cross_entropy, optimizer, precision=precision, penalty=penalty)
        report(step, loss=epoch.loss, error_percent=epoch.error_percent)
    return Relearned(step, loss)
