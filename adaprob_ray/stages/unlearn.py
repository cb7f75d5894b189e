"""Unlearn: a method applied to the original of the seed. Only the method itself is timed."""

from __future__ import annotations

from typing import cast

import numpy as np
from torch import nn

from adaprob_ray.data.batches import Subset, Subsets
from adaprob_ray.data.split import retain_positions
from adaprob_ray.methods.base import Context, Split, Unlearning
from adaprob_ray.stages.base import SMALL_FILE_BYTES, StageContext, StageOutput
from adaprob_ray.stages.epoch_metrics import EpochMetrics
from adaprob_ray.stages.evaluate import refuse_repeated_columns
from adaprob_ray.stages.models import (
    build_model,
    compute_outputs,
    outputs_bytes,
    serialize_weights,
    start_model,
    to_device,
    trained_model,
    weights_bytes,
)
from adaprob_ray.stages.train import method_passes
from adaprob_ray.store.names import OUTPUTS, SERIES, WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import TrainSettings, UnlearnSettings
from adaprob_ray.sweep.registry import Registry, Stage
from adaprob_ray.training.cost import PassCounter, measure_cost
from adaprob_ray.training.loop import Weights, distance
from adaprob_ray.training.losses import snapshot


def run(cell: Cell, context: StageContext) -> StageOutput:
    """Start from the original, or in a sequence from the model that met the request before, and unlearn."""
    settings = cell.settings
    assert isinstance(settings, UnlearnSettings)
    method = cast(Unlearning, context.registry.method(settings))
    subsets = context.subsets(settings)
    model = trained_model(settings, cell.parents["original"], context)
    before = snapshot(model)
    if "previous" in cell.parents:
        model = trained_model(settings, cell.parents["previous"], context)
    by_name = method_subsets(subsets, settings)
    split = Split(needs=method.needs | method.optional_needs, subsets=by_name)
    counter = PassCounter()
    method_context = make_context(cell, context, method, counter)
    with EpochMetrics.shown(model, by_name, context, method_context, counter) as epoch_metrics:
        with measure_cost(model, context.device, counter) as cost:
            model = method.unlearn(model, split, method_context)
        epoch_metrics.finish(model)
    files = {OUTPUTS: compute_outputs(model, subsets).to_bytes(), SERIES: context.serialize_series()}
    weights = serialize_weights(model)
    if cell.keep == "weights":
        files[WEIGHTS] = weights
    facts = {f"unlearn_{name}" if name == "seconds" else name: value for name, value in cost.items()}
    facts["parameter_distance"] = distance(model.parameters(), before)
    original = context.parent(cell.parents["original"])
    if isinstance(original.settings, TrainSettings):  # where the training of an imported original started is not known
        facts["start_distance"] = distance(model.parameters(), start_model(original, context).parameters())
    sources = dict.fromkeys(facts, "the stage unlearn")
    refuse_repeated_columns(sources, method_context.facts, f"method {settings.method}")
    return StageOutput(files, {**facts, **method_context.facts})


def method_subsets(subsets: Subsets, settings: UnlearnSettings) -> dict[str, Subset]:
    """What methods know of the data, by name. What earlier requests of a sequence forgot is not part of it."""
    train, (forget, before) = subsets.train, subsets.request_positions(settings.forget, settings.seed)
    if len(before):
        left = retain_positions(len(train), before)
        train, forget = train.copied(left), np.searchsorted(left, forget)
    return {
        "forget": train.select(forget),
        "retain": train.select(retain_positions(len(train), forget)),
        "train": train,
        "validation": subsets.validation,
    }


def make_context(cell: Cell, context: StageContext, method: Unlearning, counter: PassCounter) -> Context:
    """The context of the method of an unlearn cell. `counter` counts the passes of the networks that it makes."""
    settings = cell.settings
    assert isinstance(settings, UnlearnSettings)
    original = context.parent(cell.parents["original"])

    def make_model(seed: int) -> nn.Module:
        return counter.watched(to_device(build_model(settings, seed, context.registry), context.device))

    def initial_state() -> Weights:
        assert isinstance(original.settings, TrainSettings), "methods that need it are declined"
        return start_model(original, context).state_dict()

    return Context(
        device=context.device,
        precision=settings.precision,
        seed=settings.seed,
        repeat=settings.repeat,
        needs=method.needs,
        recipe=settings.recipe,
        make_model=make_model,
        initial_state=initial_state,
        report=context.record_series,
        deadline=context.deadline,
    )


def artefact_bytes(cell: Cell, registry: Registry) -> int:
    """Bytes that the cell will write: its Outputs, and its weights if the sweep keeps them."""
    weights = weights_bytes(cell, registry) if cell.keep == "weights" else 0
    return SMALL_FILE_BYTES + outputs_bytes(cell, registry) + weights


UNLEARN = Stage(
    name="unlearn",
    settings=UnlearnSettings,
    run=run,
    priority=10,
    keeps=None,
    artefact_bytes=artefact_bytes,
    passes=method_passes,
)
