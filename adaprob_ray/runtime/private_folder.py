"""A short folder for the files and sockets of a private local Ray that no other user can write to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.scratch import scratch_folder

PREFIX = "adaprob-ray-"
# The path of a Unix socket has at most 107 bytes (103 on macOS). Ray's are up to 61 longer than its folder (session_, a time,
# a process id, /sockets/plasma_store), which is 23 longer than the one in which it is made.
MAX_LENGTH = 19
FALLBACKS = ("/tmp", "/var/tmp", "/dev/shm")


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder for Ray, removed at the end: below TMPDIR, or below /tmp where Ray cannot use TMPDIR.

    Ray lets every user write to the folder that it is given, so that one lies in another that only this user can enter.

    Raises:
        InputError: no folder can be used; the line names each one that was tried.
    """
    faults = []
    with ExitStack() as stack:
        for parent in dict.fromkeys((os.environ.get("TMPDIR") or FALLBACKS[0], *FALLBACKS)):
            fault = folder_fault(Path(parent))
            if fault is None:
                try:
                    outer = stack.enter_context(scratch_folder(PREFIX, parent))
                except OSError as error:
                    fault = error.strerror or str(error)
                else:
                    break
            faults.append(f"{parent} {fault}")
        else:
            raise InputError(
                f"TMPDIR: must be a short folder that only you can write to, for Ray's sockets, got: {'; '.join(faults)}; "
                "set TMPDIR to another one or use --executor local"
            )
        (outer / "r").mkdir()
        yield outer / "r"


def folder_fault(folder: Path) -> str | None:
    """Why Ray cannot use `folder` for its sockets, None if it can."""
    text = str(folder)
    if not text.isascii():
        return "has a letter beyond ASCII"
    if not folder.is_absolute():
        return "is not an absolute path"
    if len(text) > MAX_LENGTH:
        return f"has {len(text)} characters, more than {MAX_LENGTH}"
    try:
        resolved = folder.resolve(strict=True)
        for path in (resolved, *resolved.parents):
            status = path.stat()
            # Who can write to a folder can replace what lies in it, unless the sticky bit is set.
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
                return f"may be changed by other users (mode {status.st_mode & 0o7777:o} of {path})"
            if status.st_uid not in (0, os.getuid()):
                return f"belongs to another user ({path})"
    except OSError as error:
        return error.strerror or str(error)
    return None if os.access(folder, os.W_OK | os.X_OK) else "cannot be written"
