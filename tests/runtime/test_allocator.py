"""What a worker's process retains of the memory that a training step frees, in processes of their own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from adaprob_ray.runtime.allocator import ALLOCATOR_VARIABLES

# Eight blocks are freed as a training step frees its activations; then prints how much of them is still resident.
PROGRAM = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]
from adaprob_ray.runtime.allocator import reuse_freed_memory
print({call})
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
before = resident()
for _ in range(2):
    blocks = [libc.malloc(20 * 2**20) for _ in range(8)]
    for block in blocks:
        libc.memset(block, 1, 20 * 2**20)
    for block in blocks:
        libc.free(block)
print(resident() - before)
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="without glibc nothing is changed")


def freed_but_resident(call: str, **environment: str) -> tuple[str, float]:
    """What the call returns, and the MiB of 160 that the process retains after freeing them."""
    words = [sys.executable, "-c", PROGRAM.format(call=call)]
    inherited = {name: value for name, value in os.environ.items() if name not in ALLOCATOR_VARIABLES}
    result = subprocess.run(
        words, env=inherited | environment, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    value, resident = result.stdout.split()
    return value, float(resident)


def test_freed_memory_is_reused() -> None:
    assert freed_but_resident("reuse_freed_memory()") == ("True", pytest.approx(160, abs=10))


def test_by_default_it_is_returned_to_the_system() -> None:
    assert freed_but_resident("None") == ("None", pytest.approx(0, abs=50))


@pytest.mark.parametrize("name", ALLOCATOR_VARIABLES)
def test_an_allocator_set_in_the_environment_stays(name: str) -> None:
    value = "glibc.malloc.trim_threshold=1048576" if name == "GLIBC_TUNABLES" else "1048576"
    returned, resident = freed_but_resident("reuse_freed_memory()", **{name: value})
    assert returned == "False"
    assert resident == pytest.approx(0, abs=50)
