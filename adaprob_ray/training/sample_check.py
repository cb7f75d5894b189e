"""Checks of a network in training on fixed samples of the retain, forget and validation rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.data.batches import Subset
from adaprob_ray.training.loop import PREDICT_BATCH, predict
from adaprob_ray.training.losses import Loss

# Samples of each set: an error of 10 % is known to 1.3 percentage points, its change on the same samples to less.
SAMPLE_ROWS = 512
# Percentage points by which the error on the retain sample may exceed the start's.
RETAIN_TOLERANCE = 2.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a check found: the objective, and losses (mean cross-entropy in nats) and errors (percent) of the samples."""

    objective: float
    retain_loss: float
    retain_error: float
    validation_error: float | None

    def is_within(self, start: Check) -> bool:
        """Whether the objective is finite and the retain error within the tolerance of the start's."""
        return math.isfinite(self.objective) and self.retain_error <= start.retain_error + RETAIN_TOLERANCE

    def exceeds(self, start: Check, max_drop: float) -> bool:
        """Whether the validation error has risen by more than `max_drop` percentage points."""
        if self.validation_error is None or start.validation_error is None:
            return False
        return self.validation_error > start.validation_error + max_drop


# Of a training whose loss is not finite.
DIVERGED = Check(objective=math.inf, retain_loss=math.inf, retain_error=100.0, validation_error=None)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples that checks are made on; `validation` is None where there is none, or nothing is to be checked on it."""

    retain: Subset
    forget: Subset
    validation: Subset | None
    forget_share: float

    @classmethod
    def draw(cls, retain: Subset, forget: Subset, validation: Subset | None, generator: torch.Generator) -> Samples:
        """At most SAMPLE_ROWS of each set.

        Of the validation rows those of classes that are forgotten as a whole are left out: their error is meant to rise.
        """
        if validation is not None:
            is_retained = torch.isin(validation.labels, retain.labels.unique())
            validation = validation.with_rows(validation.rows[is_retained])
        return cls(
            retain=_draw(retain, generator),
            forget=_draw(forget, generator),
            validation=_draw(validation, generator) if validation is not None and len(validation) else None,
            forget_share=len(forget) / (len(retain) + len(forget)),
        )

    @torch.no_grad()
    def check(self, model: nn.Module, loss: Loss) -> Check:
        """Losses and errors of the samples, in float32. The network is left in eval mode."""
        model.eval()
        retain_objective, logits = _mean_loss(model, loss, self.retain)
        forget_objective, _ = _mean_loss(model, loss, self.forget)
        validation = self.validation
        return Check(
            objective=self.forget_share * forget_objective + (1 - self.forget_share) * retain_objective,
            retain_loss=float(functional.cross_entropy(logits, self.retain.labels)),
            retain_error=_error_percent(logits, self.retain.labels),
            validation_error=None
            if validation is None
            else _error_percent(predict(model, validation), validation.labels),
        )


def _mean_loss(model: nn.Module, loss: Loss, sample: Subset) -> tuple[float, Tensor]:
    """The mean loss over a sample, and its logits [N, K]."""
    outputs = [(loss(model, batch), len(batch.labels)) for batch in sample.batches(PREDICT_BATCH)]
    mean = sum(float(output.loss) * count for output, count in outputs) / len(sample)
    return mean, torch.cat([output.logits for output, _ in outputs])


def _draw(subset: Subset, generator: torch.Generator) -> Subset:
    if len(subset) <= SAMPLE_ROWS:
        return subset
    positions = torch.randperm(len(subset), generator=generator)[:SAMPLE_ROWS].sort().values
    return subset.with_rows(subset.rows[positions.to(subset.rows.device)])


def _error_percent(logits: Tensor, labels: Tensor) -> float:
    return 100 * float((logits.argmax(1) != labels).double().mean())
