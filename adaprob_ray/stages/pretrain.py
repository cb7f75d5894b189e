"""Pretrain: a network trained from a random start on the data set that others start from (protocol §3)."""

from __future__ import annotations

from adaprob_ray.methods.base import derive_seed
from adaprob_ray.metrics.error_rate import error_percent
from adaprob_ray.sizes import Cost
from adaprob_ray.stages.base import SMALL_FILE_BYTES, StageContext, StageOutput
from adaprob_ray.stages.models import build_model, serialize_weights, to_device, weights_bytes
from adaprob_ray.stages.resumable_fit import fit_cell
from adaprob_ray.store.names import SERIES, WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import PretrainSettings
from adaprob_ray.sweep.registry import Registry, Stage
from adaprob_ray.training.loop import predict


def run(cell: Cell, context: StageContext) -> StageOutput:
    """Train on the training subset; the error on the validation subset is a fact."""
    settings = cell.settings
    assert isinstance(settings, PretrainSettings)
    network = build_model(settings, derive_seed(settings.seed, 0, "initial"), context.registry)
    model = to_device(network, context.device)
    subsets = context.subsets(settings)
    facts = fit_cell(model, subsets.train, settings, settings.recipe, context, purpose="order")
    logits, labels = predict(model, subsets.validation), subsets.validation.labels
    facts["validation_error_percent"] = error_percent(logits.cpu().numpy(), labels.cpu().numpy())
    return StageOutput({WEIGHTS: serialize_weights(model), SERIES: context.serialize_series()}, facts)


def passes(cell: Cell, registry: Registry) -> Cost:
    """One forward and one backward pass over the training subset for each epoch."""
    assert isinstance(cell.settings, PretrainSettings)
    count = cell.settings.recipe.epochs * sum(registry.dataset(cell.settings.dataset).train_per_class)
    return Cost(forward=count, backward=count)


PRETRAIN = Stage(
    name="pretrain",
    settings=PretrainSettings,
    run=run,
    priority=1000,
    keeps="weights",
    artefact_bytes=lambda cell, registry: SMALL_FILE_BYTES + weights_bytes(cell, registry),
    passes=passes,
)
