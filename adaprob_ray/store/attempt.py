"""Attempts: the right to execute a cell once, from lease to commit, failure or release."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaprob_ray.errors import Failure, LeaseLost, StoreError
from adaprob_ray.store.heartbeat import HeartbeatThread, heartbeat_thread
from adaprob_ray.store.log import CellLog
from adaprob_ray.store.names import OBJECT_NAME, cell_folder, checkpoint_folder, validate_name
from adaprob_ray.store.objects import json_bytes, seal, timestamp

if TYPE_CHECKING:
    from adaprob_ray.store.store import Store


class Attempt:
    """Attempt `number` of cell `key`, as `Store.begin` returns it.

    End it by `commit`, `fail` or `release`; leaving a `with` block releases an attempt that is still open.

    Example:
        >>> import tempfile
        >>> from adaprob_ray.store import Store
        >>> store = Store.open(tempfile.mkdtemp())
        >>> with store.begin("ab12", {"stage": "train"}, owner="me", run="first") as attempt:
        ...     attempt.write("answer.txt", b"42")
        ...     attempt.commit({"seconds": 0.1})
        >>> store.read("ab12", "answer.txt")
        b'42'
    """

    def __init__(self, store: Store, key: str, number: int) -> None:
        self.key, self.number = key, number
        self._store = store
        self._files: dict[str, dict[str, Any]] = {}
        self._end_kind = ""
        self._beats = 0
        self._heartbeat: HeartbeatThread | None = None

    def write(self, name: str, data: bytes) -> None:
        """Write an artefact. Invisible until the attempt commits; the write is atomic.

        Args:
            name: Its name, which may contain folders.
            data: Its content.

        Raises:
            InputError: If the name is not valid.
            StoreError: If the attempt has ended or the storage fails.
        """
        self._require_open()
        validate_name(OBJECT_NAME, name, "artefact name")
        self._store.objects.put(f"attempts/{self.key}/{self.number}/{name}", data)
        self._files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def save_checkpoint(self, checkpoint: bytes) -> None:
        """Save a checkpoint that a later attempt can resume from, in place of the last. Not an artefact."""
        self._require_open()
        self._store.objects.put(f"{checkpoint_folder(self.key)}/{self.number}", seal(checkpoint))

    def commit(self, facts: Mapping[str, Any], *, at: str | None = None) -> None:
        """Make the cell done, with the artefacts written so far.

        Args:
            facts: Values for `Commit.facts`, as JSON has them.
            at: When the work was committed in the store that it is copied from; by default now.

        Raises:
            LeaseLost: If this attempt was revoked or another one is committed. Of two attempts that commit at the same
                moment at most one succeeds; in the worst case both are revoked and the cell is free again.
            InputError: If the facts are not JSON.
            StoreError: If the attempt has ended or the storage fails. After any error in the facts or the storage the
                attempt is still open: commit again, fail or release.
        """
        self._require_open()
        log = self._store.log(self.key)
        if self.number in log.revoked:
            raise LeaseLost(f"attempt {self.number} of cell {self.key} was revoked")
        self._require_only_commit(log)
        self._end("commit", {"files": self._files, "facts": facts, "at": at})
        # Storage can guard one object, not two: a rival may have committed between the look above and this commit.
        # Each of the two looks again after its own commit, so that at least the later one sees the other.
        try:
            self._require_only_commit(self._store.log(self.key))
        except LeaseLost as error:
            self._store.revoke(self.key, self.number, str(error))
            raise

    def fail(self, failure: Failure) -> None:
        """Store the failure; the cell is not done and free again."""
        self._end("failed", failure.document())

    def release(self) -> None:
        """Give the cell up without a result; it is free at once."""
        self._end("released", {})

    def start_heartbeat(self) -> None:
        """Let this process's thread write heartbeats until the attempt ends."""
        self._heartbeat = heartbeat_thread()
        self._heartbeat.watch(self)

    def beat(self) -> None:
        """Write one heartbeat. The count makes each differ, even where an etag is a hash of the content."""
        self._beats += 1
        path = f"{cell_folder(self.key)}/beat/{self.number}"
        self._store.objects.put(path, json_bytes({"count": self._beats, "at": timestamp()}))

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._end_kind:
            self.release()

    def _require_only_commit(self, log: CellLog) -> None:
        """Raise LeaseLost if another attempt is committed. Its commit is opened: a listing may be old (lease_watcher.py)."""
        for number in sorted((log.open_attempts | log.commits) - log.revoked - {self.number}):
            if self._store.is_committed(self.key, number):
                raise LeaseLost(f"attempt {number} of cell {self.key} is committed, not {self.number}")

    def _end(self, kind: str, document: Mapping[str, Any]) -> None:
        self._require_open()
        path = f"{cell_folder(self.key)}/{kind}/{self.number}"
        ended = {**document, "at": document.get("at") or timestamp()}
        # Only the owner creates these: one that is there already is its own, from an earlier call that seemed to fail, and
        # may have another time. A commit must name the same files, or what was written since then would be lost.
        if not self._store.objects.create(path, ended) and kind == "commit":
            stored = self._store.objects.intact_document(path) or {}
            if stored.get("files") != document["files"]:
                raise StoreError(f"attempt {self.number} of cell {self.key} was committed before, with other files")
        self._end_kind = kind
        if self._heartbeat is not None:
            self._heartbeat.unwatch(self)

    def _require_open(self) -> None:
        if self._end_kind:
            raise StoreError(f"attempt {self.number} of cell {self.key} has ended ({self._end_kind})")
