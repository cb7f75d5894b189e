"""What `run` and `search` do on Ctrl-C and SIGTERM: both interrupt, and a line says at once that the command is stopping."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

STOPPING = "stopping, up to 15 s …"
INTERRUPTS = frozenset({signal.SIGINT, signal.SIGTERM})


@contextmanager
def interruptible() -> Iterator[None]:
    """In this context SIGTERM interrupts like Ctrl-C, and the first of either prints that the command is stopping.

    SIGTERM is not passed on as SIGINT, which shells ignore for background processes. The line is printed by a thread that the
    interpreter tells of each signal: handlers run only when the main thread returns from what it is computing, and Ray Tune
    replaces that of SIGINT.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    announcer = threading.Thread(target=_announce, args=(reading,), name="stop-announcer", daemon=True)
    announcer.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.close(writing)
        announcer.join()
        os.close(reading)


def _announce(reading: int) -> None:
    """Print one line at the first interrupt; ends when the other end of the pipe is closed."""
    announced = False
    while signals := os.read(reading, 64):
        if not announced and INTERRUPTS.intersection(signals):
            announced = True
            click.echo(f"\n{STOPPING}", err=True)
