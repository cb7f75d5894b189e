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
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from adaprob_ray.data.batches import Part
from adaprob_ray.errors import Diverged
from adaprob_ray.sweep.settings import hyper
from adaprob_ray.training import Pull, Recipe, cross_entropy, predict, set_mode, sgd, snapshot, train_epoch

SLACK = 1e-5  # nats above the original's loss that still count as reached


@dataclass(frozen=True, kw_only=True)
class Relearning:
    """How a model is trained on."""

    lr: float = hyper(0.01, above=0)
    epochs: int = hyper(100, low=1, about="the most that are tried, and what never is reported as")
    rows: int = hyper(500, unit="rows an epoch", low=1)
    batch_size: int = hyper(128, unit="rows", low=1)


RELEARNING = {"small": Relearning(lr=0.1), "large": Relearning(lr=0.01)}  # by the recipe of the models


class Relearned(NamedTuple):
    """The step at which training stopped, and the mean forget loss there."""

    steps: int
    forget_loss: float


def forget_loss(model: nn.Module, forget: Part) -> float:
    """Mean cross-entropy over the rows in eval mode, float64 from float32 logits. Raises Diverged if it is not finite."""
    loss = float(functional.cross_entropy(predict(model, forget).double(), forget.labels))
    if not math.isfinite(loss):
        raise Diverged(f"the mean loss of the forget rows is {loss}; a smaller learning rate may help")
    return loss


def draw(train: Part, count: int, generator: torch.Generator) -> Part:
    """So many rows of a part, with replacement."""
    drawn = torch.randint(len(train), (count,), generator=generator)
    return Part(train.pixels, train.rows[drawn.to(train.rows.device)])


def relearn(
    model: nn.Module,
    train: Part,
    forget: Part,
    settings: Relearning,
    recipe: Recipe,
    *,
    threshold: float,
    generator: torch.Generator,
    precision: str,
    report: Callable[..., None],
) -> Relearned:
    """Train `model` in place until its mean forget loss is at most `threshold`."""
    pull = Pull(anchor=snapshot(model), strength=recipe.decay) if recipe.decay else None
    optimizer = sgd(model, lr=settings.lr, momentum=0.0)
    for step in range(1, settings.epochs + 1):
        loss = forget_loss(model, forget)
        report(step, forget_loss=loss)
        if loss <= threshold or step == settings.epochs:
            break
        set_mode(model, "frozen")
        batches = draw(train, settings.rows, generator).batches(settings.batch_size)
        epoch = train_epoch(model, batches, cross_entropy, optimizer, precision=precision, pull=pull)
        report(step, loss=epoch.loss, error_percent=epoch.error_percent)
    return Relearned(step, loss)
