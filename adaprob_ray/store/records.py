"""Records: one flat row for each finished evaluate cell, its settings' columns, and how rows are read from the store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from adaprob_ray.store import Store
from adaprob_ray.sweep.sweep import Sweep

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
