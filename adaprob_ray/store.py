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
    checkpoints/KEY/N         how far attempt N has come, replaced as it goes on; gone once the cell is done

A cell is done when some commit/N has no revoked/N; the lowest such N is the one that is read. Each object appears
whole or not at all, none of an ended attempt changes, and no number is used twice: so whatever stops at whatever
point, a cell is either done with all its files, or ready again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from adaprob_ray import lease
from adaprob_ray.errors import CorruptArtefact, InputError, NoStore, NotDone, StoreError
from adaprob_ray.lease import (
    HEARTBEAT_SECONDS,
    NAME,
    STALE_SECONDS,
    Attempt,
    CellLog,
    LeaseWatcher,
    canonical,
    group,
    now,
    require,
    token_of,
    unsealed,
)

__all__ = ["HEARTBEAT_SECONDS", "STALE_SECONDS", "Attempt", "CellLog", "Commit", "LeaseWatcher", "Store"]

FORMAT = 1
SCHEMES = ("s3", "gs", "az")
RESERVED = ("cells", "attempts", "checkpoints", "store.json")
# The default goes on for three minutes: too long for a mistyped endpoint, and longer than a lease lives.
RETRY: Any = {"max_retries": 10, "retry_timeout": timedelta(seconds=30)}

_ANSWER = re.compile(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One committed attempt. `files`: name -> {"size": bytes, "sha256": hex digest}; `at`: ISO 8601, UTC."""

    number: int
    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    at: str


class Store:
    """One store. `location`: absolute path or URI. All errors of the storage below are StoreError, in one line."""

    def __init__(self, objects: Any, location: str) -> None:
        self._objects = objects
        self.location = location
        self._watcher = LeaseWatcher()

    @classmethod
    def open(cls, location: str | os.PathLike[str], *, create: bool = True) -> Store:
        """The store at a folder or an s3://, gs:// or az:// URI (endpoint and credentials from AWS_* and the like).

        `create`: make it if need be and try that it can be written; otherwise write nothing.
        Raises InputError, one line, if that is impossible.
        """
        objects, place = _connect(os.fspath(location), create)
        store = cls(objects, place)
        try:
            if create:
                store._try_to_write()
            format_ = store._document("store.json")
        except StoreError as error:
            raise InputError(str(error)) from error
        if format_ is None:
            raise NoStore(f"store {place}: there is no store here")
        if format_.get("format") != FORMAT:
            raise InputError(f"store {place}: format {format_.get('format')!r} is not {FORMAT}, the one known here")
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the store anew: what this one's clock and connections have seen is of no use there."""
        return _reopen, (self.location,)

    # --- what is there

    def survey(self) -> dict[str, CellLog]:
        """The log of every cell, from one listing."""
        return group(self._list("cells"))

    def log(self, key: str) -> CellLog:
        """The log of one cell; empty if nobody ever began it."""
        return group(self._list(_cell(key))).get(key, CellLog())

    def cell(self, key: str) -> dict[str, Any] | None:
        """What the cell is, as `begin` was told; None if nobody ever began it.

        Raises StoreError if it cannot be read; that of a done cell is CorruptArtefact, and its commit is revoked: the
        next attempt writes it anew.
        """
        try:
            document = self._document(f"{_cell(key)}/cell.json")
        except _NotJson:
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
        except (_NotJson, KeyError):
            return None

    def failure(self, key: str, number: int | None = None) -> dict[str, Any] | None:
        """class, message, traceback, log and at of failed attempt `number`, by default the last; None without one."""
        if number is None:
            number = max(self.log(key).failed, default=None)
        return None if number is None else self._document(f"{_cell(key)}/failed/{number}")

    def holder(self, key: str, number: int) -> dict[str, Any] | None:
        """Who began attempt `number`: owner, run, host, boot, pid, pid_started, at. None if unknown."""
        try:
            return self._document(f"{_cell(key)}/lease/{number}")
        except _NotJson:
            return None

    def beat_token(self, key: str, number: int) -> str | None:
        """The token of the newest heartbeat, past any cached listing; None before the first."""
        return token_of(self._head(f"{_cell(key)}/beat/{number}"))

    def bytes_held(self) -> int:
        """Bytes of all artefacts, those of failed and revoked attempts included."""
        return sum(entry["size"] for entry in self._list("attempts"))

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
        data = self._get(f"attempts/{key}/{commit.number}/{name}")
        reason = _difference(data, commit.files[name])
        if reason is not None or data is None:
            raise self._corrupt(key, commit.number, name, reason or "is missing")
        return data

    def read_json(self, key: str, name: str) -> Any:
        """An artefact, parsed. Raises as `read` does, and StoreError if it is not JSON."""
        return _parse(self.read(key, name), f"store {self.location}: {name} of cell {key}")

    def revoke(self, key: str, number: int, reason: str) -> None:
        """Let attempt `number` count no more. The first reason stands."""
        self._create(f"{_cell(key)}/revoked/{number}", {"reason": reason, "at": now()})

    def check_sizes(self, keys: Iterable[str]) -> list[CorruptArtefact]:
        """Revoke the commits of `keys` whose files are missing or of another size; contents are not read.

        Two listings and one small object per done cell. A cell that is not done has nothing to check.
        """
        logs = self.survey()
        done = [(key, number) for key in keys if key in logs and (number := logs[key].done) is not None]
        sizes = {entry["path"]: entry["size"] for entry in self._list("attempts")}
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
        self._put(f"{_cell(key)}/cell.json", canonical(document))
        number = (log.last or 0) + 1
        # The token tells this lease from any other, see _create.
        words = {"owner": owner, "run": run, "at": now(), "token": uuid.uuid4().hex}
        if not self._create(f"{_cell(key)}/lease/{number}", words | lease.this_process()):
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
            data = self._get(f"checkpoints/{key}/{number}")
            if data is not None and (content := unsealed(data)) is not None:
                yield content

    def drop_checkpoints(self, key: str) -> None:
        """Delete them: the cell is done."""
        paths = [f"checkpoints/{key}/{number}" for number in self._checkpoints(key)]
        if paths:
            with self._storage():
                obstore.delete(self._objects, paths)

    def _checkpoints(self, key: str) -> list[int]:
        """Numbers of attempts; what else lies there (NFS and desktops leave files of their own) is passed over."""
        entries = self._list(f"checkpoints/{require(_KEY, key, 'cell key')}")
        names = [entry["path"].rpartition("/")[2] for entry in entries]
        return [int(name) for name in names if name.isdecimal()]

    # --- texts beside the cells

    def put_text(self, path: str, text: str) -> None:
        """Put or replace a text. Raises InputError for a path that the store keeps for itself."""
        self._put(_free(path), text.encode())

    def get_text(self, path: str) -> str | None:
        """The text at `path`; None if there is none."""
        data = self._get(_free(path))
        return None if data is None else data.decode()

    def list_texts(self, prefix: str) -> list[str]:
        """Sorted paths of the texts in folder `prefix`."""
        return sorted(entry["path"] for entry in self._list(_free(prefix)))

    # --- inside

    def _commit(self, key: str, number: int) -> Commit:
        try:
            return self._parsed_commit(key, number)
        except (_NotJson, KeyError) as error:
            raise self._corrupt(key, number, "the commit", "cannot be read") from error

    def _parsed_commit(self, key: str, number: int) -> Commit:
        document = self._document(f"{_cell(key)}/commit/{number}") or {}
        return Commit(number=number, **{name: document[name] for name in ("files", "facts", "at")})

    def _check_sizes(self, key: str, number: int, sizes: Mapping[str, int]) -> CorruptArtefact | None:
        try:
            files = self._commit(key, number).files
        except CorruptArtefact as error:
            return error
        for name, expected in files.items():
            path = f"attempts/{key}/{number}/{name}"
            # A listing may be old (see lease.py), so ask again before condemning.
            if sizes.get(path) == expected["size"] or (head := self._head(path) or {}).get("size") == expected["size"]:
                continue
            reason = f"has {head['size']} bytes, not {expected['size']}" if head else "is missing"
            return self._corrupt(key, number, name, reason)
        return None

    def _corrupt(self, key: str, number: int, name: str, reason: str) -> CorruptArtefact:
        self.revoke(key, number, f"{name} {reason}")
        return CorruptArtefact(key, number, name, reason)

    def _try_to_write(self) -> None:
        probe = f"writable-{uuid.uuid4().hex}"
        self._put(probe, b"may be deleted")
        with self._storage():
            obstore.delete(self._objects, probe)
        self._create("store.json", {"format": FORMAT})

    def _put(self, path: str, data: bytes) -> None:
        with self._storage():
            obstore.put(self._objects, path, data)

    def _create(self, path: str, document: Mapping[str, Any]) -> bool:
        """Whether the object was absent and is now this document."""
        data = canonical(document)
        with self._storage():
            try:
                obstore.put(self._objects, path, data, mode="create")
            except AlreadyExistsError:
                # A repeated request (S3, NFS) may meet what its own first try made, whose answer was lost.
                return self._get(path) == data
        return True

    def _get(self, path: str) -> bytes | None:
        with self._storage():
            try:
                return obstore.get(self._objects, path).bytes().to_bytes()
            except FileNotFoundError:
                return None

    def _head(self, path: str) -> Mapping[str, Any] | None:
        with self._storage():
            try:
                return obstore.head(self._objects, path)
            except FileNotFoundError:
                return None

    def _list(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        with self._storage():
            for chunk in obstore.list(self._objects, prefix, chunk_size=1000):
                yield from chunk

    def _document(self, path: str) -> dict[str, Any] | None:
        data = self._get(path)
        if data is None:
            return None
        document = _parse(data, f"store {self.location}: {path}")
        if not isinstance(document, dict):
            raise _NotJson(f"store {self.location}: {path} is not a JSON object")
        return document

    @contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise StoreError(f"store {self.location}: {_one_line(error)}") from error


class _NotJson(StoreError):
    """An object of the store that should be JSON is not: cut off by a power failure, or altered."""


def _reopen(location: str) -> Store:
    return Store.open(location, create=False)


def _connect(location: str, create: bool) -> tuple[Any, str]:
    """An object store and the absolute name of its place. Raises InputError."""
    scheme, separator, _ = location.partition("://")
    try:
        if not separator:
            folder = Path(location).expanduser().absolute()
            return _folder(folder, create), str(folder)
        if scheme in SCHEMES:
            return from_url(location, retry_config=RETRY), location
    except (BaseError, OSError) as error:
        raise InputError(f"store {location}: {_one_line(error)}") from error
    possible = ", ".join(f"{known}://" for known in SCHEMES)
    raise InputError(f"store {location}: unknown scheme {scheme!r} (possible: {possible}, or the path of a folder)")


def _folder(folder: Path, create: bool) -> LocalStore:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"store {folder}: {there} is a file, not a folder")
    if not create and there != folder:
        raise NoStore(f"store {folder}: there is no such folder")
    return LocalStore(folder, mkdir=create)


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


def _parse(data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise _NotJson(f"{what} is not JSON") from error


def _one_line(error: Exception) -> str:
    """What the storage service answered, or else the first paragraph: obstore's others are its own debugging."""
    answer = _ANSWER.search(str(error))
    text = ": ".join(answer.groups()) if answer else str(error).partition("\n\n")[0]
    return " ".join(text.split())[:300]
