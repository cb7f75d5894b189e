"""The trials of a search, in a store: each trial's parameters are written once, by whichever process asks for it first.

    searches/STUDY/study.json        what the study is
    searches/STUDY/trials/NNNNN      one trial: number, parameters, keys of its cells; created only if absent

There is no journal and no state: results are the cells', and the study is rebuilt from these files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from adaprob_ray.store.contents import in_threads
from adaprob_ray.store.names import CELL_KEY, validate_name
from adaprob_ray.store.objects import json_bytes
from adaprob_ray.store.store import Store


class StoredTrials:
    """The trials of one study. Every method raises StoreError if the storage fails.

    Args:
        store: The store.
        study: The key of the study.

    Example:
        >>> import tempfile
        >>> trials = StoredTrials(Store.open(tempfile.mkdtemp()), "ab12")
        >>> trials.create(0, {"lr": 0.1})
        {'lr': 0.1}
        >>> trials.create(0, {"lr": 0.2})  # another process was first
        {'lr': 0.1}
        >>> trials.read()
        [{'lr': 0.1}]
    """

    def __init__(self, store: Store, study: str) -> None:
        self._objects, self._folder = store.objects, f"searches/{validate_name(CELL_KEY, study, 'study')}"

    def describe(self, document: Mapping[str, Any]) -> None:
        """Write what the study is, if nobody has yet."""
        self._objects.create(f"{self._folder}/study.json", document)

    def create(self, number: int, params: Mapping[str, Any], cells: Iterable[str] = ()) -> dict[str, Any]:
        """Write a trial unless it exists. A damaged file is replaced.

        Args:
            number: From 0.
            params: Its parameters, by name.
            cells: Keys of its cells, for `store gc`.

        Returns:
            The parameters that the store has.
        """
        document = {"number": number, "params": dict(params), "cells": list(cells)}
        path = self._path(number)
        if not self._objects.create(path, document):
            stored = self._params(number)
            if stored is not None:
                return stored
            self._objects.put(path, json_bytes(document))
        return dict(params)

    def read(self) -> list[dict[str, Any]]:
        """The parameters of trials 0, 1, 2 …, up to the first that is missing or damaged."""
        names = [entry["path"].rpartition("/")[2] for entry in self._objects.list(f"{self._folder}/trials")]
        numbers = sorted(int(name) for name in names if name.isdecimal())
        trials = []
        for number, params in enumerate(in_threads(self._params, numbers)):
            if params is None or numbers[number] != number:
                break
            trials.append(params)
        return trials

    def _path(self, number: int) -> str:
        return f"{self._folder}/trials/{number:05d}"

    def _params(self, number: int) -> dict[str, Any] | None:
        document = self._objects.intact_document(self._path(number)) or {}
        params = document.get("params")
        return params if isinstance(params, dict) and document.get("number") == number else None


def cells_by_study(store: Store) -> dict[str, set[str]]:
    """The keys of the cells of all stored trials, for each study. Damaged trials are ignored."""
    paths = [entry["path"] for entry in store.objects.list("searches") if "/trials/" in entry["path"]]

    def read(path: str) -> list[str]:
        cells = (store.objects.intact_document(path) or {}).get("cells")
        return [key for key in cells if isinstance(key, str)] if isinstance(cells, list) else []

    studies: dict[str, set[str]] = {}
    for path, keys in zip(paths, in_threads(read, paths), strict=True):
        studies.setdefault(path.split("/")[1], set()).update(keys)
    return studies
