"""The training loop and the prediction loop that all stages and methods share.

Axes: N rows, B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from adaprob_ray.data.batches import Batch, PairedBatch, Subset
from adaprob_ray.errors import Diverged
from adaprob_ray.recipe import Recipe
from adaprob_ray.training.losses import L2SPPenalty, LossOutput, cross_entropy, penalty_to_start
from adaprob_ray.training.training_state import TrainingState

# Rows of one forward pass without gradients: large enough for full speed, small enough for the memory of any network here.
PREDICT_BATCH = 500
# Factor of the learning rate at each milestone, as in all of the authors' notebooks.
RATE_DECAY = 0.1
AnyBatch = TypeVar("AnyBatch", Batch, PairedBatch)
Weights = dict[str, Tensor]


class TrainingContext(Protocol):
    """What a method's Context offers here."""

    @property
    def precision(self) -> str: ...
    def generator(self, purpose: str) -> torch.Generator: ...
    def report(self, step: int, /, **scalars: float) -> None: ...
    def note(self, **facts: float) -> None: ...
    def check_deadline(self) -> None: ...


class EpochMetrics(NamedTuple):
    """Means over the rows of one epoch, taken while it trains: loss (without penalty terms) and top-1 error in percent."""

    loss: float
    error_percent: float


def distance(weights: Iterable[Tensor], others: Iterable[Tensor]) -> float:
    """‖w − w'‖₂ over all tensors jointly, in float64."""
    pairs = zip(weights, others, strict=True)
    return math.sqrt(sum(float((a.detach().double() - b.detach().double()).square().sum()) for a, b in pairs))


@contextmanager
def only_trainable(model: nn.Module, *layers: nn.Module) -> Iterator[None]:
    """Freeze all parameters except those of these layers, until the block ends."""
    trainable = {id(parameter) for layer in layers for parameter in layer.parameters()}
    frozen = [p for p in model.parameters() if p.requires_grad and id(p) not in trainable]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def set_mode(model: nn.Module, batch_norm: str) -> None:
    """Training mode. With `frozen`, batch norm uses its running statistics and does not update them; its scale and shift
    still train."""
    model.train()
    if batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


@contextmanager
def restored_modes(model: nn.Module) -> Iterator[None]:
    """Set the training or evaluation mode of every module back after the block."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def autocast(precision: str, device: torch.device) -> Iterator[None]:
    """Passes in bfloat16 if that is the `precision`; weights and optimizer state stay float32."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def sgd(model: nn.Module, *, lr: float, momentum: float, weight_decay: float = 0.0) -> torch.optim.SGD:
    """SGD over the trainable parameters, in one fused kernel."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(trainable, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)


def decayed_rate(lr: float, milestones: Iterable[int], epoch: int) -> float:
    """`lr`, divided by ten for each milestone before this epoch; epochs count from 1."""
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
    """Take one optimizer step for each batch. The caller sets the model's mode.

    Raises Diverged if the mean loss is not finite.
    """
    parameters: list[Tensor] = [parameter for group in optimizer.param_groups for parameter in group["params"]]
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
    subset: Subset,
    recipe: Recipe,
    *,
    generator: torch.Generator,
    precision: str,
    report: Callable[..., None],
    start_from: TrainingState | None = None,
    after_epoch: Callable[[Callable[[], TrainingState]], None] = lambda capture: None,
) -> EpochMetrics:
    """Train a network by a recipe, in place.

    Args:
        model: the network; its initial weights are the anchor of the recipe's `decay_to_start`.
        subset: the rows to train on.
        recipe: epochs, learning rate, batch size, decays and batch-norm mode.
        generator: a CPU generator that shuffles the rows of each epoch.
        precision: `float32` or `bfloat16`, of the passes.
        report: called as `report(epoch, loss=…, error_percent=…)` after each epoch.
        start_from: resume from this state, which an earlier call captured in `after_epoch`, to the same bits.
        after_epoch: called after each epoch with a function that captures the state.

    Returns:
        Mean loss and error of the last epoch.

    Raises:
        Diverged: the mean loss of an epoch is not finite.

    Example:
        >>> import torch
        >>> from adaprob_ray.data.batches import DeviceImages
        >>> images = torch.arange(8 * 16, dtype=torch.uint8).reshape(8, 4, 4, 1)
        >>> device_images = DeviceImages(images, torch.arange(8) % 2, torch.ones(1) / 255, torch.zeros(1))
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> metrics = fit(
        ...     model,
        ...     Subset(device_images, torch.arange(8)),
        ...     Recipe(epochs=2, lr=0.1, batch_size=4),
        ...     generator=torch.Generator().manual_seed(1),
        ...     precision="float32",
        ...     report=lambda epoch, **scalars: print(epoch, sorted(scalars)),
        ... )
        1 ['error_percent', 'loss']
        2 ['error_percent', 'loss']
        >>> 0 <= metrics.error_percent <= 100
        True
    """
    optimizer = sgd(model, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    penalty = penalty_to_start(model, recipe)
    set_mode(model, recipe.batch_norm)
    first, metrics = 1, EpochMetrics(math.nan, math.nan)
    if start_from is not None:
        start_from.restore(model, optimizer, generator)
        first, metrics = start_from.epoch + 1, EpochMetrics(start_from.loss, start_from.error_percent)
    for epoch in range(first, recipe.epochs + 1):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(epoch)
        batches = subset.batches(recipe.batch_size, generator)
        metrics = train_epoch(model, batches, cross_entropy, optimizer, precision=precision, penalty=penalty)
        report(epoch, loss=metrics.loss, error_percent=metrics.error_percent)
        after_epoch(partial(TrainingState.capture, model, optimizer, generator, epoch=epoch, **metrics._asdict()))
    return metrics


@torch.no_grad()
def predict(model: nn.Module, subset: Subset) -> Tensor:
    """Logits of a network in eval mode, in float32 whatever the precision of training.

    Args:
        model: the network; it is left in eval mode.
        subset: the rows, at least one.

    Returns:
        float32 logits [N, K] in the order of the subset.

    Raises:
        ValueError: the subset has no rows.

    Example:
        >>> import torch
        >>> from adaprob_ray.data.batches import DeviceImages
        >>> images = torch.zeros(3, 2, 2, 1, dtype=torch.uint8)
        >>> device_images = DeviceImages(images, torch.arange(3), torch.ones(1), torch.zeros(1))
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
        >>> predict(model, Subset(device_images, torch.arange(3))).shape
        torch.Size([3, 5])
    """
    model.eval()
    if not len(subset):
        raise ValueError("predict: the subset must have at least one row, got none")
    return torch.cat([model(batch.images).float() for batch in subset.batches(PREDICT_BATCH)])


def check_finite(weights: Mapping[str, Any]) -> None:
    """Raises Diverged that names the first tensor with a NaN or an infinity."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Diverged(f"{name} is not finite after training; a smaller learning rate may help")
