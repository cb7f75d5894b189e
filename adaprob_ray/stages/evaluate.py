"""Evaluate: metrics from the stored Outputs of a model and its references; the result is one Record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from adaprob_ray.errors import Diverged, InputError
from adaprob_ray.metrics.outputs import Outputs, make_evaluation
from adaprob_ray.stages.base import SMALL_FILE_BYTES, StageContext, StageOutput
from adaprob_ray.stages.models import load_weights
from adaprob_ray.stages.settings_columns import record_settings
from adaprob_ray.store.names import OUTPUTS, RECORD
from adaprob_ray.sweep.cell import Cell, canonical
from adaprob_ray.sweep.cell_settings import EvaluateSettings
from adaprob_ray.sweep.registry import Stage
from adaprob_ray.training.loop import Weights, distance


def run(cell: Cell, context: StageContext) -> StageOutput:
    """Compute the metrics and join settings, model facts and facts of the stages that the metrics need."""
    settings, store, registry = cell.settings, context.store, context.registry
    assert isinstance(settings, EvaluateSettings)
    models = {role: key for role, key in cell.parents.items() if role not in registry.metric_stages}
    by_key = {key: Outputs.from_bytes(store.read(key, OUTPUTS)) for key in sorted(set(models.values()))}
    outputs = {role: by_key[key] for role, key in models.items()}
    evaluation = make_evaluation(outputs, settings.forget, settings.seed)
    if context.display is not None:
        context.display.evaluation(evaluation)
    labels = outputs["model"].labels
    computed: dict[str, float | None] = {
        "test_other_classes_rows": int((~np.isin(labels["test"], evaluation.forget_classes)).sum()),
        "forget_rows": len(evaluation.forget),
        "retain_rows": len(evaluation.retain),
        **{f"{name}_rows": len(labels[name]) for name in ("validation", "test")},
    }
    if "all_requests" in settings.metrics:
        computed["all_requests_rows"] = len(evaluation.forgotten_so_far)
    settings_columns = record_settings(cell, context)
    sources = {**dict.fromkeys(settings_columns, "the settings"), **dict.fromkeys(computed, "the evaluation")}
    for name in settings.metrics:
        values = registry.metrics[name].compute(evaluation)
        computed.update(values)
        sources.update(dict.fromkeys(values, f"metric {name}"))
    for role in cell.parents.keys() - models.keys():
        role_facts = context.facts(cell.parents[role])
        role_facts = {name: value for name, value in role_facts.items() if name.startswith(f"{role}_")}
        refuse_repeated_columns(sources, role_facts, f"stage {role}")
        computed.update(role_facts)
    for name, value in computed.items():
        if value is not None and not math.isfinite(value):
            raise Diverged(f"{name} is {value}")
    model_facts = _model_facts(cell, context)
    refuse_repeated_columns(sources, model_facts, f"method {settings.method}")
    record = {**settings_columns, **computed, **model_facts}
    facts = {name: value for name, value in computed.items() if value is not None}
    return StageOutput({RECORD: canonical(record).encode()}, facts)


def refuse_repeated_columns(sources: Mapping[str, str], facts: Iterable[str], owner: str) -> None:
    """Raise InputError where a fact of `owner` would replace a column; `sources` says for each column what fills it."""
    repeated = [
        f"{owner}: {name}: must be noted under another name, because this column is filled by {sources[name]}"
        for name in facts
        if name in sources
    ]
    if repeated:
        raise InputError(*repeated)


def _model_facts(cell: Cell, context: StageContext) -> dict[str, Any]:
    """The facts of the model's cell; for a trained model, which has no distance to the original yet, that too."""
    facts = context.facts(cell.parents["model"])
    if "parameter_distance" not in facts:
        model, original = (
            _parameters(load_weights(context.store, cell.parents[role])) for role in ("model", "original")
        )
        facts = {**facts, "parameter_distance": distance(model, original)}
    return facts


def _parameters(weights: Weights) -> list[Tensor]:
    """The parameters among the tensors of a network, without the statistics of batch norm."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return [weights[name] for name in sorted(weights) if not name.endswith(statistics)]


EVALUATE = Stage(
    name="evaluate",
    settings=EvaluateSettings,
    run=run,
    reads_dataset=False,
    artefact_bytes=lambda cell, registry: SMALL_FILE_BYTES,
)
