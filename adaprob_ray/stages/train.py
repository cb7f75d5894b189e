"""Train: original, retrain and retrain_independent, by the recipe, from the start of the seed (protocol §1.6, §3)."""

from __future__ import annotations

from typing import cast

import numpy as np

from adaprob_ray.methods.base import Trained
from adaprob_ray.sizes import Cost
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.stages.models import compute_outputs, model_bytes, serialize_weights, start_model
from adaprob_ray.stages.resumable_fit import fit_cell
from adaprob_ray.store.names import OUTPUTS, SERIES, WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import ModelSettings, TrainSettings
from adaprob_ray.sweep.registry import Registry, Stage


def run(cell: Cell, context: StageContext) -> StageOutput:
    """Train on the samples that the method selects. Where it reads the forget set, its seconds are those of unlearning."""
    settings = cell.settings
    assert isinstance(settings, TrainSettings)
    method = cast(Trained, context.registry.method(settings))
    model = start_model(cell, context)
    subsets = context.subsets(settings)
    forget = np.empty(0, np.int64)
    if settings.forget is not None:
        rows, before = subsets.request_positions(settings.forget, settings.seed)
        forget = np.concatenate([before, rows])
    train_rows = method.rows(len(subsets.train), forget, settings.seed)
    purpose = "order" + method.generator_suffix
    facts = fit_cell(model, subsets.train.select(train_rows), settings, settings.recipe, context, purpose=purpose)
    if method.reads_forget:
        facts["unlearn_seconds"] = facts["training_seconds"]
    files = {
        WEIGHTS: serialize_weights(model),
        OUTPUTS: compute_outputs(model, subsets).to_bytes(),
        SERIES: context.serialize_series(),
    }
    return StageOutput(files, facts)


def method_passes(cell: Cell, registry: Registry) -> Cost | None:
    """The passes that the cell's method declares."""
    assert isinstance(cell.settings, ModelSettings)
    sizes = registry.sizes(cell.settings, cell.settings.recipe, cell.forget)
    return registry.method(cell.settings).cost(sizes)


TRAIN = Stage(
    name="train",
    settings=TrainSettings,
    run=run,
    priority=100,
    keeps="weights",
    artefact_bytes=model_bytes,
    passes=method_passes,
)
