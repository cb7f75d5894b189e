"""Stops an unlearning that costs too much validation error, and keeps its best state."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adaprob_ray.data.dataset import Integers
from adaprob_ray.metrics.error_rate import error_percent
from adaprob_ray.training.loop import predict, restored_modes
from adaprob_ray.unlearning.outputs import ModelOutputs
from adaprob_ray.unlearning.prepare import Plan
from adaprob_ray.unlearning.subset import SampleSubset

# Samples on which the error is watched: enough for half a point of standard error at 5 % error.
MAX_WATCHED = 2_000


class TooMuchError(Exception):
    """The error rose by more than `max_drop` points after an epoch. Caught by the caller."""


class ErrorMonitor:
    """Watches an error after each epoch of a method, and keeps the state of the last epoch that was within the limit.

    Args:
        watched: the samples; those of classes that have no retained sample are left out by the caller.
        start_percent: their error before unlearning.
        max_drop: percentage points by which the error may rise.
        stops: whether a method is stopped in the middle. Methods whose error rises on the way and falls again at the end are
            only judged at the end.
        paused: context in which passes and seconds are not counted.

    Attributes:
        kept_epoch: after which the state that is kept was reached; 0 for the original.
    """

    def __init__(
        self, watched: SampleSubset, start_percent: float, *, max_drop: float, stops: bool, paused: Callable[[], Any]
    ) -> None:
        self.start_percent, self._limit = start_percent, start_percent + max_drop
        self._watched, self._stops, self._paused = watched, stops, paused
        self._best: dict[str, Tensor] | None = None
        self._epoch = self.kept_epoch = 0

    def start(self, model: nn.Module) -> None:
        """Keep the original state."""
        self._best = copy.deepcopy(model.state_dict()) if self._stops else None

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        """Look at the error, once for each epoch. Raises TooMuchError."""
        if not self._stops or epoch <= self._epoch:
            return
        self._epoch = epoch
        with self._paused(), restored_modes(model):
            error = self._error(model)
        if self.is_above(error):
            raise TooMuchError
        self._best, self.kept_epoch = copy.deepcopy(model.state_dict()), epoch

    def is_above(self, error_percent: float) -> bool:
        """Whether this error is more than `max_drop` points above that of the original."""
        return error_percent > self._limit

    def restore(self, model: nn.Module) -> None:
        """Load the last state that was within the limit."""
        assert self._best is not None
        model.load_state_dict(self._best)

    @torch.no_grad()
    def _error(self, model: nn.Module) -> float:
        wrong = predict(model, self._watched).argmax(1) != self._watched.labels
        return 100 * float(wrong.double().mean())


@dataclass(frozen=True)
class WatchedSamples:
    """Positions [W] in a measured subset on which the error is limited: the validation samples of the classes that have
    retained samples; without validation data, retained samples. `words`: what the error is called."""

    name: str
    positions: Integers
    words: str

    @classmethod
    def of(cls, plan: Plan) -> WatchedSamples:
        has_validation = "validation" in plan.subsets
        name = "validation" if has_validation else "retain_measured"
        known = torch.isin(plan.subsets[name].labels, torch.unique(plan.subsets["retain"].labels)).cpu()
        positions = torch.arange(len(known))[known] if bool(known.any()) else torch.arange(len(known))
        if len(positions) > MAX_WATCHED:
            generator = torch.Generator().manual_seed(plan.seed)
            positions = positions[torch.randperm(len(positions), generator=generator)[:MAX_WATCHED]]
        words = "validation error" if has_validation else "error on retained samples"
        if not bool(known.all()):
            words += " of the other classes"
        return cls(name, positions.numpy(), words)

    def subset(self, plan: Plan) -> SampleSubset:
        subset = plan.subsets[self.name]
        return subset.with_rows(subset.rows[torch.from_numpy(self.positions).to(subset.rows.device)])

    def error_percent(self, outputs: Mapping[str, ModelOutputs]) -> float:
        """The error that these outputs show. There is always a sample."""
        error = error_percent(outputs[self.name].logits[self.positions], outputs[self.name].labels[self.positions])
        assert error is not None
        return error


def error_warnings(
    monitor: ErrorMonitor, watched: WatchedSamples, error_percent: float, max_drop: float, *, stopped: bool
) -> list[str]:
    """What the watched error of the result says."""
    start = monitor.start_percent
    if stopped:
        return [
            f"stopped: the {watched.words} rose more than {max_drop:g} points above {start:.1f} %; the "
            f"last state within the limit is kept ({error_percent:.1f} %)"
            + (", which is the original: nothing was unlearned" if monitor.kept_epoch == 0 else "")
        ]
    if monitor.is_above(error_percent):
        return [
            f"the {watched.words} rose from {start:.1f} to {error_percent:.1f} %, by more than "
            f"{max_drop:g} points (max_drop)"
        ]
    return []
