"""Objects: bytes by name in a folder or at an s3://, gs:// or az:// URI, each written completely or not at all.

The part of obstore that the store needs, with every storage error as one line that names the location.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, PreconditionError
from obstore.store import LocalStore, from_url

from adaprob_ray.errors import InputError, NoStore, NotPermitted, StoreError
from adaprob_ray.store.credentials import require_credentials
from adaprob_ray.store.locations import parse_location
from adaprob_ray.store.permissions import group_umask, unreadable_warning

# obstore retries for three minutes by default: too long for a mistyped endpoint, and longer than a lease lasts.
RETRY_CONFIG: Any = {"max_retries": 10, "retry_timeout": timedelta(seconds=30)}

# Before each further try of a write that was refused and left nothing: S3 answers 409 while another request for the same
# object is under way. Errors of a service (429, 5xx, a lost answer) are retried by obstore, see above.
RETRY_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)

_SERVICE_ERROR = re.compile(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)


class NotJson(StoreError):
    """An object that should be JSON is not: cut off by a power failure, or altered."""


class Objects:
    """All objects at one location.

    `backend`: its obstore; `location`: absolute path or URI, for messages; `folder`: the path, None for a URI.
    `is_shared`: whether the group of the folder may read and write what is written.
    """

    def __init__(self, backend: Any, location: str) -> None:
        self.backend = backend
        self.location = location
        self.folder = Path(location) if isinstance(backend, LocalStore) else None
        self.is_shared = False
        self._reported: set[str] = set()

    @classmethod
    def open(cls, location: str | os.PathLike[str], *, create: bool) -> Objects:
        """The objects in a folder, which is created if `create` says so, or at a URI. Raises InputError or NoStore."""
        place = parse_location(location)
        try:
            if isinstance(place, Path):
                return cls(_local_backend(place, create), str(place))
            require_credentials(place)
            return cls(from_url(place, retry_config=RETRY_CONFIG), place)
        except (BaseError, OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"store {place}: {_one_line(error)}") from error

    def umask(self) -> AbstractContextManager[None]:
        """In this context the group may read and write what is written, if the store is shared."""
        return group_umask() if self.is_shared else nullcontext()

    def put(self, path: str, data: bytes) -> None:
        """Put or replace an object."""
        self._write(path, data, "overwrite")

    def create(self, path: str, document: Mapping[str, Any]) -> bool:
        """Create an object only if it is absent.

        Whatever the storage answers, what it holds decides: a request whose answer was lost may have succeeded, and a
        refusal may mean a conflict of two requests that both failed.

        Returns:
            Whether the object is the one that this call wrote. Documents of two callers must therefore differ.
        """
        return self._write(path, json_bytes(document), "create")

    def _write(self, path: str, data: bytes, mode: Literal["create", "overwrite"]) -> bool:
        """Whether the object is `data` in the end; False only if `mode` is "create" and another object is there."""
        for pause in (*RETRY_PAUSES, None):
            try:
                with self.umask():
                    obstore.put(self.backend, path, data, mode=mode)
            except (BaseError, OSError) as error:
                stored = self._read_back(path, error)
                if stored == data:
                    return True
                if stored is not None and mode == "create":
                    return False
                if not isinstance(error, (AlreadyExistsError, PreconditionError)) or pause is None:
                    raise self._error(error) from error
                time.sleep(pause)
            else:
                return True
        raise AssertionError("the last pause is None")

    def _read_back(self, path: str, error: Exception) -> bytes | None:
        """What is at `path` after a write failed with `error`, which is raised if that cannot be read either."""
        try:
            return self.get(path)
        except StoreError:
            raise self._error(error) from error

    def get(self, path: str) -> bytes | None:
        """The bytes; None for no object."""
        with self._storage():
            try:
                return obstore.get(self.backend, path).bytes().to_bytes()
            except FileNotFoundError:
                return None

    def get_from(self, path: str, start: int) -> bytes:
        """The bytes from `start` to the end; none for no object."""
        head = self.head(path)
        if head is None or head["size"] <= start:
            return b""
        with self._storage():
            try:
                return obstore.get_range(self.backend, path, start=start, end=head["size"]).to_bytes()
            except FileNotFoundError:
                return b""

    def document(self, path: str) -> dict[str, Any] | None:
        """A JSON object, parsed; None for no object. Raises NotJson."""
        data = self.get(path)
        if data is None:
            return None
        document = parse_json(data, f"store {self.location}: {path}")
        if not isinstance(document, dict):
            raise NotJson(f"store {self.location}: {path} is not a JSON object")
        return document

    def intact_document(self, path: str) -> dict[str, Any] | None:
        """As `document`, but None for a damaged one too."""
        with suppress(NotJson):
            return self.document(path)
        return None

    def head(self, path: str) -> Mapping[str, Any] | None:
        """Size, last_modified and e_tag of an object, as obstore has them; None for no object. Never from a cached listing."""
        with self._storage():
            try:
                return obstore.head(self.backend, path)
            except FileNotFoundError:
                return None

    def _readable(self, prefix: str) -> list[Mapping[str, Any]]:
        """As `list`, folder by folder, without those that cannot be read."""
        entries: list[Mapping[str, Any]] = []
        folders, unreadable = [prefix], set()
        while folders:
            folder = folders.pop()
            try:
                result = obstore.list_with_delimiter(self.backend, folder)
            except (BaseError, OSError) as error:
                if not _is_refused(error):
                    raise
                unreadable.add(folder)
                continue
            entries += result["objects"]
            folders += result["common_prefixes"]
        if new := unreadable - self._reported:
            self._reported |= new
            warnings.warn(unreadable_warning(self.location, new), stacklevel=3)
        return entries

    def list(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        """Path and `head` of each object in folder `prefix` and below it. On NFS a listing may be old.

        Folders that this user may not read are left out, and named once in a StoreWarning.
        """
        with self._storage():
            try:
                if self.folder is None:
                    for chunk in obstore.list(self.backend, prefix, chunk_size=1000):
                        yield from chunk
                    return
                entries: Sequence[Mapping[str, Any]] = [
                    entry for chunk in obstore.list(self.backend, prefix, chunk_size=1000) for entry in chunk
                ]
            except (BaseError, OSError) as error:
                if self.folder is None or not _is_refused(error):
                    raise
                entries = self._readable(prefix)
            yield from entries

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; one that does not exist is not an error."""
        with self._storage():
            for path in paths:
                with suppress(FileNotFoundError):
                    obstore.delete(self.backend, path)

    @contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> StoreError:
        error_class = NotPermitted if self.folder is not None and _is_refused(error) else StoreError
        return error_class(f"store {self.location}: {_one_line(error)}")


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Canonical JSON. Raises InputError for values that JSON lacks: NaN, infinity, other types."""
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"not a JSON document: {error}") from error
    return text.encode()


def parse_json(data: bytes, what: str) -> Any:
    """`data` parsed; `what` names it in the error. Raises NotJson."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise NotJson(f"{what} is not JSON") from error


def seal(data: bytes) -> bytes:
    """`data` with its sha256 in front."""
    return hashlib.sha256(data).hexdigest().encode() + data


def unseal(data: bytes) -> bytes | None:
    """The argument of `seal`, from its result; None if that is damaged."""
    content = data[64:]
    return content if seal(content) == data else None


def timestamp() -> str:
    """The present time, for people only: nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _local_backend(folder: Path, create: bool) -> LocalStore:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"store {folder}: {existing} is a file, not a folder")
    if not create and existing != folder:
        raise NoStore(f"store {folder}: there is no such folder")
    return LocalStore(folder, mkdir=create)


def _is_refused(error: Exception) -> bool:
    """Whether this user lacks the right; of a walk through folders obstore gives only the text of the error."""
    return isinstance(error, (PermissionDeniedError, PermissionError)) or f"(os error {errno.EACCES})" in str(error)


def _one_line(error: Exception) -> str:
    """The storage service's own message, or else the first paragraph: obstore's others are for its developers."""
    match = _SERVICE_ERROR.search(str(error))
    text = ": ".join(match.groups()) if match else str(error).partition("\n\n")[0]
    return " ".join(text.split())[:300]
