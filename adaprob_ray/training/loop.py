"""One fit loop and one predict loop, for everything that trains, and the recipes that the paper's models are trained by.

Axes: N rows, B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.checkpoint import TrainingState, parameters_of
from adaprob_ray.data.batches import Batch, Paired, Part
from adaprob_ray.errors import Diverged
from adaprob_ray.sweep.settings import hyper

PREDICT_BATCH = 500
AnyBatch = TypeVar("AnyBatch", Batch, Paired)
Loss = Callable[[nn.Module, Batch], "Step"]
PairLoss = Callable[[nn.Module, Paired], "Step"]
Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the original and the retrained models are trained (protocol §3): SGD at a constant rate, without augmentation.

    The two weight decays differ: `weight_decay` is the optimiser's, `decay_to_start` the factor wd of an added
    (wd/2)·Σ‖w − w_start‖² over all parameters, batch norm, biases and classifier included.
    """

    epochs: int = hyper(31, unit="epochs", low=1)
    lr: float = hyper(0.01, above=0)
    momentum: float = hyper(0.9, low=0, below=1)
    batch_size: int = hyper(128, unit="rows", low=1)
    weight_decay: float = hyper(0.0, low=0)
    decay_to_start: float = hyper(0.0, low=0)
    batch_norm: str = hyper("train", choices=("train", "frozen"))

    revision = 1

    @property
    def decay(self) -> float:
        """wd in whichever of its two forms the recipe has."""
        return self.decay_to_start or self.weight_decay


# The authors' pretraining also makes one pass without steps after its first epoch, which only feeds batch norm's running
# statistics; thirty epochs of 313 batches at momentum 0.1 leave nothing of it, and it is left out.
RECIPES = {
    "pretrain": Recipe(epochs=31, lr=0.1, decay_to_start=5e-4, batch_norm="train"),
    "small": Recipe(epochs=31, lr=0.001, decay_to_start=0.1, batch_norm="frozen"),
    "large": Recipe(epochs=26, lr=0.01, weight_decay=5e-4, batch_norm="train"),
}


class Step(NamedTuple):
    """What a loss gives for one batch: the value to descend, and the logits [B, K] that it came from."""

    loss: Tensor
    logits: Tensor


class Epoch(NamedTuple):
    """Means over the rows of one pass, taken while it trained: loss (without added decay terms) and top-1 error in %."""

    loss: float
    error_percent: float


def cross_entropy(model: nn.Module, batch: Batch) -> Step:
    """Mean cross-entropy of a batch."""
    logits = model(batch.images).float()
    return Step(functional.cross_entropy(logits, batch.labels), logits)


@dataclass(frozen=True, kw_only=True)
class Pull:
    """Adds to every gradient that of (decay/2)·Σ‖w − anchor‖² (`squared`) or of strength·Σ_tensors ‖w − anchor‖.

    The gradients are written down instead of differentiated: w − anchor, and (w − anchor)/‖w − anchor‖, 0 at 0.
    """

    anchor: list[Tensor]
    strength: float
    squared: bool = True

    @torch.no_grad()
    def add_to_gradients(self, parameters: list[Tensor]) -> None:
        moved = list(torch._foreach_sub(parameters, self.anchor))
        if not self.squared:
            norms = torch._foreach_clamp_min(torch._foreach_norm(moved), torch.finfo(torch.float32).tiny)
            moved = list(torch._foreach_div(moved, norms))
        gradients = [p.grad for p in parameters]
        assert all(gradient is not None for gradient in gradients)
        torch._foreach_add_(gradients, moved, alpha=self.strength)  # type: ignore[arg-type]


def snapshot(model: nn.Module) -> list[Tensor]:
    """Copies of the trainable parameters, in the model's order."""
    return [p.detach().clone() for p in model.parameters() if p.requires_grad]


def pull_to_start(model: nn.Module, recipe: Recipe, *, share: float = 1.0) -> Pull | None:
    """`share` of the recipe's `decay_to_start`, anchored where the model is now; None where the recipe has none."""
    return Pull(anchor=snapshot(model), strength=share * recipe.decay_to_start) if recipe.decay_to_start else None


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


def train_epoch(
    model: nn.Module,
    batches: Iterable[AnyBatch],
    loss: Callable[[nn.Module, AnyBatch], Step],
    optimizer: torch.optim.Optimizer,
    *,
    precision: str,
    pull: Pull | None = None,
) -> Epoch:
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
        if pull is not None:
            pull.add_to_gradients(parameters)
        optimizer.step()
        count = len(batch.labels)
        wrong = (step.logits.detach().argmax(1) != batch.labels).sum()
        totals += torch.stack((step.loss.detach().double() * count, wrong.double()))
        rows += count
    mean_loss, error = (totals / max(rows, 1)).tolist()
    if not math.isfinite(mean_loss):
        raise Diverged(f"the mean loss of an epoch is {mean_loss}; a smaller learning rate may help")
    return Epoch(mean_loss, 100 * error)


def fit(
    model: nn.Module,
    part: Part,
    recipe: Recipe,
    *,
    generator: torch.Generator,
    precision: str,
    report: Callable[..., None],
    start_from: TrainingState | None = None,
    after_epoch: Callable[[Callable[[], TrainingState]], None] = lambda state: None,
) -> Epoch:
    """Train by a recipe; the anchor of `decay_to_start` is the model as it is given. Returns the last epoch.

    `start_from`: go on from this state, which `after_epoch`, offered a way to take it after each epoch, once kept.
    """
    optimizer = sgd(model, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    pull = pull_to_start(model, recipe)
    set_mode(model, recipe.batch_norm)
    done, epoch = 0, Epoch(math.nan, math.nan)
    if start_from is not None:
        start_from.put_back(model, optimizer, generator)
        done, epoch = start_from.epoch, Epoch(start_from.loss, start_from.error_percent)
    for number in range(done + 1, recipe.epochs + 1):
        batches = part.batches(recipe.batch_size, generator)
        epoch = train_epoch(model, batches, cross_entropy, optimizer, precision=precision, pull=pull)
        report(number, loss=epoch.loss, error_percent=epoch.error_percent)
        after_epoch(partial(TrainingState.of, model, optimizer, generator, epoch=number, **epoch._asdict()))
    return epoch


@torch.no_grad()
def predict(model: nn.Module, part: Part) -> Tensor:
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
