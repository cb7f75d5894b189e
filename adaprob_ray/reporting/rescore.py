"""A user's own metric over stored Outputs, without training: a Python file with one function of an Evaluation.

    def margin(evaluation):                 # Outputs of the model and of its references; forget, retain, forget_class, seed
        logits = evaluation.model.logits["train"][evaluation.forget]
        return logits.max(1)  # one number for each sample, a number, or a dict of names and either; None if it does not apply

Outputs come from a store, or from an archive of them in results/ (`python -m analysis archive`).
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.archive import SHARED, Source, evaluations, source_of
from adaprob_ray.reporting.records.load import all_records
from adaprob_ray.reporting.stats.intervals import MIN_BOOTSTRAP_VALUES, bootstrap_interval
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.reporting.tables.render import write_whole

if TYPE_CHECKING:
    from adaprob_ray.metrics.outputs import Evaluation

Metric = Callable[["Evaluation"], Any]


def build_rescore(file: str, location: str, out: Path) -> Output:
    """Score the Outputs of all Records in a store or an archive by the metric in `file`; write them to `out`."""
    metric = load_metric(Path(file))
    source, records = source_of(location), all_records(location)
    if not len(records):
        raise InputError(f"{location}: must have Records, got none")
    scores = rescore(metric, records, source)
    out.mkdir(parents=True, exist_ok=True)
    path = write_whole(out / f"rescore-{metric.__name__}.csv", scores.to_csv(index=False))
    return Output(paths=[path], text=scores.drop(columns=["key"]).to_string(index=False))


def load_metric(path: Path) -> Metric:
    """The one public function of a file. Raises InputError where there is none, or more than one."""
    spec = importlib.util.spec_from_file_location("user_metric", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"{path}: must be a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    members = dict(inspect.getmembers(module, inspect.isfunction))
    names = [name for name in members if members[name].__module__ == "user_metric" and not name.startswith("_")]
    if len(names) != 1:
        raise InputError(f"{path}: must have one public function, got {', '.join(names) or 'none'}")
    return members[names[0]]


def rescore(metric: Metric, records: pd.DataFrame, source: Source) -> pd.DataFrame:
    """A row for each Record: its settings and the values of the metric.

    Raises InputError with the cell if the metric fails or returns anything but numbers.
    """
    return pd.DataFrame(
        {name: record[name] for name in ("key", *SHARED, "label", "repeat")} | _scores(metric, evaluation, record)
        for record, evaluation in evaluations(records, source)
    )


def _scores(metric: Metric, evaluation: Evaluation, record: Mapping[str, Any]) -> dict[str, float | None]:
    where = f"{record['label']} of seed {record['seed']}"
    try:
        value = metric(evaluation)
    except Exception as error:
        raise InputError(f"{where}: the metric fails: {type(error).__name__}: {error}") from error
    scores = value if isinstance(value, Mapping) else {metric.__name__: value}
    columns: dict[str, float | None] = {}
    for name, score in scores.items():
        columns |= _numbers(str(name), score, where)
    return columns


def _numbers(name: str, score: Any, where: str) -> dict[str, float | None]:
    """A number as it is; one for each sample as their mean, with a bootstrap interval where there are enough of them."""
    if score is None:
        return {name: None}
    if isinstance(score, np.ndarray) and score.ndim == 1 and len(score) and np.isfinite(score).all():
        rows = [float(value) for value in score]
        bounds = bootstrap_interval(rows) if len(rows) >= MIN_BOOTSTRAP_VALUES else (None, None)
        return {name: float(np.mean(rows)), f"{name}_low": bounds[0], f"{name}_high": bounds[1]}
    if not isinstance(score, (numbers.Real, np.generic)) or not math.isfinite(score):
        got = f"{type(score).__name__} {score!r}"
        raise InputError(f"{where}: {name}: must be a finite number, or one for each sample, got {got}")
    return {name: float(score)}
