"""What `store init` does: create a store, repair its store.json, share it with a group."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from adaprob_ray.errors import InputError, StoreError
from adaprob_ray.store.description import (
    FORMAT,
    create_description,
    read_description,
    repair_description,
    require_conditional_writes,
    write_description,
)
from adaprob_ray.store.objects import Objects
from adaprob_ray.store.permissions import share_with_group

MAX_PATHS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """What was done at `location`.

    repaired: whether store.json was damaged.
    is_shared: whether the store belongs to its folder's group.
    not_shared: what in it the group cannot use, one line each.
    """

    location: str
    repaired: bool
    is_shared: bool
    not_shared: tuple[str, ...]


def init_store(location: str, *, group: bool = False) -> InitResult:
    """Create a store, or repair one that exists.

    Args:
        location: A folder or a URI.
        group: Whether the group of the folder may read and write what is in it, and all that is written later, whatever
            the umasks of the users are.

    Returns:
        What was done.

    Raises:
        InputError: In one line, if that is impossible.
    """
    objects = Objects.open(location, create=True)
    if group and objects.folder is None:
        raise InputError(f"--group: must be used with a folder, got {objects.location} (its service grants rights)")
    try:
        require_conditional_writes(objects)
        create_description(objects)
        repaired = repair_description(objects)
        description = read_description(objects)
        left: tuple[Path, ...] = ()
        if group and objects.folder is not None:
            left = tuple(share_with_group(objects.folder))
            if not description.get("group"):
                description = {"format": FORMAT, "group": True}
                write_description(objects, description)
                share_with_group(objects.folder)
    except StoreError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"store {objects.location}: {error.filename}: {os.strerror(error.errno or 0)}") from error
    lines = [f"{path} belongs to another user" for path in left[:MAX_PATHS_SHOWN]]
    if len(left) > MAX_PATHS_SHOWN:
        lines.append(f"and {len(left) - MAX_PATHS_SHOWN} more; their owners can give the same command")
    return InitResult(
        location=objects.location,
        repaired=repaired,
        is_shared=bool(description.get("group")),
        not_shared=tuple(lines),
    )
