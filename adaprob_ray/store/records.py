"""Records: one flat row for each completed evaluate cell, read from a store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from adaprob_ray.store.names import RECORD
from adaprob_ray.store.store import Store
from adaprob_ray.sweep.sweep import Sweep

if TYPE_CHECKING:
    import pandas

READ_THREADS = 16  # reads at once, because on S3 each one waits for the network


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
        sweep: Load the Records of this sweep's own evaluate cells that are done. Without a sweep, all Records are
            loaded; of several that differ only in their metrics or revisions, only the latest is.

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
