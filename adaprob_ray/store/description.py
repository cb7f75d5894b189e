"""store.json, the object that makes a location a store, and what a location must be able to do to hold one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from adaprob_ray.errors import InputError, NoStore, StoreError
from adaprob_ray.store.objects import NotJson, Objects, json_bytes
from adaprob_ray.store.permissions import GROUP_FOLDER, group_umask

FORMAT = 1
NAME = "store.json"


def require_conditional_writes(objects: Objects) -> None:
    """Check that the location can be written, and that it creates an object only if there is none.

    Leases and commits depend on the latter, and some services take the request and ignore the condition.

    Raises:
        InputError: If the second of two creations of one object is not refused.
        StoreError: If the location cannot be written.
    """
    probe = f"writable-{uuid.uuid4().hex}"
    try:
        objects.create(probe, {"create": 1})
        is_refused = not objects.create(probe, {"create": 2})
    finally:
        objects.delete([probe])
    if not is_refused:
        raise InputError(
            f"store {objects.location}: the storage service must create an object only if there is none "
            "(If-None-Match), but it replaced an existing one: two runs could execute the same cells. "
            "Use S3, GCS, Azure, a recent version of MinIO or Ceph, or a folder"
        )


def read_description(objects: Objects) -> dict[str, Any]:
    """What store.json says. Raises InputError in one line, NoStore if there is none, StoreError if the storage fails."""
    try:
        document = objects.document(NAME)
    except NotJson as error:
        size = len(objects.get(NAME) or b"")
        raise InputError(
            f"store {objects.location}: {NAME} is damaged ({size} bytes, not a JSON object), perhaps after a power failure"
            f"; the cells are not affected; to repair it, run: adaprob-ray store init --store {objects.location}"
        ) from error
    if document is None:
        raise NoStore(f"store {objects.location}: there is no store here")
    if document.get("format") != FORMAT:
        raise InputError(f"store {objects.location}: format must be {FORMAT}, got {document.get('format')!r}")
    return document


def create_description(objects: Objects) -> None:
    """Create store.json if there is none."""
    if objects.folder is None:
        objects.create(NAME, {"format": FORMAT})
        return
    path = objects.folder / NAME
    if not path.exists():
        _write_durably(path, {"format": FORMAT}, replace=False)


def repair_description(objects: Objects) -> bool:
    """Write store.json again if it is damaged; whether it was. One of another format is left as it is."""
    try:
        objects.document(NAME)
    except NotJson:
        write_description(objects, {"format": FORMAT, "group": True} if _is_shared(objects) else {"format": FORMAT})
        return True
    return False


def _is_shared(objects: Objects) -> bool:
    """Whether the folder looks as `store init --group` leaves it."""
    return objects.folder is not None and objects.folder.stat().st_mode & GROUP_FOLDER == GROUP_FOLDER


def write_description(objects: Objects, document: Mapping[str, Any]) -> None:
    """Put or replace store.json."""
    if objects.folder is None:
        objects.put(NAME, json_bytes(document))
    else:
        with group_umask() if document.get("group") else nullcontext():
            _write_durably(objects.folder / NAME, document, replace=True)


def _write_durably(path: Path, document: Mapping[str, Any], *, replace: bool) -> None:
    """Write a file that is whole after a power failure, or absent: its content is on the disk before its name is."""
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(json_bytes(document))
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return  # another process was first
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"store {path.parent}: {path.name}: {error.strerror}") from error
