"""Select: what a selection rule may know of one unlearned model. Its parents are the model and the original of its seed;
retrained models are not among them, and test rows are not read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adaprob_ray.data.split import request_positions, retain_positions
from adaprob_ray.errors import Diverged
from adaprob_ray.metrics.error_rate import error_percent
from adaprob_ray.metrics.outputs import Outputs, class_of
from adaprob_ray.metrics.selection import selection_columns
from adaprob_ray.stages.base import SMALL_FILE_BYTES, StageContext, StageOutput
from adaprob_ray.store.names import OUTPUTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import CellSettings, ForgetRequest
from adaprob_ray.sweep.registry import Stage


@dataclass(frozen=True, kw_only=True)
class SelectSettings(CellSettings):
    """The forget request; the model is a parent."""

    forget: ForgetRequest


def run(cell: Cell, context: StageContext) -> StageOutput:
    """Errors on training and validation rows, and the columns of the metric `selection`, as facts."""
    settings = cell.settings
    assert isinstance(settings, SelectSettings)
    model, original = (
        Outputs.from_bytes(context.store.read(cell.parents[role], OUTPUTS)) for role in ("model", "original")
    )
    train, labels = model.logits["train"], model.labels["train"]
    forget, before = request_positions(labels, settings.forget, settings.seed, model.groups)
    retain = retain_positions(len(labels), np.concatenate([before, forget]))
    columns = {
        "forget_error_percent": error_percent(train[forget], labels[forget]),
        "retain_error_percent": error_percent(train[retain], labels[retain]),
        "validation_error_percent": error_percent(model.logits["validation"], model.labels["validation"]),
        **selection_columns(
            model, original, forget=forget, retain=retain, forget_class=class_of(settings.forget, labels[forget])
        ),
    }
    facts = {name: value for name, value in columns.items() if value is not None}
    for name, value in facts.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value}")
    return StageOutput({}, facts)


SELECT = Stage(
    name="select",
    settings=SelectSettings,
    run=run,
    reads_dataset=False,
    artefact_bytes=lambda cell, registry: SMALL_FILE_BYTES,
)
