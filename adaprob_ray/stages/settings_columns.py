"""The settings columns of a Record: one flat row for each evaluate cell."""

from __future__ import annotations

import hashlib
from typing import Any

from adaprob_ray.settings import as_mapping, flatten
from adaprob_ray.stages.base import StageContext
from adaprob_ray.sweep.cell import Cell, canonical
from adaprob_ray.sweep.cell_settings import EvaluateSettings, ImportSettings, ModelSettings, PretrainSettings

# Hexadecimal digits of a lineage: 64 bits are enough to tell the cells of one store apart.
LINEAGE_LENGTH = 16


def record_settings(cell: Cell, context: StageContext) -> dict[str, Any]:
    """The settings of an evaluate cell and of the cells that it depends on, by column."""
    settings, model = cell.settings, context.parent(cell.parents["model"])
    assert isinstance(settings, EvaluateSettings)
    assert isinstance(model.settings, ModelSettings)
    return {
        "key": cell.key,
        "model_key": cell.parents["model"],
        "lineage": lineage(cell, context),
        "stage": cell.stage,
        "dataset": str(settings.dataset),
        "test_pool": settings.dataset.test_pool,
        "architecture": settings.architecture.title,
        "filters": settings.architecture.filters,
        **settings.forget.record_columns(),
        "label": settings.label,
        "method": settings.method,
        "seed": settings.seed,
        "repeat": settings.repeat,
        "precision": settings.precision,
        **{f"method.{name}": value for name, value in flatten(settings.hyper).items()},
        **{f"recipe.{name}": value for name, value in as_mapping(model.settings.recipe).items()},
        **_origin(cell, context),
        **_stage_options(cell, context),
    }


def _origin(cell: Cell, context: StageContext) -> dict[str, Any]:
    """`pretrain.…` columns of a model that did not start at random, or `original.weights` of one whose original is imported."""
    original = context.parent(cell.parents["original"])
    if isinstance(original.settings, ImportSettings):
        return {"original.weights": original.settings.weights}
    if "pretrain" not in original.parents:
        return {}
    settings = context.parent(original.parents["pretrain"]).settings
    assert isinstance(settings, PretrainSettings)
    columns = {"dataset": str(settings.dataset), "seed": settings.seed, **as_mapping(settings.recipe)}
    return {f"pretrain.{name}": value for name, value in columns.items()}


def _stage_options(cell: Cell, context: StageContext) -> dict[str, Any]:
    """`STAGE.…` columns of each stage that a metric of the evaluation needs, such as `relearn.lr`."""
    columns: dict[str, Any] = {}
    for stage in context.registry.metric_stages.keys() & cell.parents.keys():
        options = context.parent(cell.parents[stage]).settings.document()[stage]
        columns |= {f"{stage}.{name}": value for name, value in options.items()}
    return columns


def lineage(cell: Cell, context: StageContext) -> str:
    """A hash of a cell's settings and its ancestors', without metrics, what only metrics need, and revisions.

    Records of one lineage differ only in which metrics or revisions they hold.
    """
    settings = {name: value for name, value in cell.settings.document().items() if name != "metrics"}
    models = {role: key for role, key in cell.parents.items() if role not in context.registry.metric_stages}
    parents = {role: lineage(context.parent(key), context) for role, key in models.items()}
    text = canonical({"stage": cell.stage, "settings": settings, "parents": parents})
    return hashlib.sha256(text.encode()).hexdigest()[:LINEAGE_LENGTH]
