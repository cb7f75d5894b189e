"""Ends a worker process when its parent has died: Ray's own check waits for the head, for a minute or for ever."""

from __future__ import annotations

import os
import threading
import time


def exit_with_parent(period: float = 1.0) -> threading.Thread:
    """End this process within `period` seconds after its parent.

    A Ray worker is a child of its raylet. If the driver of a private Ray is killed, all of Ray ends but for a worker that
    executes something: that one first tries to tell the head, which is gone too. Without this its cell would keep a GPU,
    and the next run would wait for it.

    Args:
        period: Seconds between two checks.

    Returns:
        The daemon thread that checks.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(period)
        os._exit(1)  # at once: sys.exit would end this thread only

    thread = threading.Thread(target=watch, name="exit-with-parent", daemon=True)
    thread.start()
    return thread
