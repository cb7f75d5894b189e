"""Records: one flat row for each finished evaluate cell, its settings' columns, and how rows are read from the store."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from adaprob_ray.errors import NotDone
from adaprob_ray.settings import flatten
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell, canonical, format_forget
from adaprob_ray.sweep.expand import Sweep
from adaprob_ray.sweep.relearn import RELEARN

if TYPE_CHECKING:
    import pandas

RECORD = "record.json"
READERS = 16  # threads: on S3 each read waits for the network

# Columns that may differ between two executions of one cell on one machine; besides `run_…` and `…_seconds`.
VARYING = ("commit", "started_at", "host", "exclusive")


class Reader(Protocol):
    """What is asked of a store about other cells: verified artefacts, facts and descriptions."""

    def read(self, key: str, name: str) -> bytes: ...
    def cell(self, key: str) -> dict[str, Any] | None: ...
    def commit(self, key: str) -> Any: ...


def may_differ(column: str) -> bool:
    """Whether a column may differ between two executions of one cell on one machine; all others are equal bit for bit."""
    return column in VARYING or column.startswith("run_") or column.endswith("_seconds")


def read_records(store: Store, keys: Iterable[str]) -> list[dict[str, Any]]:
    """The Records of these evaluate cells, verified. Raises CorruptArtefact, and StoreError for a cell that is not done."""

    def one(key: str) -> dict[str, Any]:
        commit = store.commit(key)
        record: dict[str, Any] = json.loads(store.read(key, RECORD))
        return {**record, "run_committed_at": commit.at if commit else ""}

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(one, keys))


def load_records(store: Store | str | os.PathLike[str], sweep: Sweep | None = None) -> pandas.DataFrame:
    """One row for each Record, one column for each setting, metric and fact (percent, nats, seconds: units in the names).

    With a sweep: the Records of its own evaluate cells that are done. Without: all Records of the store, and of those that
    differ only in which metrics or revisions they hold the one committed last.
    """
    import pandas as pd  # half a second: only where rows are wanted

    store = store if isinstance(store, Store) else Store.open(store, create=False)
    logs = store.survey()
    done = {key: None for key, log in logs.items() if log.done is not None}
    if sweep is not None:
        wanted = [key for key, cell in sweep.cells.items() if cell.stage == "evaluate"]
        keys = [key for key in wanted if key in done]
    else:
        keys = [key for key in done if (store.cell(key) or {}).get("stage") == "evaluate"]
    rows = read_records(store, keys)
    if sweep is None:
        latest = {row["lineage"]: row for row in sorted(rows, key=lambda row: row["run_committed_at"])}
        rows = list(latest.values())
    return pd.DataFrame(rows)


# -- what an evaluate cell writes ------------------------------------------------------------------------------------------


def cell_of(store: Reader, key: str) -> dict[str, Any]:
    """What a parent is. Raises NotDone for one that nobody began."""
    document = store.cell(key)
    if document is None:
        raise NotDone(key)
    return document


def record_settings(cell: Cell, store: Reader) -> dict[str, Any]:
    """The settings columns of a Record, flat."""
    settings = cell.settings
    model = cell_of(store, cell.parents["model"])
    return {
        "key": cell.key,
        "model_key": cell.parents["model"],
        "lineage": lineage(cell.identity, store),
        "stage": cell.stage,
        "dataset": settings["dataset"]["name"],
        "test_pool": settings["dataset"]["test_pool"],
        "architecture": settings["architecture"]["name"],
        "filters": settings["architecture"]["filters"],
        "forget": format_forget(settings["forget"]),
        "label": settings["label"],
        "method": settings["method"],
        "seed": settings["seed"],
        "repeat": settings["repeat"],
        "precision": settings["precision"],
        **{f"method.{name}": value for name, value in flatten(settings["hyper"]).items()},
        **{f"recipe.{name}": value for name, value in model["settings"]["recipe"].items()},
        **_pretraining(cell, store),
        **_relearning(cell, store),
    }


def _pretraining(cell: Cell, store: Reader) -> dict[str, Any]:
    """`pretrain.…` columns of a model that did not start at random."""
    original = cell_of(store, cell.parents["original"])
    if "pretrain" not in original["parents"]:
        return {}
    source = cell_of(store, original["parents"]["pretrain"])
    columns = {"dataset": source["settings"]["dataset"]["name"], "seed": source["settings"]["seed"]}
    return {f"pretrain.{name}": value for name, value in {**columns, **source["settings"]["recipe"]}.items()}


def _relearning(cell: Cell, store: Reader) -> dict[str, Any]:
    """`relearn.…` columns of an evaluation that asks for relearning."""
    if RELEARN not in cell.parents:
        return {}
    settings = cell_of(store, cell.parents[RELEARN])["settings"]["relearn"]
    return {f"relearn.{name}": value for name, value in settings.items()}


def lineage(identity: Mapping[str, Any], store: Reader) -> str:
    """A hash of a cell's settings and its ancestors', without metrics and what is made for one, and without revisions.

    Records of one lineage differ only in which metrics or revisions they hold.
    """
    settings = {name: value for name, value in identity["settings"].items() if name != "metrics"}
    made = {role: key for role, key in identity["parents"].items() if role != RELEARN}
    parents = {role: lineage(cell_of(store, key), store) for role, key in made.items()}
    text = canonical({"stage": identity["stage"], "settings": settings, "parents": parents})
    return hashlib.sha256(text.encode()).hexdigest()[:16]
