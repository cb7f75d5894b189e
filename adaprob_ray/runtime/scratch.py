"""Temporary folders of a run. Those that a killed process has left behind are removed by the next run of the same user."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from adaprob_ray.store.holder import Holder, is_dead, this_process

PREFIXES = ("adaprob-ray-", "adaprob-tune-")
OWNER = "owner.json"  # in each folder: the process that it belongs to


@contextmanager
def scratch_folder(prefix: str, parent: str | None = None) -> Iterator[Path]:
    """A new temporary folder that goes when the block ends, or, if the process is killed, before the user's next run.

    Args:
        prefix: One of PREFIXES.
        parent: The folder that it is in; by default that of all temporary files.
    """
    remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        (folder / OWNER).write_text(json.dumps(asdict(this_process())), encoding="utf-8")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: str | None = None) -> list[Path]:
    """Remove this user's folders whose process certainly no longer exists; on another host or unknown, they stay.

    Returns:
        The folders that were removed.
    """
    removed = []
    for prefix in PREFIXES:
        for folder in Path(parent or tempfile.gettempdir()).glob(f"{prefix}*"):
            with suppress(OSError, ValueError, TypeError, AttributeError):  # an owner that cannot be read is unknown
                if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                    continue
                holder = Holder.from_document(json.loads((folder / OWNER).read_text(encoding="utf-8")))
                if is_dead(holder):
                    shutil.rmtree(folder, ignore_errors=True)
                    removed.append(folder)
    return removed
