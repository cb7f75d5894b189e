"""The memory allocator of a worker's process."""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of glibc's mallopt (malloc.h), in bytes. The last is the largest value that glibc accepts.
MALLOPT = {
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: free memory at the end of the heap is returned to the system only above this
    -2: 2**26,  # M_TOP_PAD: the heap grows by this more than was asked for
    -3: 2**25,  # M_MMAP_THRESHOLD: smaller blocks are taken from the heap and not mapped one by one
}
ALLOCATOR_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def reuse_freed_memory() -> bool:
    """Let glibc reuse the activations that a training step frees in the next step, instead of returning them to the system.

    By default the system hands out zeroed pages again in every step. The results are the same bits; how much faster it is:
    `python -m benchmarks.allocator`.

    Returns:
        Whether it was set. It is not without glibc, nor where the environment has one of ALLOCATOR_VARIABLES.
    """
    if sys.platform != "linux" or any(name in os.environ for name in ALLOCATOR_VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(parameter, value) for parameter, value in MALLOPT.items())
