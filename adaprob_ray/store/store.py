"""The store of finished work: cells, their attempts and the artefacts of those, in a folder or at a URI.

    store.json                the format
    cells/KEY/cell.json       what the cell is, written before each lease
    cells/KEY/lease/N         created only if absent: whoever creates it owns attempt N
    cells/KEY/beat/N          overwritten by that owner every 5 s (see lease_watcher.py)
    cells/KEY/commit/N        names, sizes and sha256 of the files, and facts: THE commit point, created after all files
    cells/KEY/failed/N        class, message, traceback, log
    cells/KEY/released/N      interrupted on purpose; the cell is free at once
    cells/KEY/revoked/N       the attempt no longer counts, and why
    attempts/KEY/N/NAME       the artefacts
    checkpoints/KEY/N         the last checkpoint of attempt N; deleted once the cell is done

A cell is done when some commit/N has no revoked/N; a second commit is refused or revoked, and the lowest such N is read.
Each object is written completely or not at all, objects of an ended attempt never change, and no number is used twice:
whatever stops at whatever point, a cell is either done with all its files or ready to be executed again.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

from adaprob_ray.errors import CorruptArtefact, Failure, InputError, NoArtefact, NotDone, StoreError
from adaprob_ray.store.attempt import Attempt
from adaprob_ray.store.description import create_description, read_description, require_conditional_writes
from adaprob_ray.store.holder import Holder, this_process
from adaprob_ray.store.lease_watcher import LeaseWatcher
from adaprob_ray.store.log import CellLog, Commit, etag, logs_from_listing
from adaprob_ray.store.names import cell_folder, checkpoint_folder, reject_reserved
from adaprob_ray.store.objects import NotJson, Objects, json_bytes, parse_json, timestamp, unseal

CHECK_THREADS = 16  # requests at once, because on S3 each one waits for the network


class Store:
    """One store, at `location` (absolute path or URI). Every storage error is raised as StoreError, in one line.

    `objects` is for this package only.

    Example:
        >>> import tempfile
        >>> store = Store.open(tempfile.mkdtemp())
        >>> attempt = store.begin("ab12", {"stage": "train", "seed": 1}, owner="me", run="first")
        >>> attempt.write("weights.bin", b"0123")
        >>> attempt.commit({"seconds": 1.5})
        >>> store.log("ab12").done
        1
        >>> store.commit("ab12").facts["seconds"], store.read("ab12", "weights.bin")
        (1.5, b'0123')
        >>> store.begin("ab12", {}, owner="me", run="second") is None  # it is done
        True
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.location = objects.location
        self._watcher = LeaseWatcher()

    @classmethod
    def open(cls, location: str | os.PathLike[str], *, create: bool = True) -> Store:
        """Open a store, or create one.

        Args:
            location: A folder, or an s3://, gs:// or az:// URI; endpoint and credentials come from AWS_* and the like.
            create: Create the store if there is none, and check that it can be written. False writes nothing.

        Returns:
            The store.

        Raises:
            InputError: If it cannot be opened; the message is one line.
            NoStore: If there is none and `create` is False.
        """
        objects = Objects.open(location, create=create)
        try:
            if create:
                require_conditional_writes(objects)
                create_description(objects)
            objects.is_shared = read_description(objects).get("group") is True and objects.folder is not None
        except StoreError as error:
            raise InputError(str(error)) from error
        return cls(objects)

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickle by reopening: connections and lease observations are per process."""
        return partial(type(self).open, create=False), (self.location,)

    def survey(self) -> dict[str, CellLog]:
        """The log of every cell, from one listing."""
        return logs_from_listing(self.objects.list("cells"))

    def log(self, key: str) -> CellLog:
        """The log of one cell; empty if nobody ever began it."""
        return logs_from_listing(self.objects.list(cell_folder(key))).get(key, CellLog())

    def cell(self, key: str) -> dict[str, Any] | None:
        """The document that `begin` stored for the cell; None if nobody ever began it.

        Raises CorruptArtefact, and revokes the commit, if the cell is done and the document is missing or damaged.
        """
        try:
            document = self.objects.document(f"{cell_folder(key)}/cell.json")
        except NotJson:
            if (number := self.log(key).done) is None:
                raise
            raise self._corrupt(key, number, "cell.json", "cannot be read") from None
        if document is None and (number := self.log(key).done) is not None:
            raise self._corrupt(key, number, "cell.json", "is missing")
        return document

    def commit(self, key: str) -> Commit | None:
        """The commit that counts; None if the cell is not done. Raises CorruptArtefact, and revokes it, if it is damaged."""
        number = self.log(key).done
        return None if number is None else self._commit(key, number)

    def peek(self, key: str) -> Commit | None:
        """Like `commit`, but returns None instead of revoking a damaged commit. Writes nothing."""
        number = self.log(key).done
        with suppress(NotJson, KeyError):
            return None if number is None else self._parsed_commit(key, number)
        return None

    def is_committed(self, key: str, number: int) -> bool:
        """Whether attempt `number` has a commit, not from a cached listing. One that is damaged is revoked, and is none."""
        if self.objects.head(f"{cell_folder(key)}/commit/{number}") is None:
            return False
        with suppress(CorruptArtefact):
            self._commit(key, number)
            return True
        return False

    def failure(self, key: str, number: int | None = None) -> Failure | None:
        """How attempt `number` failed, by default the last one that did; None if none failed."""
        if number is None:
            number = max(self.log(key).failed, default=None)
        try:
            document = None if number is None else self.objects.document(f"{cell_folder(key)}/failed/{number}")
        except NotJson as error:
            return Failure(failure_class="storage", message=f"{error}: why attempt {number} failed is not known")
        return None if document is None else Failure.from_document(document)

    def holder(self, key: str, number: int) -> Holder | None:
        """Who began attempt `number`; None if its lease is missing or damaged."""
        document = self.objects.intact_document(f"{cell_folder(key)}/lease/{number}")
        return None if document is None else Holder.from_document(document)

    def beat_etag(self, key: str, number: int) -> str | None:
        """The etag of the newest heartbeat, not from a cached listing; None before the first."""
        return etag(self.objects.head(f"{cell_folder(key)}/beat/{number}"))

    def read(self, key: str, name: str) -> bytes:
        """Read an artefact of a done cell, checked against its commit.

        Args:
            key: The cell's key.
            name: The artefact's name.

        Returns:
            Its content.

        Raises:
            NotDone: If the cell has no commit.
            CorruptArtefact: If the file is missing or differs from its commit. The attempt is revoked.
            NoArtefact: If the commit has no such artefact.
            StoreError: If the storage fails.
        """
        commit = self.commit(key)
        if commit is None:
            raise NotDone(key)
        if name not in commit.files:
            names = ", ".join(sorted(commit.files)) or "none"
            raise NoArtefact(key, commit.number, name, names)
        data = self.objects.get(f"attempts/{key}/{commit.number}/{name}")
        fault = commit.fault(name, data)
        if data is None or fault is not None:
            raise self._corrupt(key, commit.number, name, fault or "is missing")
        return data

    def read_json(self, key: str, name: str) -> Any:
        """An artefact, parsed. Raises as `read` does, and StoreError if it is not JSON."""
        return parse_json(self.read(key, name), f"store {self.location}: {name} of cell {key}")

    def revoke(self, key: str, number: int, reason: str) -> None:
        """Make attempt `number` count no longer. A second call does not replace the first reason."""
        self.objects.create(f"{cell_folder(key)}/revoked/{number}", {"reason": reason, "at": timestamp()})

    def check_sizes(self, keys: Iterable[str]) -> list[CorruptArtefact]:
        """Revoke the commits of `keys` whose files are missing or of another size; contents are not read.

        Two listings and one small object per done cell. Cells that are not done are skipped.
        """
        logs = self.survey()
        done = [(key, number) for key in keys if key in logs and (number := logs[key].done) is not None]
        sizes = {entry["path"]: entry["size"] for entry in self.objects.list("attempts")}
        with ThreadPoolExecutor(CHECK_THREADS) as pool:
            errors = pool.map(lambda attempt: self._check_attempt(attempt[0], attempt[1], sizes), done)
            return [error for error in errors if error is not None]

    def begin(
        self,
        key: str,
        document: Mapping[str, Any],
        *,
        owner: str,
        run: str,
        gpu: float | None = None,
        watcher: LeaseWatcher | None = None,
    ) -> Attempt | None:
        """Begin an attempt at a cell; never waits.

        Args:
            key: The cell's key.
            document: What the cell is, for `cell`.
            owner: The holder's name, for people who read the lease.
            run: The name of the run that it belongs to, also for people.
            gpu: How many GPUs this process was granted, also for people.
            watcher: Judges a present holder; by default this store's own, which has to observe 30 s of silence itself.

        Returns:
            The attempt, or None if the cell is done, held by a live holder, or lost to another process meanwhile.

        Raises:
            InputError: If the key is not valid or the document is not JSON.
            StoreError: If the storage fails.
        """
        log = self.log(key)
        if log.done is not None or (watcher or self._watcher).is_live(self, key, log):
            return None
        self.objects.put(f"{cell_folder(key)}/cell.json", json_bytes(document))
        number = (log.last or 0) + 1
        # The token makes every lease differ from all others, see Objects.create.
        lease = {**asdict(this_process(owner, run, gpu)), "token": uuid.uuid4().hex}
        if not self.objects.create(f"{cell_folder(key)}/lease/{number}", lease):
            return None
        attempt = Attempt(self, key, number)
        # A holder that was judged dead may have committed between the first look and the lease.
        if self.log(key).done is not None:
            attempt.release()
            return None
        attempt.start_heartbeat()
        return attempt

    def checkpoints(self, key: str) -> Iterator[bytes]:
        """Checkpoints of the cell's attempts, the newest first; damaged ones are skipped."""
        for number in sorted(self._checkpoint_numbers(key), reverse=True):
            data = self.objects.get(f"{checkpoint_folder(key)}/{number}")
            if data is not None and (content := unseal(data)) is not None:
                yield content

    def drop_checkpoints(self, key: str) -> None:
        """Delete the cell's checkpoints: it is done."""
        self.objects.delete(f"{checkpoint_folder(key)}/{number}" for number in self._checkpoint_numbers(key))

    def put_text(self, path: str, text: str) -> None:
        """Write a text outside the cells, in place of an older one. Raises InputError for a reserved path."""
        self.objects.put(reject_reserved(path), text.encode())

    def _checkpoint_numbers(self, key: str) -> list[int]:
        """Numbers of attempts with a checkpoint; files that NFS and desktops leave there are ignored."""
        names = [entry["path"].rpartition("/")[2] for entry in self.objects.list(checkpoint_folder(key))]
        return [int(name) for name in names if name.isdecimal()]

    def _commit(self, key: str, number: int) -> Commit:
        try:
            return self._parsed_commit(key, number)
        except (NotJson, KeyError) as error:
            raise self._corrupt(key, number, "the commit", "cannot be read") from error

    def _parsed_commit(self, key: str, number: int) -> Commit:
        return Commit.from_document(number, self.objects.document(f"{cell_folder(key)}/commit/{number}") or {})

    def _check_attempt(self, key: str, number: int, sizes: Mapping[str, int]) -> CorruptArtefact | None:
        try:
            files = self._commit(key, number).files
        except CorruptArtefact as error:
            return error
        for name, file in files.items():
            path = f"attempts/{key}/{number}/{name}"
            if sizes.get(path) == file["size"]:
                continue
            # A listing may be old (see lease_watcher.py): ask for the object itself before revoking.
            head = self.objects.head(path)
            if head is None or head["size"] != file["size"]:
                reason = "is missing" if head is None else f"has {head['size']} bytes, not {file['size']}"
                return self._corrupt(key, number, name, reason)
        return None

    def _corrupt(self, key: str, number: int, name: str, reason: str) -> CorruptArtefact:
        self.revoke(key, number, f"{name} {reason}")
        return CorruptArtefact(key, number, name, reason)
