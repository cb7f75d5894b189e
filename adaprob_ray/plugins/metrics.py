"""A metric of another package."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

from adaprob_ray.errors import InputError
from adaprob_ray.metrics import Compute, Metric, no_computation
from adaprob_ray.metrics.outputs import Evaluation
from adaprob_ray.user_code.load import load_path

# Columns that every Record has; a metric may not fill them.
RECORD_COLUMNS = frozenset({
    "key", "model_key", "lineage", "stage", "dataset", "test_pool", "architecture", "filters", "forget", "label", "method",
    "seed", "repeat", "precision", "forget_rows", "retain_rows", "validation_rows", "test_rows", "test_other_classes_rows",
    "commit", "started_at", "host", "device", "exclusive", "threads", "architecture_library", "forget_request",
    "all_requests_rows",
})  # fmt: skip
# Facts of cells and of the methods of adaprob_ray, which join the Record as columns.
FACT_COLUMNS = frozenset({
    "cell_seconds", "training_seconds", "last_epoch_error_percent", "last_epoch_loss",
    "blas", "cpu_instruction_set", "cpu_model", "cpu_signature", "mkl_cbwr", "mkl_instructions", "onednn_instruction_set",
    "numpy_version", "python_version", "torch_version",
    "run_committed_at", "run_continued_after_epochs", "run_dirty", "run_method_digest", "run_peak_bytes", "run_card_bytes",
    "relearn_forget_nats", "relearn_threshold_nats",
    "lr", "lr_backoffs", "best_epoch", "stopped_by_max_drop", "rewound_to", "bias_shift",
    "projection_passes", "projection_residual", "target_forget_error_percent", "target_retain_error_percent",
    "target_shift", "target_shift_retain",
})  # fmt: skip
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,59}")


def load_metric(path: str, built_in: Mapping[str, Metric], stages: Collection[str]) -> Metric:
    """The metric that a path names; what it computes is checked against its columns.

    Args:
        path: `package.module:METRIC`.
        built_in: the catalogue's, whose names and columns it may not have.
        stages: names that `needs` may have.

    Raises:
        InputError: one line for each fault.
    """
    metric = load_path(path)
    if not isinstance(metric, Metric):
        kind = "a function" if callable(metric) else type(metric).__name__
        hint = "; write Metric(name=…, columns=(…), compute=this function)" if callable(metric) else ""
        raise InputError(f"{path}: must be a Metric of adaprob_ray.metrics, got {kind}{hint}")
    faults = metric_faults(metric, built_in, stages)
    if faults:
        raise InputError(*(f"{path}: {fault}" for fault in faults))
    compute = metric.compute
    return metric if compute is no_computation else dataclasses.replace(metric, compute=checked(compute, metric, path))


def metric_faults(metric: Any, built_in: Mapping[str, Metric], stages: Collection[str]) -> list[str]:
    """What is wrong with the declaration of a metric, one line each."""
    faults = []
    if metric.name in built_in:
        faults.append(f"name: must differ from the metrics of adaprob_ray, got {metric.name!r}")
    if type(metric.revision) is not int or metric.revision < 1:
        faults.append(f"revision: must be an integer of at least 1, got {metric.revision!r}")
    columns = metric.columns
    if not isinstance(columns, tuple) or not columns:
        return [*faults, f"columns: must be a tuple of at least one name, got {columns!r}"]
    columns_in_use = (RECORD_COLUMNS | FACT_COLUMNS).union(*(entry.columns for entry in built_in.values()))
    for column in columns:
        if not isinstance(column, str) or not _COLUMN.fullmatch(column):
            faults.append(f"columns: must be lower-case letters, digits and _, got {column!r}")
        elif column in columns_in_use:
            faults.append(f"columns: must be new, got {column!r}, which Records have already")
    if not callable(metric.compute):
        faults.append(f"compute: must be a function of an Evaluation, got {metric.compute!r}")
    if unknown := sorted(set(metric.needs) - set(stages)):
        faults.append(f"needs: must be stages ({', '.join(sorted(stages))}), got {', '.join(unknown)}")
    return faults


def checked(compute: Compute, metric: Metric, path: str) -> Compute:
    """The same function, which raises InputError if it returns anything but a number or None for each column."""

    def compute_and_check(evaluation: Evaluation) -> dict[str, float | None]:
        values: Any = compute(evaluation)
        if not isinstance(values, Mapping) or set(values) != set(metric.columns):
            got = ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
            raise InputError(f"{path}: must return its columns, {', '.join(metric.columns)}, got {got}")
        for column, value in values.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
                raise InputError(f"{path}: {column}: must be a number or None, got {value!r}")
        numbers = {name: None if value is None else float(value) for name, value in values.items()}
        if bad := [name for name, value in numbers.items() if value is not None and not math.isfinite(value)]:
            raise InputError(
                f"{path}: {bad[0]}: must be finite, got {numbers[bad[0]]}; None says that it does not apply"
            )
        return numbers

    return compute_and_check
