"""A store's folder on a machine that several users share: what their umasks hide, and a store that a group shares."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adaprob_ray.errors import StoreWarning

MAX_FOLDERS_SHOWN = 3
# The group may read and write; new files and folders get the group of their folder.
GROUP_FILE, GROUP_FOLDER = 0o660, 0o2770
# Made by `store init --group`, so that whoever comes first with another umask does not own them alone.
FOLDERS = ("attempts", "cells", "checkpoints", "searches", "sweeps", "tensorboard")

_lock = threading.Lock()
_depth = 0
_umask = 0


@contextmanager
def group_umask() -> Iterator[None]:
    """What is written meanwhile can be read and written by its group. The rest of the umask holds.

    A umask belongs to the whole process and obstore writes in threads of its own: the first block to begin sets it, and
    the last one to end restores it. Modes are not changed after a write, because a process may be killed in between.
    """
    global _depth, _umask
    with _lock:
        if not _depth:
            _umask = os.umask(0o007)
            os.umask(_umask & ~0o070)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                os.umask(_umask)


def share_with_group(folder: Path) -> list[Path]:
    """Let the group of a store's folder read and write what is in it.

    Args:
        folder: The store's folder.

    Returns:
        Files and folders that belong to other users, or that cannot be read, and were left as they are.
    """
    with group_umask():
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)
    others: list[Path] = []
    group = folder.stat().st_gid
    for parent, _, files in os.walk(folder, onerror=lambda error: others.append(Path(error.filename))):
        for path, mode in ((Path(parent), GROUP_FOLDER), *((Path(parent, name), GROUP_FILE) for name in files)):
            try:
                status = path.stat(follow_symlinks=False)
                if status.st_mode & mode != mode or status.st_gid != group:
                    os.chown(path, -1, group)
                    path.chmod(status.st_mode | mode)
            except FileNotFoundError:
                continue  # a process that writes the store has replaced it
            except OSError:
                others.append(path)
    return list(dict.fromkeys(others))


def unreadable_warning(location: str, folders: Iterable[str]) -> StoreWarning:
    """One line that names folders of a store that this user cannot read."""
    names = sorted(folders)
    shown = ", ".join(f"{name}{_owner(Path(location, name))}" for name in names[:MAX_FOLDERS_SHOWN])
    more = f" and {len(names) - MAX_FOLDERS_SHOWN} more" if len(names) > MAX_FOLDERS_SHOWN else ""
    count = "1 folder" if len(names) == 1 else f"{len(names)} folders"
    return StoreWarning(
        f"store {location}: {count} skipped that cannot be read: {shown}{more}; their owners can share a store with their "
        "group by `adaprob-ray store init --group`"
    )


def _owner(path: Path) -> str:
    try:
        owner = path.owner()
    except KeyError:
        owner = f"uid {path.stat().st_uid}"
    except OSError:
        return ""
    return f" ({owner})"
