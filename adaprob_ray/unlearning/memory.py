"""Too little memory is bad input: one error that names the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from adaprob_ray.errors import InputError


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch or Python had too little memory, on a GPU or on the CPU."""
    if isinstance(error, RuntimeError) and "not enough memory" in str(error):  # of PyTorch's allocator for CPUs
        return True
    return isinstance(error, (torch.OutOfMemoryError, MemoryError))


@contextmanager
def out_of_memory_as_input_error() -> Iterator[None]:
    """Raise InputError for too little memory in the block, or in a decorated function."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"device: not enough memory ({reason}); use a smaller batch_size, or retain=sample:NUMBER"
        ) from error
