"""Metrics after each epoch of an unlearning, the same for every method: they are shown, and stored nowhere.

Nothing of the result depends on them. They are computed in eval mode from fixed samples, draw no random numbers, and are left
out of the seconds and passes of the method.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch import nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook

from adaprob_ray.data.batches import Subset
from adaprob_ray.methods.base import Context
from adaprob_ray.stages.base import StageContext
from adaprob_ray.training.cost import PassCounter
from adaprob_ray.training.loop import predict, restored_modes

# Samples of each subset: an error to within three points (one standard error), for a small part of an epoch's passes.
MAX_SAMPLES = 256
SUBSETS = ("forget", "retain", "validation")
# What methods call the loss that they train with. SCRUB has two; that of the forget samples is reported by itself.
LOSSES = ("loss", "retain_loss")


class EpochMetrics:
    """Computes the metrics when a method reports after it has trained. See `shown`."""

    def __init__(
        self,
        model: nn.Module,
        subsets: Mapping[str, Subset],
        context: StageContext,
        method_context: Context,
        counter: PassCounter,
    ) -> None:
        self._model, self._context, self._method_context, self._counter = model, context, method_context, counter
        self._samples = {name: spread_sample(subsets[name]) for name in SUBSETS if len(subsets[name])}
        self._display = context.display if context.display is not None and context.display.epoch_metrics else None
        self._epoch, self._backward = 0, 0
        self._learning_rate: float | None = None
        self._start = time.perf_counter()

    @classmethod
    @contextmanager
    def shown(
        cls,
        model: nn.Module,
        subsets: Mapping[str, Subset],
        context: StageContext,
        method_context: Context,
        counter: PassCounter,
    ) -> Iterator[EpochMetrics]:
        """Show the metrics before the block, and after each epoch that the method reports in it.

        Args:
            model: the original.
            subsets: forget, retain and validation samples.
            context: its display shows the metrics, if it is set to.
            method_context: of the method, whose `report` is replaced.
            counter: counts the method's passes, by which an epoch is told from other reports.
        """
        metrics = cls(model, subsets, context, method_context, counter)
        if metrics._display is None:
            yield metrics
            return
        metrics._show(0, model, {})
        method_context.report = metrics._report
        handle = register_optimizer_step_post_hook(metrics._read_learning_rate)
        metrics._start = time.perf_counter()
        try:
            yield metrics
        finally:
            handle.remove()

    def finish(self, model: nn.Module) -> None:
        """Show the metrics of a method that has no epochs. `model` is its result."""
        if self._epoch == 0:
            self._show_epoch(1, model, {})

    def _report(self, step: int, **scalars: float) -> None:
        with self._counter.paused(self._context.device):
            seconds = time.perf_counter() - self._start
            self._context.record_series(step, **scalars)
            if self._counter.backward > self._backward:
                losses = [scalars[name] for name in LOSSES if name in scalars]
                values = {"seconds": seconds, **({"loss": losses[0]} if losses else {})}
                # A method of two trainings, such as AdaProb on a SCRUB student, counts its epochs from 1 twice.
                self._show_epoch(max(step, self._epoch + 1), self._counter.trained or self._model, values)
                self._start = time.perf_counter()

    def _show_epoch(self, epoch: int, model: nn.Module, values: Mapping[str, float]) -> None:
        self._epoch, self._backward = epoch, self._counter.backward
        rate = {} if self._learning_rate is None else {"learning_rate": self._learning_rate}
        noted = {"target_shift": self._method_context.facts.get("target_shift")}
        self._show(
            epoch,
            model,
            {
                **values,
                **rate,
                "memory_mib": memory_mib(self._context.device),
                **{name: value for name, value in noted.items() if value is not None},
            },
        )

    def _show(self, epoch: int, model: nn.Module, values: Mapping[str, float]) -> None:
        if self._display is None:
            return
        try:
            metrics = errors_and_losses(model, self._samples)
        except Exception as error:  # for example no memory for one more pass: the method may still have enough
            self._display.failed(error)
            self._display = None
            return
        self._display.scalars(epoch, {f"per_epoch/{name}": value for name, value in {**metrics, **values}.items()})

    def _read_learning_rate(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._learning_rate = float(optimizer.param_groups[0]["lr"])


def spread_sample(subset: Subset) -> Subset:
    """At most MAX_SAMPLES samples of a subset, spread evenly over it."""
    count = len(subset)
    if count <= MAX_SAMPLES:
        return subset
    positions = torch.arange(MAX_SAMPLES, device=subset.rows.device) * count // MAX_SAMPLES
    return subset.with_rows(subset.rows[positions])


def errors_and_losses(model: nn.Module, samples: Mapping[str, Subset]) -> dict[str, float]:
    """Top-1 error in percent and mean cross-entropy in nats on each subset. The network's modes are left as they were."""
    values = {}
    with restored_modes(model):
        for name, subset in samples.items():
            logits, labels = predict(model, subset), subset.labels
            values[f"{name}_error_percent"] = 100 * float((logits.argmax(1) != labels).double().mean())
            values[f"{name}_loss"] = float(functional.cross_entropy(logits, labels))
    return values


def memory_mib(device: torch.device) -> float:
    """The most that tensors took of the GPU so far, or what this process takes of the memory now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return float(psutil.Process().memory_info().rss) / 2**20
