"""Relearn: how many epochs a model trains until its loss on the forget set is back at the original's (protocol §6.2).

    s = 1, 2, …, epochs:   stop at s if  mean_{n in forget} CE(f(x_n; w), y_n)  ≤  the original's + 1e-5
                           else  w ← one epoch of  CE + (wd/2)·‖w − w_model‖²  over `rows` training rows

For each epoch, samples are drawn with replacement from the training set, the forget set included. Batch norm keeps its
statistics, SGD has neither momentum nor weight decay; wd is the recipe's, in whichever form it has it. The result is the last
s, whether the threshold is reached there or not. A model that never learned the forget set takes long. A model whose loss
stops being finite fails.

The metric `relearn` needs this stage: the evaluate cell copies the number from the relearn cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from adaprob_ray.data.batches import Subset
from adaprob_ray.data.split import retain_positions
from adaprob_ray.errors import Diverged
from adaprob_ray.methods.base import derive_seed
from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import hyperparameter, settings_dataclass
from adaprob_ray.stages.base import SMALL_FILE_BYTES, StageContext, StageOutput
from adaprob_ray.stages.models import trained_model
from adaprob_ray.store.names import SERIES
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import CellSettings, ForgetRequest, ModelSettings
from adaprob_ray.sweep.registry import MetricStage
from adaprob_ray.training.loop import predict, set_mode, sgd, train_epoch
from adaprob_ray.training.losses import L2SPPenalty, cross_entropy, trainable_snapshot

# Nats above the original's loss that still count as reached; the value of the authors' code.
LOSS_TOLERANCE = 1e-5


@settings_dataclass
class RelearnOptions:
    """How a model is trained until it has relearned. The defaults of `lr` depend on the recipe, see DEFAULTS."""

    lr: float = hyperparameter(
        default=0.01, gt=0, help="learning rate; 0.1 under recipe small, 0.01 under large, to be written under others"
    )
    epochs: int = hyperparameter(
        default=100, ge=1, help="maximum epochs; also the value reported when the threshold is never reached"
    )
    rows: int = hyperparameter(default=500, unit="samples per epoch", ge=1, help="samples drawn for each epoch")
    batch_size: int = hyperparameter(default=128, unit="samples", ge=1, help="samples of one step")


# By the recipe that trained the models.
DEFAULTS = {"small": RelearnOptions(lr=0.1), "large": RelearnOptions(lr=0.01)}


@dataclass(frozen=True, kw_only=True)
class RelearnSettings(CellSettings):
    """The settings of the model that relearns, and the options."""

    method: str
    recipe: Recipe
    forget: ForgetRequest
    repeat: int
    relearn: RelearnOptions


def cell_settings(model: Cell, forget: ForgetRequest, repeat: int, options: Any) -> RelearnSettings:
    """The settings of the relearn cell of a model's cell."""
    settings = model.settings
    assert isinstance(settings, ModelSettings)
    return RelearnSettings(
        **settings.shared(),
        method=settings.method,
        recipe=settings.recipe,
        forget=forget,
        repeat=repeat,
        relearn=options,
    )


class RelearnResult(NamedTuple):
    """The step at which training stopped, and the mean forget loss there, in nats."""

    steps: int
    forget_loss: float


def forget_loss(model: nn.Module, forget: Subset) -> float:
    """Mean cross-entropy over the forget set in eval mode, in float64. Raises Diverged if it is not finite."""
    loss = float(functional.cross_entropy(predict(model, forget).double(), forget.labels))
    if not math.isfinite(loss):
        raise Diverged(f"the mean loss of the forget set is {loss}; a smaller learning rate may help")
    return loss


def resample(train: Subset, count: int, generator: torch.Generator) -> Subset:
    """`count` samples of a subset, drawn with replacement."""
    positions = torch.randint(len(train), (count,), generator=generator)
    return train.with_rows(train.rows[positions.to(train.rows.device)])


def train_until_relearned(
    model: nn.Module,
    train: Subset,
    forget: Subset,
    options: RelearnOptions,
    recipe: Recipe,
    *,
    threshold: float,
    generator: torch.Generator,
    precision: str,
    report: Callable[..., None],
) -> RelearnResult:
    """Train `model` in place until its mean forget loss is at most `threshold`."""
    penalty = L2SPPenalty(anchor=trainable_snapshot(model), strength=recipe.decay) if recipe.decay else None
    optimizer = sgd(model, lr=options.lr, momentum=0.0)
    for step in range(1, options.epochs + 1):
        loss = forget_loss(model, forget)
        report(step, forget_loss=loss)
        if loss <= threshold or step == options.epochs:
            break
        set_mode(model, "frozen")
        batches = resample(train, options.rows, generator).batches(options.batch_size)
        epoch = train_epoch(model, batches, cross_entropy, optimizer, precision=precision, penalty=penalty)
        report(step, loss=epoch.loss, error_percent=epoch.error_percent)
    return RelearnResult(step, loss)


def run(cell: Cell, context: StageContext) -> StageOutput:
    """Train a copy of the model until its forget loss is at the original's; its weights are dropped."""
    settings = cell.settings
    assert isinstance(settings, RelearnSettings)
    subsets = context.subsets(settings)
    rows, before = subsets.request_positions(settings.forget, settings.seed)
    forget = subsets.train.select(rows)
    original = trained_model(settings, cell.parents["original"], context)
    threshold = forget_loss(original, forget) + LOSS_TOLERANCE
    result = train_until_relearned(
        trained_model(settings, cell.parents["model"], context),
        subsets.train.select(retain_positions(len(subsets.train), before)),
        forget,
        settings.relearn,
        settings.recipe,
        threshold=threshold,
        generator=torch.Generator().manual_seed(derive_seed(settings.seed, settings.repeat, "relearn")),
        precision=settings.precision,
        report=context.record_series,
    )
    facts = {
        "relearn_steps": result.steps,
        "relearn_forget_nats": result.forget_loss,
        "relearn_threshold_nats": threshold,
    }
    return StageOutput({SERIES: context.serialize_series()}, facts)


RELEARN = MetricStage(
    name="relearn",
    settings=RelearnSettings,
    run=run,
    priority=10,
    artefact_bytes=lambda cell, registry: SMALL_FILE_BYTES,
    options=RelearnOptions,
    defaults=DEFAULTS,
    cell_settings=cell_settings,
)
