"""A learning rate that adapts to the network: a trial chooses it, and checks on fixed samples lower it or end the training.

1. Trial: from HIGHEST_RATE downwards, a few steps from the start at each rate. The first rate is taken after which the error
   on the retain sample is within RETAIN_TOLERANCE of the start's, and the objective is at most TRIAL_SLACK above what the
   same batches give at rate 0, which updates nothing but batch norm's statistics. If there is none, the last rate is taken.
2. Training from the start at this rate, with a check after every few steps. Where the retain error is beyond
   RETAIN_TOLERANCE, the validation error has risen by more than `max_drop`, or the loss is not finite, the best state so far
   is restored and the rate divided by BACKOFF.
3. The training ends after its last epoch, after PATIENCE checks in which the objective has not fallen by MIN_IMPROVEMENT, or
   with the violation that follows MAX_BACKOFFS others. Its result is the state of the check with the lowest objective, or the
   start if each check was a violation.

The objective is the mean loss on the samples of retain and forget rows in eval mode, each weighted by its share of the rows.
The start's is not compared with later ones: batch norm's statistics change with the first batch, whatever the rate is, and
where few rows are forgotten this alone can cost more than forgetting them gains.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adaprob_ray.data.batches import Batch
from adaprob_ray.errors import Diverged
from adaprob_ray.sizes import Cost, Sizes
from adaprob_ray.training.batch_source import BatchSource, EpochSize, batch_count
from adaprob_ray.training.loop import EpochMetrics, TrainingContext, autocast, set_mode, train_epoch
from adaprob_ray.training.losses import L2SPPenalty, Loss
from adaprob_ray.training.sample_check import DIVERGED, SAMPLE_ROWS, Check, Samples

# To be raised with every change of what this module and `sample_check` compute: it is part of the keys of cells at `lr: auto`.
AUTO_RATE_REVISION = 1
# The upper end of the range that searches draw AdaProb's rate from.
HIGHEST_RATE = 0.1
# About √10: two steps are a factor of ten, and a finer choice would be within the noise of a few batches.
RATE_STEP = 3.0
# Seven rates from 0.1 to 1.4e-4, near the lower end of that range.
TRIAL_RATES = tuple(HIGHEST_RATE / RATE_STEP**power for power in range(7))
# Steps of one rate in the trial: momentum 0.9 has then reached 41 % of its full effect.
TRIAL_STEPS = 5
# Nats by which the objective may be above that of rate 0 after the trial: where few rows are forgotten, a few batches change it
# by noise alone. Outputs that differ by 0.01 nats differ by at most 7 % in total variation (Pinsker's inequality).
TRIAL_SLACK = 0.01
# Steps between two checks, at most: 50 batches of 128 samples forward and backward cost twelve times as much as a check.
CHECK_STEPS = 50
# Checks in one epoch of small data, which have few steps: on digits the best state is often in the first or second epoch.
CHECKS_PER_EPOCH = 2
# Divisor of the rate after a violation: one step of the trial.
BACKOFF = RATE_STEP
# Four of them divide the rate by 81: the step was then not what was wrong.
MAX_BACKOFFS = 4
# Share by which the objective must fall below that of the last improvement to count as improved: less is not worth its passes.
MIN_IMPROVEMENT = 0.05
# Checks without an improvement after which the training ends: two epochs of small data, 25,600 samples of large.
PATIENCE = 4


class _State:
    """A copy of all that the next step depends on: weights, batch norm's statistics and the optimizer's momentum."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._network = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self._optimizer: dict[str, Any] = copy.deepcopy(optimizer.state_dict())

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model.load_state_dict(self._network)
        # The optimizer takes the tensors as they are and changes them in place.
        optimizer.load_state_dict(copy.deepcopy(self._optimizer))


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """The batches between two checks, the epochs passed after them, and whether that is a whole number."""

    batches: Iterator[Batch]
    epochs: float
    ends_epoch: bool


@dataclass(frozen=True, kw_only=True)
class AutoRateTraining:
    """Trains a network, in place, at a rate that it finds itself. See the module for the algorithm.

    Args:
        model: the network; the start that checks are compared with.
        source: of the batches to train on.
        loss: of a batch.
        check_loss: the mean loss of a sample's batch, for the checks.
        optimizer: its rate is set here.
        penalty: the recipe's, see `train_epoch`.
        samples: for the checks.
        batch_norm: `train` or `frozen`.
        epochs: of the training, the most.
        max_drop: percentage points by which the validation error may rise.
        context: of the method.
    """

    model: nn.Module
    source: BatchSource
    loss: Loss
    check_loss: Loss
    optimizer: torch.optim.Optimizer
    penalty: L2SPPenalty | None
    samples: Samples
    batch_norm: str
    epochs: int
    max_drop: float
    context: TrainingContext

    def run(self) -> None:
        """Train. Reports every epoch, and notes lr, lr_backoffs, best_epoch and stopped_by_max_drop."""
        start, best = self._check(), _State(self.model, self.optimizer)
        best_check, best_epoch, lowest, last_improved = start, 0.0, math.inf, math.inf
        rate = self._trial(start, best)
        self.context.note(lr=rate)
        stale, backoffs, is_stopped = 0, 0, False
        for chunk in self._chunks():
            self.context.check_deadline()
            metrics, check = self._steps(chunk.batches, rate)
            used, has_dropped = rate, check.exceeds(start, self.max_drop)
            if has_dropped or not check.is_within(start):
                best.restore(self.model, self.optimizer)
                check, rate, backoffs = best_check, rate / BACKOFF, backoffs + 1
            else:
                is_improved = check.objective < last_improved * (1 - MIN_IMPROVEMENT)
                stale, last_improved = (0, check.objective) if is_improved else (stale + 1, last_improved)
                if check.objective < lowest:
                    best, best_check = _State(self.model, self.optimizer), check
                    lowest, best_epoch = check.objective, chunk.epochs
            is_stopped = has_dropped and backoffs > MAX_BACKOFFS
            is_last = stale >= PATIENCE or backoffs > MAX_BACKOFFS
            if is_last or chunk.ends_epoch:
                self._report(math.ceil(chunk.epochs), metrics, check, used)
            if is_last:
                break
        best.restore(self.model, self.optimizer)
        self.context.note(lr_backoffs=float(backoffs), best_epoch=best_epoch, stopped_by_max_drop=float(is_stopped))

    def _check(self) -> Check:
        check = self.samples.check(self.model, self.check_loss)
        set_mode(self.model, self.batch_norm)
        return check

    def _trial(self, start: Check, state: _State) -> float:
        """The highest of TRIAL_RATES that passes. The network is left at the start."""
        reference = start.objective
        if self.batch_norm == "train":
            with torch.no_grad(), autocast(self.context.precision, self.samples.retain.rows.device):
                for batch in self._trial_batches():
                    self.model(batch.images)
            reference = self._check().objective
            state.restore(self.model, self.optimizer)
        for rate in TRIAL_RATES:
            self.context.check_deadline()
            _, check = self._steps(self._trial_batches(), rate)
            state.restore(self.model, self.optimizer)
            if check.is_within(start) and check.objective <= reference + TRIAL_SLACK:
                return rate
        return TRIAL_RATES[-1]

    def _trial_batches(self) -> Iterator[Batch]:
        """The same batches for each rate."""
        order = self.context.generator("auto_rate_trial")
        return itertools.islice(self.source.batches(order), TRIAL_STEPS)

    def _steps(self, batches: Iterable[Batch], rate: float) -> tuple[EpochMetrics, Check]:
        """Train on some batches, then check. A loss that is not finite gives a check that is within no tolerance."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        try:
            metrics = train_epoch(
                self.model, batches, self.loss, self.optimizer, precision=self.context.precision, penalty=self.penalty
            )
        except Diverged:
            return EpochMetrics(math.inf, 100.0), DIVERGED
        return metrics, self._check()

    def _chunks(self) -> Iterator[_Chunk]:
        """The batches of all epochs, in groups with a check after each."""
        shuffle, steps = self.context.generator("auto_rate_shuffle"), len(self.source)
        size = check_interval(steps)
        for epoch in range(self.epochs):
            batches = self.source.batches(shuffle)
            for first in range(0, steps, size):
                passed = min(first + size, steps)
                yield _Chunk(
                    batches=itertools.islice(batches, size), epochs=epoch + passed / steps, ends_epoch=passed == steps
                )

    def _report(self, epoch: int, metrics: EpochMetrics, check: Check, rate: float) -> None:
        """Loss and training error of the last batches, where they are finite, and the check of the state now."""
        trained = {"loss": metrics.loss, "train_error_percent": metrics.error_percent}
        self.context.report(
            epoch,
            **(trained if math.isfinite(metrics.loss) else {}),
            lr=rate,
            objective=check.objective,
            retain_loss=check.retain_loss,
            retain_error_percent=check.retain_error,
        )


# -- cost -----------------------------------------------------------------------------------------------------------------


def check_interval(steps: int) -> int:
    """Steps between two checks, given those of an epoch."""
    return min(CHECK_STEPS, -(-steps // CHECKS_PER_EPOCH))


def auto_rate_cost(sizes: Sizes, epoch: EpochSize, *, epochs: int) -> Cost:
    """The most passes that an `AutoRateTraining` can take: if the trial comes to its last rate and nothing ends early."""
    checks = 2 + len(TRIAL_RATES) + epochs * batch_count(epoch.batches, check_interval(epoch.batches))
    samples = min(SAMPLE_ROWS, sizes.retain) + min(SAMPLE_ROWS, sizes.forget) + SAMPLE_ROWS
    trial = epoch.rows_of(min(TRIAL_STEPS, epoch.batches))
    return Cost(
        forward=(1 + len(TRIAL_RATES)) * trial + epochs * epoch.rows + checks * samples,
        backward=len(TRIAL_RATES) * trial + epochs * epoch.rows,
    )
