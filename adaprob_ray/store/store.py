"""The store of finished work: cells, their attempts and what those left, in a folder or at a URI.

    store.json                the format
    cells/KEY/cell.json       what the cell is, put before each lease
    cells/KEY/lease/N         created only if absent: whoever creates it owns attempt N
    cells/KEY/beat/N          overwritten by that owner every 5 s (see lease.py)
    cells/KEY/commit/N        names, sizes and sha256 of the files, and facts: THE commit point, created after all files
    cells/KEY/failed/N        class, message, traceback, log
    cells/KEY/released/N      interrupted on purpose; the cell is free at once
    cells/KEY/revoked/N       the attempt counts no more, and why
    attempts/KEY/N/NAME       the artefacts
    checkpoints/KEY/N         how far attempt N has come, replaced as it goes on; dropped once the cell is done

A cell is done when some commit/N has no revoked/N; the lowest such N is the one that is read. Each object appears
whole or not at all, none of an ended attempt changes, and no number is used twice: so whatever stops at whatever
point, a cell is either done with all its files, or ready again.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from adaprob_ray.errors import CorruptArtefact, InputError, NoStore, NotDone, StoreError
from adaprob_ray.store import attempt as lease
from adaprob_ray.store.attempt import (
    HEARTBEAT_SECONDS,
    NAME,
    STALE_SECONDS,
    Attempt,
    CellLog,
    LeaseWatcher,
    group,
    now,
    require,
    token_of,
    unsealed,
)
from adaprob_ray.store.objects import NotJson, Objects, json_bytes, parse

__all__ = ["HEARTBEAT_SECONDS", "STALE_SECONDS", "Attempt", "CellLog", "Commit", "LeaseWatcher", "Store"]

FORMAT = 1
RESERVED = ("cells", "attempts", "checkpoints", "store.json")

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One committed attempt. `files`: name -> {"size": bytes, "sha256": hex digest}; `at`: ISO 8601, UTC."""

    number: int
    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    at: str


class Store:
    """One store. `location`: absolute path or URI. All errors of the storage below are StoreError, in one line.

    `objects`: what its attempts write through; nobody else does.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.location = objects.location
        self._watcher = LeaseWatcher()

    @classmethod
    def open(cls, location: str | os.PathLike[str], *, create: bool = True) -> Store:
        """The store at a folder or an s3://, gs:// or az:// URI (endpoint and credentials from AWS_* and the like).

        `create`: make it if need be and try that it can be written; otherwise write nothing.
        Raises InputError, one line, if that is impossible.
        """
        objects = Objects.open(location, create=create)
        store = cls(objects)
        try:
            if create:
                store._try_to_write()
            format_ = objects.document("store.json")
        except StoreError as error:
            raise InputError(str(error)) from error
        if format_ is None:
            raise NoStore(f"store {store.location}: there is no store here")
        if format_.get("format") != FORMAT:
            raise InputError(
                f"store {store.location}: format {format_.get('format')!r} is not {FORMAT}, the one known here"
            )
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the store anew: what this one's clock and connections have seen is of no use there."""
        return _reopen, (self.location,)

    # --- what is there

    def survey(self) -> dict[str, CellLog]:
        """The log of every cell, from one listing."""
        return group(self.objects.list("cells"))

    def log(self, key: str) -> CellLog:
        """The log of one cell; empty if nobody ever began it."""
        return group(self.objects.list(_cell(key))).get(key, CellLog())

    def cell(self, key: str) -> dict[str, Any] | None:
        """What the cell is, as `begin` was told; None if nobody ever began it.

        Raises StoreError if it cannot be read; that of a done cell is CorruptArtefact, and its commit is revoked: the
        next attempt writes it anew.
        """
        try:
            document = self.objects.document(f"{_cell(key)}/cell.json")
        except NotJson:
            if (number := self.log(key).done) is None:
                raise
            raise self._corrupt(key, number, "cell.json", "cannot be read") from None
        if document is None and (number := self.log(key).done) is not None:
            raise self._corrupt(key, number, "cell.json", "is missing")
        return document

    def commit(self, key: str) -> Commit | None:
        """The commit that counts; None if the cell is not done. An unreadable one is revoked: CorruptArtefact."""
        number = self.log(key).done
        return None if number is None else self._commit(key, number)

    def peek(self, key: str) -> Commit | None:
        """The commit that counts, without a word to anybody if it is unreadable: None then too. Writes nothing."""
        number = self.log(key).done
        if number is None:
            return None
        try:
            return self._parsed_commit(key, number)
        except (NotJson, KeyError):
            return None

    def failure(self, key: str, number: int | None = None) -> dict[str, Any] | None:
        """class, message, traceback, log and at of failed attempt `number`, by default the last; None without one."""
        if number is None:
            number = max(self.log(key).failed, default=None)
        return None if number is None else self.objects.document(f"{_cell(key)}/failed/{number}")

    def holder(self, key: str, number: int) -> dict[str, Any] | None:
        """Who began attempt `number`: owner, run, host, boot, pid, pid_started, at. None if unknown."""
        try:
            return self.objects.document(f"{_cell(key)}/lease/{number}")
        except NotJson:
            return None

    def beat_token(self, key: str, number: int) -> str | None:
        """The token of the newest heartbeat, past any cached listing; None before the first."""
        return token_of(self.objects.head(f"{_cell(key)}/beat/{number}"))

    def bytes_held(self) -> int:
        """Bytes of all artefacts, those of failed and revoked attempts included."""
        return sum(entry["size"] for entry in self.objects.list("attempts"))

    # --- artefacts

    def read(self, key: str, name: str) -> bytes:
        """An artefact of a done cell, checked against its commit.

        Raises NotDone if there is no commit, StoreError for a name that it does not hold. If the file is missing or
        differs, the attempt is revoked and CorruptArtefact raised.
        """
        commit = self.commit(key)
        if commit is None:
            raise NotDone(key)
        if name not in commit.files:
            known = ", ".join(sorted(commit.files)) or "none"
            raise StoreError(f"store {self.location}: cell {key} has no artefact {name!r} (known: {known})")
        data = self.objects.get(f"attempts/{key}/{commit.number}/{name}")
        reason = _difference(data, commit.files[name])
        if reason is not None or data is None:
            raise self._corrupt(key, commit.number, name, reason or "is missing")
        return data

    def read_json(self, key: str, name: str) -> Any:
        """An artefact, parsed. Raises as `read` does, and StoreError if it is not JSON."""
        return parse(self.read(key, name), f"store {self.location}: {name} of cell {key}")

    def revoke(self, key: str, number: int, reason: str) -> None:
        """Let attempt `number` count no more. The first reason stands."""
        self.objects.create(f"{_cell(key)}/revoked/{number}", {"reason": reason, "at": now()})

    def check_sizes(self, keys: Iterable[str]) -> list[CorruptArtefact]:
        """Revoke the commits of `keys` whose files are missing or of another size; contents are not read.

        Two listings and one small object per done cell. A cell that is not done has nothing to check.
        """
        logs = self.survey()
        done = [(key, number) for key in keys if key in logs and (number := logs[key].done) is not None]
        sizes = {entry["path"]: entry["size"] for entry in self.objects.list("attempts")}
        with ThreadPoolExecutor(16) as pool:
            found = pool.map(lambda cell: self._check_sizes(cell[0], cell[1], sizes), done)
            return [error for error in found if error is not None]

    # --- attempts

    def begin(
        self, key: str, document: Mapping[str, Any], *, owner: str, run: str, watcher: LeaseWatcher | None = None
    ) -> Attempt | None:
        """Take the cell. None if it is done, held by a live owner, or lost to another in this moment; never waits.

        `document`: what the cell is. `owner`, `run`: for people who read the lease. `watcher`: who judges a present
        holder, by default this store's own, which has to see 30 s of silence itself.
        """
        log = self.log(key)
        if log.done is not None or (watcher or self._watcher).is_live(self, key, log):
            return None
        self.objects.put(f"{_cell(key)}/cell.json", json_bytes(document))
        number = (log.last or 0) + 1
        # The token tells this lease from any other, see Objects.create.
        words = {"owner": owner, "run": run, "at": now(), "token": uuid.uuid4().hex}
        if not self.objects.create(f"{_cell(key)}/lease/{number}", words | lease.this_process()):
            return None
        attempt = Attempt(self, key, number)
        # A holder taken for dead may have committed between the first look and the lease.
        if self.log(key).done is not None:
            attempt.release()
            return None
        lease.HEART.watch(attempt)
        return attempt

    # --- checkpoints

    def checkpoints(self, key: str) -> Iterator[bytes]:
        """What attempts left by `Attempt.keep`, the newest first; one that is not whole is passed over."""
        for number in sorted(self._checkpoints(key), reverse=True):
            data = self.objects.get(f"checkpoints/{key}/{number}")
            if data is not None and (content := unsealed(data)) is not None:
                yield content

    def drop_checkpoints(self, key: str) -> None:
        """Delete them: the cell is done."""
        paths = [f"checkpoints/{key}/{number}" for number in self._checkpoints(key)]
        self.objects.delete(paths)

    def _checkpoints(self, key: str) -> list[int]:
        """Numbers of attempts; what else lies there (NFS and desktops leave files of their own) is passed over."""
        entries = self.objects.list(f"checkpoints/{require(_KEY, key, 'cell key')}")
        names = [entry["path"].rpartition("/")[2] for entry in entries]
        return [int(name) for name in names if name.isdecimal()]

    # --- texts beside the cells

    def put_text(self, path: str, text: str) -> None:
        """Put or replace a text. Raises InputError for a path that the store keeps for itself."""
        self.objects.put(_free(path), text.encode())

    def get_text(self, path: str) -> str | None:
        """The text at `path`; None if there is none."""
        data = self.objects.get(_free(path))
        return None if data is None else data.decode()

    def list_texts(self, prefix: str) -> list[str]:
        """Sorted paths of the texts in folder `prefix`."""
        return sorted(entry["path"] for entry in self.objects.list(_free(prefix)))

    # --- inside

    def _commit(self, key: str, number: int) -> Commit:
        try:
            return self._parsed_commit(key, number)
        except (NotJson, KeyError) as error:
            raise self._corrupt(key, number, "the commit", "cannot be read") from error

    def _parsed_commit(self, key: str, number: int) -> Commit:
        document = self.objects.document(f"{_cell(key)}/commit/{number}") or {}
        return Commit(number=number, **{name: document[name] for name in ("files", "facts", "at")})

    def _check_sizes(self, key: str, number: int, sizes: Mapping[str, int]) -> CorruptArtefact | None:
        try:
            files = self._commit(key, number).files
        except CorruptArtefact as error:
            return error
        for name, expected in files.items():
            path = f"attempts/{key}/{number}/{name}"
            # A listing may be old (see lease.py), so ask again before condemning.
            if (
                sizes.get(path) == expected["size"]
                or (head := self.objects.head(path) or {}).get("size") == expected["size"]
            ):
                continue
            reason = f"has {head['size']} bytes, not {expected['size']}" if head else "is missing"
            return self._corrupt(key, number, name, reason)
        return None

    def _corrupt(self, key: str, number: int, name: str, reason: str) -> CorruptArtefact:
        self.revoke(key, number, f"{name} {reason}")
        return CorruptArtefact(key, number, name, reason)

    def _try_to_write(self) -> None:
        probe = f"writable-{uuid.uuid4().hex}"
        self.objects.put(probe, b"may be deleted")
        self.objects.delete([probe])
        self.objects.create("store.json", {"format": FORMAT})


def _reopen(location: str) -> Store:
    return Store.open(location, create=False)


def _difference(data: bytes | None, expected: Mapping[str, Any]) -> str | None:
    if data is None:
        return "is missing"
    if len(data) != expected["size"]:
        return f"has {len(data)} bytes, not {expected['size']}"
    return None if hashlib.sha256(data).hexdigest() == expected["sha256"] else "has another sha256 than its commit"


def _cell(key: str) -> str:
    return f"cells/{require(_KEY, key, 'cell key')}"


def _free(path: str) -> str:
    if require(NAME, path, "path").partition("/")[0].lower() in RESERVED:
        raise InputError(f"path {path!r} belongs to the store itself (reserved: {', '.join(RESERVED)})")
    return path
