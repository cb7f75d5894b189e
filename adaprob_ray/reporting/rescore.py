"""A stranger's metric over stored Outputs, without training: a Python file with one function of an Evaluation.

    def margin(evaluation):                 # Outputs of the model and of its references; forget, retain, forget_class, seed
        logits = evaluation.model.logits["train"][evaluation.forget]
        return logits.max(1)  # one number for each row, a number, or a dict of names and either; None where it does not apply

Outputs come from a store, or from an archive of them in results/ (`python -m analysis archive`).
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import io
import json
import math
import numbers
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pandas as pd

from adaprob_ray.errors import InputError
from adaprob_ray.metrics.outputs import Evaluation, Outputs, make_evaluation
from adaprob_ray.reporting.figures.curves import Series
from adaprob_ray.reporting.records.load import ARCHIVE, LINES, RECORDS, read_lines
from adaprob_ray.reporting.records.provenance import is_empty
from adaprob_ray.reporting.stats.intervals import FEWEST_RESAMPLED, bootstrap_interval
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import canonical
from adaprob_ray.sweep.cell_settings import ForgetRequest

OUTPUTS, SERIES = "outputs.safetensors", "series.json"
REFERENCES = ("original", "retrain", "retrain_independent")
# What a model shares with its references.
SHARED = ("dataset", "test_pool", "architecture", "filters", "forget", "precision", "seed")
Metric = Callable[[Evaluation], Any]


class Source(Protocol):
    """Where Outputs and series are, by the key of the model's cell."""

    def outputs(self, key: str) -> Outputs: ...
    def series(self, key: str) -> Series: ...


class StoredOutputs:
    """Those of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, Outputs] = {}

    def outputs(self, key: str) -> Outputs:
        if key not in self._read:
            self._read[key] = Outputs.from_bytes(self._store.read(key, OUTPUTS))
        return self._read[key]

    def series(self, key: str) -> Series:
        found: Series = self._store.read_json(key, SERIES)
        return found


class Archive:
    """A zip file of Records with their models' Outputs and series, as `write_archive` makes it.

    Raises InputError for any other file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: is no archive of Outputs: {error}") from error
        self._path = path
        self._read: dict[str, Outputs] = {}

    @functools.cached_property
    def records(self) -> pd.DataFrame:
        """Raises InputError where they cannot be read. Whoever has them from elsewhere does not read them twice."""
        return read_lines(self._path)

    def outputs(self, key: str) -> Outputs:
        if key not in self._read:
            self._read[key] = Outputs.from_bytes(self._file.read(f"{key}.safetensors"))
        return self._read[key]

    def series(self, key: str) -> Series:
        found: Series = json.loads(self._file.read(f"{key}.{SERIES}"))
        return found


def source_of(location: str) -> Source:
    """Of an archive, or of a store. Raises InputError for a file of Records alone."""
    if location.endswith(LINES):
        raise InputError(f"{location}: holds Records without Outputs; an archive with both ends in {ARCHIVE}")
    return Archive(Path(location)) if location.endswith(ARCHIVE) else StoredOutputs(Store.open(location, create=False))


def write_archive(records: pd.DataFrame, source: Source, path: Path) -> Path:
    """Records, Outputs and series in one compressed file, the same bytes for the same content; it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(part, "w") as file:
        file.writestr(_member(RECORDS), record_lines(records), compresslevel=9)
        for key in sorted(set(records["model_key"])):
            file.writestr(_member(f"{key}.safetensors"), source.outputs(key).to_bytes(), compresslevel=9)
            file.writestr(_member(f"{key}.{SERIES}"), canonical(source.series(key)), compresslevel=9)
    return part.replace(path)


def _member(name: str) -> zipfile.ZipInfo:
    """With a fixed date."""
    member = zipfile.ZipInfo(name)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def record_lines(records: pd.DataFrame) -> str:
    """A JSON object a line, in the order given, names sorted; what does not apply is left out."""
    text = io.StringIO()
    for record in rows_of(records):
        known = {name: value for name, value in record.items() if not is_empty(value)}
        text.write(json.dumps(known, sort_keys=True, separators=(",", ":"), default=_plain) + "\n")
    return text.getvalue()


def _plain(value: Any) -> Any:
    return value.item()  # NumPy's numbers and truth values


def load_metric(path: Path) -> Metric:
    """The one public function of a file. Raises InputError where there is none, or more than one."""
    spec = importlib.util.spec_from_file_location("stranger", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    found = _functions(module)
    if len(found) != 1:
        raise InputError(f"{path}: one public function is expected, got {', '.join(found) or 'none'}")
    return next(iter(found.values()))


def _functions(module: ModuleType) -> dict[str, Metric]:
    """What the file itself defines, without a leading underscore."""
    members = inspect.getmembers(module, inspect.isfunction)
    return {name: own for name, own in members if own.__module__ == module.__name__ and not name.startswith("_")}


def rescore(metric: Metric, records: pd.DataFrame, source: Source) -> pd.DataFrame:
    """A line for each Record: what it is of, and what the metric says.

    Raises InputError that names the cell where the metric fails or says anything but numbers.
    """
    return pd.DataFrame(
        {name: record[name] for name in ("key", *SHARED, "label", "repeat")} | _scores(metric, evaluation, record)
        for record, evaluation in evaluations(records, source)
    )


def rows_of(records: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Each Record as a mapping."""
    for record in records.to_dict("records"):
        yield {str(name): value for name, value in record.items()}


def evaluations(records: pd.DataFrame, source: Source) -> Iterator[tuple[dict[str, Any], Evaluation]]:
    """Each Record with what a metric reads, by the references of its split and seed, recipe and pretraining."""
    recipes = [name for name in map(str, records) if name.startswith(("recipe.", "pretrain."))]
    for _, own in records.groupby([*SHARED, *recipes], sort=False, dropna=False):
        for record in rows_of(own):
            yield record, evaluation_in(record, own, source)


def evaluation_in(record: Mapping[str, Any], group: pd.DataFrame, source: Source) -> Evaluation:
    """What a metric reads of one Record, whose references are among the Records of its group and seed."""
    keys = {"model": str(record["model_key"]), **_references(record, group)}
    outputs = {role: source.outputs(key) for role, key in keys.items()}
    return make_evaluation(outputs, ForgetRequest.parse(record["forget"]), int(record["seed"]))


def _references(record: Mapping[str, Any], group: pd.DataFrame) -> dict[str, str]:
    where = ", ".join(str(record[name]) for name in SHARED)
    found = {label: set(map(str, group.loc[group["label"] == label, "model_key"])) for label in REFERENCES}
    missing = [label for label, keys in found.items() if not keys]
    if missing:
        raise InputError(f"{where}: no Record of {', '.join(missing)}, which a metric may compare with")
    several = [label for label, keys in found.items() if len(keys) > 1]
    if several:
        raise InputError(f"{where}: several models of {', '.join(several)}; a metric needs one to compare with")
    return {label: keys.pop() for label, keys in found.items()}


def _scores(metric: Metric, evaluation: Evaluation, record: Mapping[str, Any]) -> dict[str, float | None]:
    where = f"{record['label']} of seed {record['seed']}"
    try:
        value = metric(evaluation)
    except Exception as error:
        raise InputError(f"{where}: the metric fails: {type(error).__name__}: {error}") from error
    scores = value if isinstance(value, Mapping) else {metric.__name__: value}
    found: dict[str, float | None] = {}
    for name, score in scores.items():
        found |= _numbers(str(name), score, where)
    return found


def _numbers(name: str, score: Any, where: str) -> dict[str, float | None]:
    """A number as it is; one for each row as their mean, with a bootstrap interval where there are enough of them."""
    if score is None:
        return {name: None}
    if isinstance(score, np.ndarray) and score.ndim == 1 and len(score) and np.isfinite(score).all():
        rows = [float(value) for value in score]
        bounds = bootstrap_interval(rows) if len(rows) >= FEWEST_RESAMPLED else (None, None)
        return {name: float(np.mean(rows)), f"{name}_low": bounds[0], f"{name}_high": bounds[1]}
    if not isinstance(score, (numbers.Real, np.generic)) or not math.isfinite(score):
        raise InputError(
            f"{where}: {name}: expected a finite number, or one for each row, got {type(score).__name__} {score!r}"
        )
    return {name: float(score)}
