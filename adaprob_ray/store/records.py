"""Records: one flat row for each finished evaluate cell, read from a store; and the settings columns of a Record."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from adaprob_ray.errors import NotDone
from adaprob_ray.settings import flatten
from adaprob_ray.store.names import RECORD
from adaprob_ray.store.store import Store
from adaprob_ray.sweep.cell import Cell, canonical, format_forget
from adaprob_ray.sweep.expand import Sweep
from adaprob_ray.sweep.relearn import RELEARN

if TYPE_CHECKING:
    import pandas

READ_THREADS = 16  # reads at once, because on S3 each one waits for the network


class Reader(Protocol):
    """The read-only store interface that stages use."""

    def read(self, key: str, name: str) -> bytes: ...
    def cell(self, key: str) -> dict[str, Any] | None: ...
    def commit(self, key: str) -> Any: ...


def read_records(store: Store, keys: Iterable[str]) -> list[dict[str, Any]]:
    """The Records of evaluate cells, verified, in the order of `keys`.

    Raises:
        CorruptArtefact: If a Record is missing or damaged. Its attempt is revoked.
        NotDone: If a cell is not done.
    """

    def read_record(key: str) -> dict[str, Any]:
        commit = store.commit(key)
        record: dict[str, Any] = json.loads(store.read(key, RECORD))
        return {**record, "run_committed_at": commit.at if commit else ""}

    with ThreadPoolExecutor(READ_THREADS) as pool:
        return list(pool.map(read_record, keys))


def load_records(store: Store | str | os.PathLike[str], sweep: Sweep | None = None) -> pandas.DataFrame:
    """Load the Records of a store: one row each, one column for each setting, metric and fact.

    Args:
        store: A store, or the folder or URI of one.
        sweep: Load the Records of this sweep's own evaluate cells that are done. Without a sweep all Records are
            loaded, except that of those which differ only in their metrics or revisions only the last is kept.

    Returns:
        The rows. Columns have their unit in their name (percent, nats, seconds).

    Raises:
        InputError: If there is no such store.
        CorruptArtefact: If a Record is missing or damaged. Its attempt is revoked, so that the next run repeats it.

    Example:
        >>> import tempfile
        >>> from adaprob_ray import Store, load_records
        >>> store = Store.open(tempfile.mkdtemp())
        >>> with store.begin("ab12", {"stage": "evaluate"}, owner="me", run="first") as attempt:
        ...     attempt.write("record.json", b'{"label": "retrain", "test_error_percent": 7.5, "lineage": "f00d"}')
        ...     attempt.commit({})
        >>> load_records(store)[["label", "test_error_percent"]].to_dict("records")
        [{'label': 'retrain', 'test_error_percent': 7.5}]
    """
    import pandas as pd  # takes half a second: imported only where a table is asked for

    store = store if isinstance(store, Store) else Store.open(store, create=False)
    done = [key for key, log in store.survey().items() if log.done is not None]
    if sweep is not None:
        finished = set(done)
        keys = [key for key, cell in sweep.cells.items() if cell.stage == "evaluate" and key in finished]
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
