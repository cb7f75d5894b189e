"""Objects: bytes by name in a folder or at an s3://, gs:// or az:// URI, each there whole or not at all.

What obstore offers, as far as the store needs it, with every error of the storage in one line that names the place.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from adaprob_ray.errors import InputError, NoStore, StoreError

SCHEMES = ("s3", "gs", "az")
# The default goes on for three minutes: too long for a mistyped endpoint, and longer than a lease lives.
RETRY: Any = {"max_retries": 10, "retry_timeout": timedelta(seconds=30)}

_ANSWER = re.compile(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)


class NotJson(StoreError):
    """An object that should be JSON is not: cut off by a power failure, or altered."""


class Objects:
    """Everything under one place. `below`: obstore's view of it; `location`: absolute path or URI, for messages."""

    def __init__(self, below: Any, location: str) -> None:
        self.below = below
        self.location = location

    @classmethod
    def open(cls, location: str | os.PathLike[str], *, create: bool) -> Objects:
        """What lies in a folder, which `create` makes if need be, or at a URI. Raises InputError, or NoStore: one line."""
        return cls(*_connect(os.fspath(location), create))

    def put(self, path: str, data: bytes) -> None:
        """Put or replace an object."""
        with self._storage():
            obstore.put(self.below, path, data)

    def create(self, path: str, document: Mapping[str, Any]) -> bool:
        """Whether the object was absent and is now this document."""
        data = json_bytes(document)
        with self._storage():
            try:
                obstore.put(self.below, path, data, mode="create")
            except AlreadyExistsError:
                # A repeated request (S3, NFS) may meet what its own first try made, whose answer was lost.
                return self.get(path) == data
        return True

    def get(self, path: str) -> bytes | None:
        """The bytes; None for no object."""
        with self._storage():
            try:
                return obstore.get(self.below, path).bytes().to_bytes()
            except FileNotFoundError:
                return None

    def document(self, path: str) -> dict[str, Any] | None:
        """A JSON object, parsed; None for no object. Raises NotJson."""
        data = self.get(path)
        if data is None:
            return None
        document = parse(data, f"store {self.location}: {path}")
        if not isinstance(document, dict):
            raise NotJson(f"store {self.location}: {path} is not a JSON object")
        return document

    def head(self, path: str) -> Mapping[str, Any] | None:
        """obstore's size, last_modified and e_tag of an object; None for no object. Never from a cached listing."""
        with self._storage():
            try:
                return obstore.head(self.below, path)
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        """What `head` says of each object in folder `prefix` and below, with its path; on NFS a listing may be old."""
        with self._storage():
            for chunk in obstore.list(self.below, prefix, chunk_size=1000):
                yield from chunk

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; one that is already gone is no error."""
        with self._storage():
            for path in paths:
                with suppress(FileNotFoundError):
                    obstore.delete(self.below, path)

    @contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise StoreError(f"store {self.location}: {_one_line(error)}") from error


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """JSON of one spelling. Raises InputError for what JSON lacks: NaN, infinity, other types."""
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"not a JSON document: {error}") from error
    return text.encode()


def parse(data: bytes, what: str) -> Any:
    """JSON. Raises NotJson."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise NotJson(f"{what} is not JSON") from error


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


def _one_line(error: Exception) -> str:
    """What the storage service answered, or else the first paragraph: obstore's others are its own debugging."""
    answer = _ANSWER.search(str(error))
    text = ": ".join(answer.groups()) if answer else str(error).partition("\n\n")[0]
    return " ".join(text.split())[:300]
