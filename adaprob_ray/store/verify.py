"""Verify: read every artefact of a store and compare it with its commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adaprob_ray.store.contents import Corruption, in_threads, read_commit, read_document
from adaprob_ray.store.log import CellLog
from adaprob_ray.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was read, in attempts, artefacts and bytes, and what is corrupt."""

    attempts: int
    artefacts: int
    bytes: int
    corrupt: tuple[Corruption, ...]


def verify_store(
    store: Store,
    logs: Mapping[str, CellLog],
    *,
    revoke: bool = False,
    on_attempt: Callable[[], object] = lambda: None,
) -> Verification:
    """Read every artefact of every committed attempt that counts, and the document of its cell.

    Args:
        store: The store.
        logs: The cells to verify, as `Store.survey` returns them.
        revoke: Revoke the attempts that are corrupt, so that the next run computes their cells again.
        on_attempt: Called after each attempt, in any thread.

    Returns:
        What was read and what is corrupt.

    Raises:
        StoreError: If the storage fails.
    """
    attempts = committed_attempts(logs)

    def verify(attempt: tuple[str, int]) -> Verification:
        result = verify_attempt(store, *attempt)
        if revoke and result.corrupt:
            store.revoke(*attempt, str(result.corrupt[0]))
        on_attempt()
        return result

    results = in_threads(verify, attempts)
    return Verification(
        attempts=len(results),
        artefacts=sum(result.artefacts for result in results),
        bytes=sum(result.bytes for result in results),
        corrupt=tuple(corruption for result in results for corruption in result.corrupt),
    )


def committed_attempts(logs: Mapping[str, CellLog]) -> list[tuple[str, int]]:
    """Key and number of each committed attempt that is not revoked, also of those that another one supersedes."""
    return [(key, number) for key in sorted(logs) for number in sorted(logs[key].commits - logs[key].revoked)]


def verify_attempt(store: Store, key: str, number: int) -> Verification:
    """Read the artefacts of one committed attempt, and the document of its cell."""
    faults: dict[str, str] = {}
    size = 0
    if read_document(store, key) is None:
        faults["cell.json"] = "is missing or cannot be read"
    commit = read_commit(store, key, number)
    if commit is None:
        faults["the commit"] = "cannot be read"
    files = commit.files if commit else {}
    for name in sorted(files):
        data = store.objects.get(f"attempts/{key}/{number}/{name}")
        size += len(data or b"")
        if commit is not None and (fault := commit.fault(name, data)) is not None:
            faults[name] = fault
    corrupt = tuple(Corruption(key=key, attempt=number, name=name, reason=text) for name, text in faults.items())
    return Verification(attempts=1, artefacts=len(files), bytes=size, corrupt=corrupt)
