"""Which cells of a whole store descend from a cell, or from the models that were trained on one training image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adaprob_ray.errors import InputError, first_names, unknown_name
from adaprob_ray.runtime.image_use import SEEN, ImageUse, Use
from adaprob_ray.store import Store
from adaprob_ray.store.contents import StoredCells
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.sweep.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Descendant:
    """One cell of the answer.

    done: whether it counts as done.
    weights, checkpoints: whether any attempt's are still in the store, those of revoked and interrupted attempts included.
    use: what it uses the image for; None where no image was asked for.
    descends: whether it is, or descends from, the cell that was asked for or a model that was trained on the image.
    """

    key: str
    title: str
    stage: str
    done: bool
    weights: bool
    checkpoints: bool
    use: Use | None
    descends: bool


@dataclass(frozen=True, kw_only=True)
class Descendants:
    """The answer: cells, parents before children.

    unknown: titles of cells of which nothing can be said: this version of the program cannot read their document or that of an
        ancestor, or a model among them was trained on another revision of the data set.
    cells_read: the number of cells in the store.
    """

    cells: tuple[Descendant, ...]
    unknown: tuple[str, ...]
    cells_read: int

    def document(self) -> dict[str, Any]:
        """The answer as JSON."""
        cells = [{name: value for name, value in asdict(cell).items() if value is not None} for cell in self.cells]
        return {"cells": cells, "unknown": list(self.unknown), "cells_read": self.cells_read}


def find_descendants(store: Store, what: str, registry: Registry, data_root: Path) -> Descendants:
    """Find the descendants of a cell or of a training image in a store. Nothing is written.

    Args:
        store: The store.
        what: A key or a title, or the beginning of one; or DATASET:ROW, a source number as `data indices` writes them.
        registry: The data sets, methods and stages.
        data_root: Folder of the data sets. Read only for DATASET:ROW.

    Returns:
        The cells. For an image: every model that was trained on it or left it out, and all that descends from the former.

    Raises:
        InputError: If there is no such cell, data set or training image, or if several cells begin with `what`.
        StoreError: If the storage fails.
    """
    dataset, separator, row = what.rpartition(":")
    image = None
    if separator:
        if not row.isdecimal():
            raise InputError(f"--descendants: must be KEY or DATASET:ROW with a number as ROW, got {what!r}")
        image = ImageUse(dataset, int(row), registry, data_root)
    logs = store.survey()
    stored = StoredCells.read(store, registry, logs)
    if image is None:
        uses: dict[str, Use] = {}
        start = {_select(stored, what)}
    else:
        uses = {key: image.use(cell) for key, cell in stored.cells.items()}
        start = {key for key, use in uses.items() if use in SEEN}
    descending = stored.descendants(start)
    listed = descending | {key for key, use in uses.items() if use in ("left out", "selection")}
    weights, checkpoints = _kept_files(store)
    cells = [
        Descendant(
            key=key,
            title=stored.title(key),
            stage=stored.stage(key),
            done=logs[key].done is not None,
            weights=key in weights,
            checkpoints=key in checkpoints,
            use=None if image is None else uses.get(key, "none"),
            descends=key in descending,
        )
        for key in stored.documents
        if key in listed
    ]
    dubious = {parent for key in stored.documents for parent in stored.parents(key)} - stored.documents.keys()
    dubious |= {key for key in stored.unreadable if logs[key].leases}  # without a lease it is what `store gc` has left
    if image is not None:
        dubious |= {key for key in stored.documents if uses.get(key, "unknown") == "unknown"}
    unknown = (stored.descendants(dubious) & logs.keys()) - descending
    titles = tuple(sorted(stored.title(key) for key in unknown))
    return Descendants(cells=tuple(cells), unknown=titles, cells_read=len(stored.documents))


def _select(stored: StoredCells, prefix: str) -> str:
    """The key of the only cell whose key or title begins with `prefix`, or is it."""
    titles = {key: stored.title(key) for key in stored.documents}
    matches = [key for key, title in titles.items() if prefix in (key, title)]
    matches = matches or [key for key, title in titles.items() if key.startswith(prefix) or title.startswith(prefix)]
    if not matches:
        raise InputError(f"--descendants: {unknown_name('cell', prefix, titles.values())}")
    if len(matches) > 1:
        candidates = first_names([f"{key} ({titles[key]})" for key in matches])
        raise InputError(f"--descendants: must name one cell, got {prefix!r} (known: {candidates})")
    return matches[0]


def _kept_files(store: Store) -> tuple[set[str], set[str]]:
    """Keys of cells of which any attempt's weights, or checkpoints, are in the store."""
    attempts = [entry["path"].split("/", 3) for entry in store.objects.list("attempts")]
    weights = {path[1] for path in attempts if path[-1] == WEIGHTS}
    return weights, {entry["path"].split("/")[1] for entry in store.objects.list("checkpoints")}
