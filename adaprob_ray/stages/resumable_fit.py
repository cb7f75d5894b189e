"""A training by a recipe inside a cell: measured, and resumed from the last checkpoint of an earlier attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from adaprob_ray.data.batches import Subset
from adaprob_ray.methods.base import derive_seed
from adaprob_ray.recipe import Recipe
from adaprob_ray.stages.base import StageContext
from adaprob_ray.sweep.cell_settings import CellSettings
from adaprob_ray.training.cost import PassCounter, measure_cost
from adaprob_ray.training.loop import distance, fit
from adaprob_ray.training.losses import snapshot
from adaprob_ray.training.training_state import Checkpoint, TrainingState


class _CheckpointSaver:
    """Saves a checkpoint after an epoch when one is due, and accounts for seconds that are not part of this attempt's training.

    `extra_seconds`: of earlier attempts, less the time that saving checkpoints takes in this one.
    """

    def __init__(self, context: StageContext, counter: PassCounter, resumed: Checkpoint | None) -> None:
        self._context, self._counter = context, counter
        self._start = time.perf_counter()
        self.extra_seconds = 0.0 if resumed is None else resumed.seconds

    def __call__(self, capture: Callable[[], TrainingState]) -> None:
        checkpoints = self._context.checkpoints
        if checkpoints is None or not checkpoints.due():
            return
        now = time.perf_counter()
        checkpoint = Checkpoint(
            state=capture(),
            seconds=self.extra_seconds + now - self._start,
            forward=self._counter.forward,
            backward=self._counter.backward,
            series=self._context.series,
        )
        checkpoints.save_checkpoint(checkpoint.to_bytes)
        self.extra_seconds -= time.perf_counter() - now


def fit_cell(
    model: nn.Module, subset: Subset, settings: CellSettings, recipe: Recipe, context: StageContext, *, purpose: str
) -> dict[str, Any]:
    """Train `model` in place by the recipe, from the last checkpoint if there is one.

    Args:
        purpose: names the generator of the sample order, see `derive_seed`.

    Returns:
        Facts: seconds, passes, loss and error of the last epoch, L2 distance to the start.
    """
    start = snapshot(model)
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, 0, purpose))
    counter = PassCounter()
    last = None if context.checkpoints is None else context.checkpoints.last()
    resumed = None if last is None else Checkpoint.from_bytes(last)
    if resumed is not None:
        counter.forward, counter.backward = resumed.forward, resumed.backward
        context.resume_series(resumed.series)
    saver = _CheckpointSaver(context, counter, resumed)
    with measure_cost(model, context.device, counter) as cost:
        last_epoch = fit(
            model,
            subset,
            recipe,
            generator=generator,
            precision=settings.precision,
            report=context.record_series,
            start_from=None if resumed is None else resumed.state,
            after_epoch=saver,
        )
    cost["seconds"] += saver.extra_seconds
    return {
        **{f"training_{name}" if name == "seconds" else name: value for name, value in cost.items()},
        "last_epoch_loss": last_epoch.loss,
        "last_epoch_error_percent": last_epoch.error_percent,
        "start_distance": distance(model.parameters(), start),
        "run_continued_after_epochs": 0 if resumed is None else resumed.state.epoch,
    }
