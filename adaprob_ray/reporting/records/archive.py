"""Outputs and series of models, by the key of their cell: in a store, or with their Records in one archive."""

from __future__ import annotations

import functools
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.grouping import GROUP, columns_with_prefix
from adaprob_ray.reporting.records.load import ARCHIVE, LINES, RECORDS, read_lines
from adaprob_ray.reporting.records.provenance import is_empty
from adaprob_ray.store import Store
from adaprob_ray.store.names import OUTPUTS, SERIES
from adaprob_ray.sweep.cell import canonical
from adaprob_ray.sweep.cell_settings import ForgetRequest
from adaprob_ray.sweep.method_choices import REFERENCES

if TYPE_CHECKING:
    from adaprob_ray.metrics.outputs import Evaluation, Outputs

# What a model shares with its references.
SHARED = (*GROUP, "precision", "seed")
Series = Mapping[str, Sequence[tuple[int, float | None]]]  # as `series.json` of a cell: scalar → [step, value or null]


class Source:
    """Where Outputs and series are, by the key of the model's cell. `read`: content by key and name of an artefact."""

    def __init__(self, read: Callable[[str, str], bytes]) -> None:
        self._read = read
        self._outputs: dict[str, Outputs] = {}

    def outputs(self, key: str) -> Outputs:
        """The Outputs of a model, read once."""
        if key not in self._outputs:
            from adaprob_ray.metrics.outputs import Outputs  # which loads torch

            self._outputs[key] = Outputs.from_bytes(self._read(key, OUTPUTS))
        return self._outputs[key]

    def series(self, key: str) -> Series:
        """What a cell reported, step by step."""
        return json.loads(self._read(key, SERIES))


class Archive(Source):
    """A zip file of Records with their models' Outputs and series, as `write_archive` makes it.

    Raises InputError for any other file.
    """

    def __init__(self, path: Path) -> None:
        try:
            file = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: must be an archive of Outputs: {error}") from error
        super().__init__(lambda key, name: file.read(_member(key, name)))
        self._path = path

    @functools.cached_property
    def records(self) -> pd.DataFrame:
        """Raises InputError where they cannot be read. Read on first access."""
        return read_lines(self._path)


def _member(key: str, name: str) -> str:
    return f"{key}.{'safetensors' if name == OUTPUTS else name}"


def source_of(location: str) -> Source:
    """Of an archive, or of a store. Raises InputError for a file of Records alone."""
    if location.endswith(LINES):
        raise InputError(f"{location}: must be a store or an archive with Outputs ({ARCHIVE}), got Records alone")
    return Archive(Path(location)) if location.endswith(ARCHIVE) else Source(Store.open(location, create=False).read)


def write_archive(records: pd.DataFrame, source: Source, path: Path) -> Path:
    """Records, Outputs and series in one compressed file, byte-identical for the same content; the write is atomic."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(temporary, "w") as file:

        def write(name: str, content: str | bytes) -> None:
            member = zipfile.ZipInfo(name)  # with a fixed date
            file.writestr(member, content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)

        write(RECORDS, record_lines(records))
        for key in sorted(set(records["model_key"])):
            write(_member(key, OUTPUTS), source.outputs(key).to_bytes())
            write(_member(key, SERIES), canonical(source.series(key)))
    return temporary.replace(path)


def record_lines(records: pd.DataFrame) -> str:
    """One JSON object per line, in the order of `records`, names sorted; empty values are left out."""
    values = ({name: value for name, value in record.items() if not is_empty(value)} for record in rows_of(records))
    to_json = functools.partial(json.dumps, sort_keys=True, separators=(",", ":"), default=lambda number: number.item())
    return "".join(f"{to_json(record)}\n" for record in values)


# -- evaluations -------------------------------------------------------------------------------------------------------


def rows_of(records: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Each Record as a mapping."""
    for record in records.to_dict("records"):
        yield {str(name): value for name, value in record.items()}


def evaluations(records: pd.DataFrame, source: Source) -> Iterator[tuple[dict[str, Any], Evaluation]]:
    """Each Record with its Evaluation, whose references share its split, seed, recipe and pretraining."""
    recipes = columns_with_prefix(records, "recipe.", "pretrain.", "original.")
    for _, group in records.groupby([*SHARED, *recipes], sort=False, dropna=False):
        for record in rows_of(group):
            yield record, evaluation_in(record, group, source)


def evaluation_in(record: Mapping[str, Any], group: pd.DataFrame, source: Source) -> Evaluation:
    """What a metric reads of one Record, whose references are among the Records of its group and seed.

    Raises InputError where a reference has no model there, or several.
    """
    from adaprob_ray.metrics.outputs import make_evaluation

    where = ", ".join(str(record[name]) for name in SHARED)
    keys_by_label = {label: set(map(str, group.loc[group["label"] == label, "model_key"])) for label in REFERENCES}
    if missing := ", ".join(label for label, keys in keys_by_label.items() if not keys):
        raise InputError(f"{where}: must have Records of {missing}, which a metric may compare with, got none")
    if ambiguous := ", ".join(label for label, keys in keys_by_label.items() if len(keys) > 1):
        raise InputError(f"{where}: must have one model of {ambiguous} for a metric to compare with, got several")
    outputs = {label: source.outputs(key) for label, (key,) in keys_by_label.items()}
    outputs["model"] = source.outputs(str(record["model_key"]))
    return make_evaluation(outputs, ForgetRequest.from_record(record), int(record["seed"]))
