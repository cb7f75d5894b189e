"""Bad-T: a student learns from a good teacher, the original, on the retain samples and from a bad one, a random network, on the
forget samples (Chundawat et al., "Can Bad Teaching Induce Forgetting?", 2023; protocol §5.7).

    w ← Adam step on  a·KL_T(good ‖ student; retain batch) + b·KL_T(bad ‖ student; forget batch)

KL_T as in SCRUB. Each step takes one retain batch and one forget batch; the forget batches are repeated until the epoch over
the retain samples ends. There is no cross-entropy: labels are not used.

Symbols: good_weight = a, bad_weight = b, temperature = T. Needs the retain and forget samples and a random network.
Cost per epoch: forward passes of teacher and student and a backward pass of the student, over the retain samples and over the
forget batches that are paired with them.

Differences from the paper:
1. It gives no settings. The defaults are those that the authors' notebook records for CIFAR-10, ALL-CNN and a whole class;
   the notebook sets a = b = 1 under names that its loop does not read.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from adaprob_ray.data.batches import Batch, PairedBatch, pair_batches, paired_forget_rows
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.settings import Int, Log, PositiveInt, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import decayed_rate, set_mode, train_epoch
from adaprob_ray.training.losses import LossOutput, PairLoss, distillation


@settings_dataclass
class BadTeacher(Unlearning):
    """The student at the end of the last epoch."""

    name = "bad_teacher"
    needs = frozenset({"retain", "forget", "fresh_model"})

    lr: float = hyperparameter(default=1e-3, gt=0, help="of Adam, before the first milestone", search=Log(1e-5, 1e-2))
    weight_decay: float = hyperparameter(default=5e-4, ge=0, help="added to the gradient")
    epochs: int = hyperparameter(default=1, unit="passes over retain", ge=1, search=Int(1, 10))
    milestones: tuple[PositiveInt, ...] = hyperparameter(
        default=(), unit="epochs", help="each divides the learning rate by ten"
    )
    temperature: float = hyperparameter(default=4.0, gt=0)
    good_weight: float = hyperparameter(default=1.0, ge=0, help="a")
    bad_weight: float = hyperparameter(default=1.0, ge=0, help="b")
    retain_batch: int = hyperparameter(default=128, unit="samples", ge=1)
    forget_batch: int = hyperparameter(default=512, unit="samples", ge=1)

    def cost(self, sizes: Sizes) -> Cost:
        paired = paired_forget_rows(sizes.retain, self.retain_batch, sizes.forget, self.forget_batch)
        rows = self.epochs * (sizes.retain + paired)
        return Cost(forward=2 * rows, backward=rows)

    def _loss(self, good: nn.Module, bad: nn.Module) -> PairLoss:
        def distil(teacher: nn.Module, model: nn.Module, batch: Batch | PairedBatch) -> LossOutput:
            with torch.no_grad():
                teacher_BK = teacher(batch.images).float()
            logits = model(batch.images).float()
            return LossOutput(distillation(logits, teacher_BK, self.temperature), logits)

        def loss(model: nn.Module, batch: PairedBatch) -> LossOutput:
            retain, forget = distil(good, model, batch), distil(bad, model, batch.forget)
            return LossOutput(self.good_weight * retain.loss + self.bad_weight * forget.loss, retain.logits)

        return loss

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        good, bad = copy.deepcopy(model), context.fresh_model()
        for teacher in (good, bad):
            teacher.eval().requires_grad_(False)
        loss, shuffle = self._loss(good, bad), context.generator("shuffle")
        optimizer = torch.optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        set_mode(model, "train")
        for epoch in range(1, self.epochs + 1):
            context.check_deadline()
            optimizer.param_groups[0]["lr"] = decayed_rate(self.lr, self.milestones, epoch)
            forget_batches = list(split.forget.batches(self.forget_batch, shuffle))
            batches = pair_batches(split.retain.batches(self.retain_batch, shuffle), forget_batches)
            metrics = train_epoch(model, batches, loss, optimizer, precision=context.precision)
            context.report(epoch, loss=metrics.loss, retain_error_percent=metrics.error_percent)
        return model
