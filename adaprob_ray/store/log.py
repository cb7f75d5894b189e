"""A cell's attempts: the log of their events, read from a listing of the store, and the commit of one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_FIELD_OF_FOLDER = {
    "lease": "leases",
    "commit": "commits",
    "failed": "failed",
    "released": "released",
    "revoked": "revoked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLog:
    """Numbers (from 1) of a cell's attempts, by event. `beats`: attempt number -> etag of its newest heartbeat.

    `last_modified`: when the newest object of the log was written, by the storage's clock; for people only.
    """

    leases: frozenset[int] = frozenset()
    commits: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()
    released: frozenset[int] = frozenset()
    revoked: frozenset[int] = frozenset()
    beats: Mapping[int, str] = field(default_factory=dict, hash=False)
    last_modified: datetime | None = field(default=None, compare=False)

    @property
    def done(self) -> int | None:
        """The lowest committed attempt that is not revoked; None if the cell is not done."""
        return min(self.commits - self.revoked, default=None)

    @property
    def open_attempts(self) -> frozenset[int]:
        """Attempts that hold a lease and have not ended: they run, or their process died."""
        return self.leases - self.commits - self.failed - self.released - self.revoked

    @property
    def last(self) -> int | None:
        """The highest attempt number in any event; None if there was no attempt."""
        return max(self.leases | self.commits | self.failed | self.released | self.revoked, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One committed attempt. `files`: name -> {"size": bytes, "sha256": hex digest}; `at`: ISO 8601, UTC."""

    number: int
    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    at: str

    @classmethod
    def from_document(cls, number: int, document: Mapping[str, Any]) -> Commit:
        """The commit of attempt `number` as the store has it. Raises KeyError for an incomplete one."""
        return cls(number=number, files=document["files"], facts=document["facts"], at=document["at"])

    def fault(self, name: str, data: bytes | None) -> str | None:
        """How what was read of artefact `name` differs from what was committed, for messages; None if it does not."""
        size = self.files[name]["size"]
        if data is None:
            return "is missing"
        if len(data) != size:
            return f"has {len(data)} bytes, not {size}"
        same = hashlib.sha256(data).hexdigest() == self.files[name]["sha256"]
        return None if same else "has another sha256 than its commit"


def logs_from_listing(entries: Iterable[Mapping[str, Any]]) -> dict[str, CellLog]:
    """The log of each cell from a listing of objects under cells/. Objects outside the store layout are ignored."""
    numbers: dict[str, dict[str, list[int]]] = {}
    beats: dict[str, dict[int, str]] = {}
    modified: dict[str, datetime] = {}
    for entry in entries:
        _, key, *rest = entry["path"].split("/")
        cell = numbers.setdefault(key, {})
        modified[key] = max(modified.get(key, entry["last_modified"]), entry["last_modified"])
        if len(rest) == 2 and rest[1].isdecimal():
            folder, number = rest[0], int(rest[1])
            if folder == "beat":
                beats.setdefault(key, {})[number] = etag(entry) or ""
            elif folder in _FIELD_OF_FOLDER:
                cell.setdefault(_FIELD_OF_FOLDER[folder], []).append(number)
    return {
        key: CellLog(
            beats=beats.get(key, {}),
            last_modified=modified[key],
            **{name: frozenset(attempts) for name, attempts in cell.items()},
        )
        for key, cell in numbers.items()
    }


def etag(entry: Mapping[str, Any] | None) -> str | None:
    """A string that changes with every write of an object: its ETag, where the storage has them. None for no object."""
    return None if entry is None else str(entry["e_tag"] or f"{entry['last_modified']} {entry['size']}")
