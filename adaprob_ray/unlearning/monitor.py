"""Stops an unlearning that costs too much validation error, and keeps its best state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from adaprob_ray.training.loop import predict
from adaprob_ray.unlearning.subset import SampleSubset

# Samples on which the error is watched: enough for half a point of standard error at 5 % error.
MAX_WATCHED = 2_000


class TooMuchError(Exception):
    """The error rose by more than `max_drop` points after an epoch. Caught by the caller."""


class ErrorMonitor:
    """Watches an error after each epoch of a method, and keeps the state of the last epoch that was within the limit.

    Args:
        watched: the samples; those of classes that have no retained sample are left out by the caller.
        where: what they are, for messages.
        max_drop: percentage points by which the error may rise.
        stops: whether a method is stopped in the middle. Methods whose error rises on the way and falls again at the end are
            only judged at the end.
        paused: context in which passes and seconds are not counted.

    Attributes:
        error_percent: of the last state that was looked at.
        kept_epoch: after which the state that is kept was reached; 0 for the original.
    """

    def __init__(
        self, watched: SampleSubset, where: str, *, max_drop: float, stops: bool, paused: Callable[[], Any]
    ) -> None:
        self.watched, self.where, self.max_drop, self._stops, self._paused = watched, where, max_drop, stops, paused
        self.start_percent = self.error_percent = float("nan")
        self._best: dict[str, Tensor] | None = None
        self._epoch = self.kept_epoch = 0

    def start(self, model: nn.Module) -> None:
        """The error before unlearning."""
        self.start_percent = self.error_percent = self._error(model)
        self._best = copy.deepcopy(model.state_dict()) if self._stops else None

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        """Look at the error, once for each epoch. Raises TooMuchError."""
        if not self._stops or epoch <= self._epoch:
            return
        self._epoch = epoch
        modes = {name: module.training for name, module in model.named_modules()}
        with self._paused():
            self.error_percent = self._error(model)
        if self.is_above:
            raise TooMuchError
        self._best, self.kept_epoch = copy.deepcopy(model.state_dict()), epoch
        for name, module in model.named_modules():
            module.training = modes[name]

    @property
    def is_above(self) -> bool:
        """Whether the error has risen by more than `max_drop` points."""
        return self.error_percent > self.start_percent + self.max_drop

    def look(self, model: nn.Module) -> None:
        """Measure the error of a state."""
        self.error_percent = self._error(model)

    def restore(self, model: nn.Module) -> None:
        """Load the last state that was within the limit."""
        assert self._best is not None
        model.load_state_dict(self._best)
        self.error_percent = self._error(model)

    @torch.no_grad()
    def _error(self, model: nn.Module) -> float:
        wrong = predict(model, self.watched).argmax(1) != self.watched.labels
        return 100 * float(wrong.double().mean())
