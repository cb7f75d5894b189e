"""Whether the source of a method has changed since its cells were computed, while its revision has not.

The commit of a train or unlearn cell holds a digest of the modules that define its method. The digest is not part of the cell's
key: it only leads to a warning. Comments, docstrings and formatting do not count.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaprob_ray.methods.base import Method
from adaprob_ray.runtime.provenance import syntax_tree
from adaprob_ray.store import CellLog, Commit, Store
from adaprob_ray.store.contents import in_threads, read_commit
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.registry import Registry

FACT = "run_method_digest"
# Commits that a plan reads, the oldest first, which are the most likely to be of another source.
MAX_COMMITS_READ = 2000


@functools.cache
def source_digest(method: type) -> str:
    """A hash of the modules that define a method and the methods that it derives from; "" where there is no source file.

    The first call in a process decides, because an edit of a file does not change what was imported.

    >>> from adaprob_ray.methods.finetune import Finetune
    >>> len(source_digest(Finetune)), source_digest(int)
    (16, '')
    """
    bases = [base for base in method.__mro__ if issubclass(base, Method) and base.__module__ != Method.__module__]
    try:
        paths = dict.fromkeys(inspect.getfile(base) for base in bases)
        trees = [syntax_tree(Path(path).read_text(encoding="utf-8")) for path in paths]
    except (OSError, TypeError, ValueError, SyntaxError):  # defined in a console, or a file that is being edited
        return ""
    return hashlib.sha256("\0".join(trees).encode()).hexdigest()[:16] if trees else ""


def source_facts(cell: Cell, registry: Registry) -> dict[str, Any]:
    """The digest of the method that a cell runs, as a fact to commit; empty for a cell that runs none."""
    digest = source_digest(registry.methods[cell.method]) if _runs_method(cell, registry) else ""
    return {FACT: digest} if digest else {}


def _runs_method(cell: Cell, registry: Registry) -> bool:
    return cell.method in registry.methods and registry.methods[cell.method].stage == cell.stage


def method_cells(cells: Mapping[str, Cell], registry: Registry) -> list[str]:
    """Keys of the cells that run a method: an evaluation has a method too, and runs none."""
    return [key for key, cell in cells.items() if _runs_method(cell, registry)]


def oldest_method_cells(cells: Mapping[str, Cell], registry: Registry, logs: Mapping[str, CellLog]) -> list[str]:
    """Keys of the finished cells that run a method, the oldest first, at most MAX_COMMITS_READ."""
    done = [key for key in method_cells(cells, registry) if key in logs and logs[key].done is not None]

    def age(key: str) -> datetime:
        return logs[key].last_modified or datetime.min.replace(tzinfo=UTC)

    return sorted(done, key=age)[:MAX_COMMITS_READ]


def changed_methods(
    cells: Mapping[str, Cell], registry: Registry, commit: Callable[[str], Commit | None]
) -> dict[str, int]:
    """How many cells of each method were computed by another source than the present one.

    Args:
        cells: by key.
        registry: the methods.
        commit: gives the commit of a cell, None where it is not done or was not read.

    Returns:
        Counts by method. Commits without a digest, of earlier versions, do not count.
    """
    counts: Counter[str] = Counter()
    for key in method_cells(cells, registry):
        present, stored = source_digest(registry.methods[cells[key].method]), commit(key)
        digest = stored.facts.get(FACT) if stored is not None else None
        if present and digest and digest != present:
            counts[cells[key].method] += 1
    return dict(counts)


def read_changed_methods(cells: Mapping[str, Cell], store: Store, registry: Registry) -> dict[str, int]:
    """The same, from the commits in a store: one listing, and one small object for each cell that runs a method."""
    logs = store.survey()
    keys = oldest_method_cells(cells, registry, logs)
    commits = dict(zip(keys, in_threads(lambda key: _commit(store, key, logs[key]), keys), strict=True))
    return changed_methods(cells, registry, commits.get)


def _commit(store: Store, key: str, log: CellLog) -> Commit | None:
    return None if log.done is None else read_commit(store, key, log.done)


def change_line(method: str, count: int, command: str) -> str:
    """One line of a warning; `command` runs the sweep."""
    cells = "1 of its cells was" if count == 1 else f"{count} of its cells were"
    return (
        f"the source of method {method} has changed since {cells} computed, but its revision has not; recompute with: "
        f"{command} --rerun method={method}"
    )
