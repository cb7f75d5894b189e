"""Everything that a store holds, for the commands on whole stores. Nothing here writes, and no damage is revoked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from adaprob_ray.store.log import CellLog, Commit
from adaprob_ray.store.names import CELL_KEY, cell_folder
from adaprob_ray.store.objects import NotJson
from adaprob_ray.store.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.registry import Registry

THREADS = 16  # requests at once, because on S3 each one waits for the network
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """An artefact, a commit or a cell's document that cannot be used, and why."""

    key: str
    attempt: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} (attempt {self.attempt}) {self.reason}"


@dataclass(frozen=True, kw_only=True)
class StoredCells:
    """The cells of a store, done or not, as a graph.

    documents: by key, parents before children. Only cells whose document can be read.
    cells: those of them that this version of the program understands, in the same order.
    unreadable: keys without a readable document.
    """

    documents: Mapping[str, Mapping[str, Any]] = field(repr=False)
    cells: Mapping[str, Cell] = field(repr=False)
    unreadable: frozenset[str]

    @classmethod
    def read(cls, store: Store, registry: Registry, logs: Mapping[str, CellLog]) -> StoredCells:
        """Read the document of each cell of `logs`. Raises StoreError if the storage fails."""
        keys = [key for key in logs if CELL_KEY.fullmatch(key)]  # NFS and desktops leave files of their own
        read = dict(zip(keys, in_threads(lambda key: read_document(store, key), keys), strict=True))
        documents = _parents_first({key: document for key, document in read.items() if document is not None})
        parsed = {key: _parse(registry, key, document) for key, document in documents.items()}
        return cls(
            documents=documents,
            cells={key: cell for key, cell in parsed.items() if cell is not None},
            unreadable=frozenset(read.keys() - documents.keys()),
        )

    def title(self, key: str) -> str:
        """The cell's title, or its stage and the beginning of its key where that is all that can be read."""
        if key in self.cells:
            return self.cells[key].title
        return f"{self.documents.get(key, {}).get('stage', 'cell')}-{key[:8]}"

    def stage(self, key: str) -> str:
        """The cell's stage; empty if its document cannot be read."""
        return str(self.documents.get(key, {}).get("stage", ""))

    def parents(self, key: str) -> frozenset[str]:
        """Keys of the cell's parents, also of those that the store does not have."""
        return _parents(self.documents.get(key, {}))

    def ancestors(self, keys: Iterable[str]) -> set[str]:
        """`keys` and all cells that they depend on."""
        selection = set(keys)
        for key in reversed(list(self.documents)):
            if key in selection:
                selection |= self.parents(key)
        return selection

    def descendants(self, keys: Iterable[str]) -> set[str]:
        """`keys` and all cells that depend on them."""
        selection = set(keys)
        selection.update(key for key in self.documents if self.parents(key) & selection or key in selection)
        return selection

    def connected(self, keys: Iterable[str]) -> set[str]:
        """`keys` and everything that is connected with them by parents and children, however far."""
        selection: set[str] = set(keys)
        while (wider := self.descendants(self.ancestors(selection))) != selection:
            selection = wider
        return selection


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results in the order of `items`. The first error is raised once the calls that have begun have ended."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)


def read_document(store: Store, key: str) -> dict[str, Any] | None:
    """The cell's document; None if it is missing or damaged."""
    return store.objects.intact_document(f"{cell_folder(key)}/cell.json")


def read_commit(store: Store, key: str, number: int) -> Commit | None:
    """The commit of an attempt; None if it is missing or damaged."""
    try:
        return Commit.from_document(number, store.objects.document(f"{cell_folder(key)}/commit/{number}") or {})
    except (NotJson, KeyError):
        return None


def _parents(document: Mapping[str, Any]) -> frozenset[str]:
    parents = document.get("parents")
    return frozenset(parents.values()) if isinstance(parents, Mapping) else frozenset()


def _parents_first(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """`documents` in an order in which parents come before children."""
    depth: dict[str, int] = {}
    stack = list(documents)
    while stack:
        key = stack[-1]
        unknown = [parent for parent in _parents(documents[key]) if parent in documents and parent not in depth]
        if key in depth or not unknown:
            depth.setdefault(key, 1 + max((depth.get(parent, 0) for parent in _parents(documents[key])), default=0))
            stack.pop()
        else:
            stack += unknown
    return {key: documents[key] for key in sorted(documents, key=lambda key: (depth[key], key))}


def _parse(registry: Registry, key: str, document: Mapping[str, Any]) -> Cell | None:
    try:
        cell = registry.cell(document)
        return cell if cell.key == key else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # of another version of the program, or of a registry with other stages
