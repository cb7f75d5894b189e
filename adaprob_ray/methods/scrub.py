"""SCRUB: a student moves away from its teacher, the original, on the forget samples and stays close to it on the retain samples
(Kurmanji et al., "Towards Unbounded Machine Unlearning", 2023; protocol §5.8).

Epoch e = 1..E: if e ≤ `forget_epochs`, one pass over the forget samples that maximizes the divergence, then one over the
retain samples that minimizes

    γ·CE(student, y) + α·KL_T(teacher ‖ student),    KL_T(p ‖ q) = T² · mean_n KL(softmax(t_n/T) ‖ softmax(s_n/T))

On both passes p·Σ_tensors ‖w − w̄‖₂ is added if `smoothing` p is not 0; w̄ starts as the original and moves a tenth of the way
to the student after each epoch e ≥ `smoothing_start`. The learning rate is divided by ten after each milestone.

Symbols: gamma = γ, alpha = α, temperature = T, forget_epochs = "msteps", smoothing = p. Needs the retain and forget samples.
Cost per epoch: forward passes of teacher and student and a backward pass of the student, over the retain samples, and over the
forget samples while e ≤ `forget_epochs`.

Differences from the paper and from the code of its authors:
1. Their β multiplies a term that is always 0; it is left out.
2. The smoothing term is in the code with which SCRUB was published (p = 0.5), but neither in a later version (p = 0) nor in
   the paper. On CIFAR-5 with ResNet-18 the model is destroyed without it. It is off by default.
3. The gradient of the smoothing term at w = w̄, where the norm has none, is taken as 0.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.data.batches import Batch
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.settings import Int, Log, PositiveInt, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import EpochMetrics, decayed_rate, set_mode, sgd, train_epoch
from adaprob_ray.training.losses import L2SPPenalty, Loss, LossOutput, distillation, trainable_snapshot

# Share of the way from w̄ to the student by which w̄ moves after an epoch, as in the authors' code.
ANCHOR_UPDATE_RATE = 0.1


@settings_dataclass
class Scrub(Unlearning):
    """The student at the end of the last epoch."""

    name = "scrub"
    needs = frozenset({"retain", "forget"})
    tested_settings: ClassVar[tuple[Mapping[str, Any], ...]] = ({"smoothing": 0.5, "smoothing_start": 2},)
    # Of CIFAR-10, protocol §5.8.
    large_scale: ClassVar[Mapping[str, Any]] = {"forget_batch": 512, "retain_batch": 256}
    large_scale_class: ClassVar[Mapping[str, Any]] = {"lr": 5e-4}

    optimizer: Literal["sgd", "adam"] = hyperparameter(default="sgd")
    lr: float = hyperparameter(default=5e-3, gt=0, help="before the first milestone", search=Log(1e-4, 1e-1))
    momentum: float = hyperparameter(default=0.9, ge=0, lt=1, help="of sgd")
    weight_decay: float = hyperparameter(default=5e-4, ge=0)
    epochs: int = hyperparameter(default=5, unit="passes over retain", ge=1, search=Int(2, 10))
    forget_epochs: int = hyperparameter(
        default=3, unit="passes over forget", ge=0, help="one in each of the first epochs", search=Int(1, 10)
    )
    milestones: tuple[PositiveInt, ...] = hyperparameter(default=(3, 5, 9), unit="epochs")
    gamma: float = hyperparameter(default=1.0, ge=0)
    alpha: float = hyperparameter(default=0.5, ge=0, search=Log(1e-3, 1.0))
    temperature: float = hyperparameter(default=4.0, gt=0)
    smoothing: float = hyperparameter(default=0.0, ge=0)
    smoothing_start: int = hyperparameter(default=10, unit="epochs", ge=1)
    forget_batch: int = hyperparameter(default=16, unit="samples", ge=1)
    retain_batch: int = hyperparameter(default=32, unit="samples", ge=1)

    def cost(self, sizes: Sizes) -> Cost:
        rows = self.epochs * sizes.retain + min(self.epochs, self.forget_epochs) * sizes.forget
        return Cost(forward=2 * rows, backward=rows)

    def _optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        if self.optimizer == "adam":
            return torch.optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        return sgd(model, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def _losses(self, teacher: nn.Module) -> tuple[Loss, Loss]:
        """The losses of the pass over the forget samples and of the pass over the retain samples."""

        def divergence(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                teacher_BK = teacher(batch.images).float()
            logits = model(batch.images).float()
            return logits, distillation(logits, teacher_BK, self.temperature)

        def forget_loss(model: nn.Module, batch: Batch) -> LossOutput:
            logits, kl = divergence(model, batch)
            return LossOutput(-kl, logits)

        def retain_loss(model: nn.Module, batch: Batch) -> LossOutput:
            logits, kl = divergence(model, batch)
            return LossOutput(self.gamma * functional.cross_entropy(logits, batch.labels) + self.alpha * kl, logits)

        return forget_loss, retain_loss

    def epochs_of(self, model: nn.Module, split: Split, context: Context) -> Iterator[int]:
        """Train the student in place and yield after each epoch. The caller may change the mode of the network."""
        teacher = copy.deepcopy(model).eval().requires_grad_(False)
        forget_loss, retain_loss = self._losses(teacher)
        optimizer, shuffle = self._optimizer(model), context.generator("shuffle")
        penalty = (
            L2SPPenalty(anchor=trainable_snapshot(model), strength=self.smoothing, squared=False)
            if self.smoothing
            else None
        )
        for epoch in range(1, self.epochs + 1):
            context.check_deadline()
            set_mode(model, "train")
            for group in optimizer.param_groups:
                group["lr"] = decayed_rate(self.lr, self.milestones, epoch)
            forget: EpochMetrics | None = None
            if epoch <= self.forget_epochs:
                batches = split.forget.batches(self.forget_batch, shuffle)
                forget = train_epoch(
                    model, batches, forget_loss, optimizer, precision=context.precision, penalty=penalty
                )
            batches = split.retain.batches(self.retain_batch, shuffle)
            retain = train_epoch(model, batches, retain_loss, optimizer, precision=context.precision, penalty=penalty)
            if penalty is not None and epoch >= self.smoothing_start:
                torch._foreach_lerp_(penalty.anchor, trainable_snapshot(model), ANCHOR_UPDATE_RATE)
            context.report(epoch, retain_loss=retain.loss, retain_error_percent=retain.error_percent)
            if forget is not None:
                context.report(epoch, forget_divergence=-forget.loss, forget_error_percent=forget.error_percent)
            yield epoch

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        for _ in self.epochs_of(model, split, context):
            pass
        return model
