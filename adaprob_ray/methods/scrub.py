"""SCRUB: a student leaves its teacher, the original, on the forget rows and stays with it on the retain rows (Kurmanji et
al., "Towards Unbounded Machine Unlearning", 2023; protocol §5.8).

Epoch e = 1..E: if e ≤ `forget_epochs`, one pass over the forget rows that ascends the divergence, then one over the retain
rows that descends

    γ·CE(student, y) + α·KL_T(teacher ‖ student),    KL_T(p ‖ q) = T² · mean_n KL(softmax(t_n/T) ‖ softmax(s_n/T))

and, on both passes, p·Σ_tensors ‖w − w̄‖₂ if `smoothing` p is not 0; w̄ starts as the original and after each epoch e ≥
`smoothing_start` moves a tenth of the way to the student. The learning rate falls tenfold after each milestone passed.

Symbols: gamma = γ, alpha = α, temperature = T, forget_epochs = "msteps", smoothing = p. Needs the retain and forget rows.
Cost per epoch: forward teacher and student, backward student, over retain, and over forget while e ≤ `forget_epochs`.

Differences from the paper and from the code of its authors:
1. Their β multiplies a term that is always 0; it is left out.
2. The smoothing term stands in the code by which SCRUB was published (p = 0.5), not in its later version (p = 0) nor in its
   paper. On CIFAR-5 with ResNet-18 the model is destroyed without it. Off by default.
3. Its gradient at w = w̄ is taken as 0, where the norm has none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.data.batches import Batch
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.sweep.settings import hyper
from adaprob_ray.training import Epoch, Loss, Pull, Step, set_mode, sgd, snapshot, train_epoch

DECAY = 0.1  # of the learning rate, at each milestone
AVERAGING = 0.1  # of the way from w̄ to the student, after an epoch


def distillation(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """KL_T(teacher ‖ student): T² times the mean over rows of the divergence of the softened outputs."""
    student = functional.log_softmax(student_BK / temperature, dim=1)
    teacher = functional.log_softmax(teacher_BK / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


@dataclass(frozen=True, kw_only=True)
class Scrub(Unlearning):
    """The student at the end of the last epoch."""

    name = "scrub"
    needs = frozenset({"retain", "forget"})
    space: ClassVar = {
        "lr": ("log", 1e-4, 1e-1),
        "epochs": ("int", 2, 10),
        "forget_epochs": ("int", 1, 10),
        "alpha": ("log", 1e-3, 1.0),
    }

    optimizer: str = hyper("sgd", choices=("sgd", "adam"))
    lr: float = hyper(5e-3, above=0, about="before the first milestone")
    momentum: float = hyper(0.9, low=0, below=1, about="of sgd")
    weight_decay: float = hyper(5e-4, low=0)
    epochs: int = hyper(5, unit="passes over retain", low=1)
    forget_epochs: int = hyper(3, unit="passes over forget", low=0, about="in the first epochs, one each")
    milestones: tuple[int, ...] = hyper((3, 5, 9), unit="epochs", low=1)
    gamma: float = hyper(1.0, low=0)
    alpha: float = hyper(0.5, low=0)
    temperature: float = hyper(4.0, above=0)
    smoothing: float = hyper(0.0, low=0)
    smoothing_start: int = hyper(10, unit="epochs", low=1)
    forget_batch: int = hyper(16, unit="rows", low=1)
    retain_batch: int = hyper(32, unit="rows", low=1)

    def cost(self, sizes: Sizes) -> Cost:
        rows = self.epochs * sizes.retain + min(self.epochs, self.forget_epochs) * sizes.forget
        return Cost(forward=2 * rows, backward=rows)

    def _optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        if self.optimizer == "adam":
            return torch.optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        return sgd(model, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def _losses(self, teacher: nn.Module) -> tuple[Loss, Loss]:
        """The losses of the pass over forget and of the pass over retain."""

        def divergence(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                taught = teacher(batch.images).float()
            logits = model(batch.images).float()
            return logits, distillation(logits, taught, self.temperature)

        def leave(model: nn.Module, batch: Batch) -> Step:
            logits, kl = divergence(model, batch)
            return Step(-kl, logits)

        def stay(model: nn.Module, batch: Batch) -> Step:
            logits, kl = divergence(model, batch)
            return Step(self.gamma * functional.cross_entropy(logits, batch.labels) + self.alpha * kl, logits)

        return leave, stay

    def epochs_of(self, model: nn.Module, split: Split, context: Context) -> Iterator[int]:
        """Trains the student in place and yields after each epoch; the caller may leave it in another mode."""
        teacher = copy.deepcopy(model).eval().requires_grad_(False)
        leave, stay = self._losses(teacher)
        optimizer, shuffle = self._optimizer(model), context.generator("shuffle")
        pull = Pull(anchor=snapshot(model), strength=self.smoothing, squared=False) if self.smoothing else None
        for epoch in range(1, self.epochs + 1):
            context.check_deadline()
            set_mode(model, "train")
            for group in optimizer.param_groups:
                group["lr"] = self.lr * DECAY ** sum(milestone < epoch for milestone in self.milestones)
            forgotten: Epoch | None = None
            if epoch <= self.forget_epochs:
                batches = split.forget.batches(self.forget_batch, shuffle)
                forgotten = train_epoch(model, batches, leave, optimizer, precision=context.precision, pull=pull)
            batches = split.retain.batches(self.retain_batch, shuffle)
            kept = train_epoch(model, batches, stay, optimizer, precision=context.precision, pull=pull)
            if pull is not None and epoch >= self.smoothing_start:
                torch._foreach_lerp_(pull.anchor, snapshot(model), AVERAGING)
            context.report(epoch, retain_loss=kept.loss, retain_error_percent=kept.error_percent)
            if forgotten is not None:
                context.report(epoch, forget_divergence=-forgotten.loss, forget_error_percent=forgotten.error_percent)
            yield epoch

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        for _ in self.epochs_of(model, split, context):
            pass
        return model
