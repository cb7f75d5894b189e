"""Asking for a trial without the pauses of Python's garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_gc_pauses() -> Iterator[None]:
    """Within the block, garbage collections ignore all objects that exist now.

    A full collection visits every object of PyTorch, Ray and pandas, and takes several tenths of a second. Asking for a trial
    creates enough objects to start one every hundred trials.
    """
    import optuna  # noqa: F401  # its import is ten times as long as asking

    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
