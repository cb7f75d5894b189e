"""Where the reference is read from: one tensor, or blocks of rows that can be read again and again.

Axes: N rows, B rows of a block, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.errors import InputError

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
POSSIBLE = "a torch tensor of log-probabilities, float16, bfloat16, float32 or float64, of shape [rows, classes]"


class RowBlocks:
    """The rows of an array [N, K], for instance a numpy.memmap of logits, in blocks of at most `rows` rows.

    It can be iterated any number of times, as `project` needs; only one block at a time is in memory.
    """

    def __init__(self, array: Any, rows: int = 8192) -> None:
        if not isinstance(array, (np.ndarray, Tensor)) or array.ndim != 2:
            raise InputError(f"RowBlocks needs an array or tensor of shape [rows, classes]; given {_what(array)}")
        if not (isinstance(rows, (int, np.integer)) and rows >= 1):
            raise InputError(f"rows must be a whole number of at least 1; given {rows!r}")
        self.array, self.rows = array, int(rows)

    def __iter__(self) -> Iterator[Any]:
        return (_as_tensor(self.array[start : start + self.rows]) for start in range(0, len(self.array), self.rows))


@dataclass(frozen=True, eq=False)
class Source:
    """The reference as given, and what is known of all its blocks before they are read."""

    given: Tensor | Iterable[Any]
    classes: int
    dtype: torch.dtype
    device: torch.device

    @property
    def whole(self) -> bool:
        """One tensor in memory, as opposed to blocks."""
        return isinstance(self.given, Tensor)

    def blocks(self) -> Iterator[Tensor]:
        """The blocks in order, each of them checked. Raises InputError for one that is unlike the first."""
        if isinstance(self.given, Tensor):
            yield self.given
            return
        for number, block in enumerate(self.given):
            tensor = _as_tensor(block)
            fault = _block_fault(tensor) or self._odd(tensor)
            if fault:
                raise InputError(f"block {number} of log_reference {fault}")
            yield tensor

    def _odd(self, block: Tensor) -> str | None:
        if (block.shape[1], block.dtype, block.device) == (self.classes, self.dtype, self.device):
            return None
        return (
            f"must have {self.classes} classes, {self.dtype} and {self.device} like the first; "
            f"given {block.shape[1]}, {block.dtype} and {block.device}"
        )


def open_source(log_reference: Any) -> Source | str:
    """The Source, or what is wrong. Of blocks only the first is read."""
    if isinstance(log_reference, Tensor):
        fault = _block_fault(log_reference)
        if fault:
            return f"log_reference {fault}"
        rows = log_reference.detach()
        return Source(rows, rows.shape[1], rows.dtype, rows.device)
    again = f"log_reference must be {POSSIBLE}, or blocks of its rows that can be read again and again (see RowBlocks)"
    if isinstance(log_reference, (str, bytes)) or not isinstance(log_reference, Iterable):
        return f"{again}; given {_what(log_reference)}"
    if hasattr(log_reference, "ndim"):
        return f"{again}; given {_what(log_reference)}: take torch.from_numpy or RowBlocks"
    blocks = iter(log_reference)
    first = next(blocks, None)
    if blocks is iter(log_reference):
        return f"{again}; given {_what(log_reference)}, which can be read only once"
    if first is None:
        return f"{again}; given no block at all"
    first = _as_tensor(first)
    fault = _block_fault(first)
    if fault:
        return f"block 0 of log_reference {fault}"
    return Source(log_reference, first.shape[1], first.dtype, first.device)


def _as_tensor(block: Any) -> Any:
    """Tensors as they are, arrays as tensors of their own memory; what cannot be one as it is."""
    if isinstance(block, Tensor):
        return block.detach()
    if not isinstance(block, np.ndarray):
        return block
    try:
        return torch.from_numpy(np.array(block, dtype=block.dtype.newbyteorder("=")))
    except TypeError:
        return block


def _block_fault(block: Any) -> str | None:
    if not isinstance(block, Tensor) or block.layout != torch.strided or block.is_meta:
        kind = f" {block.dtype}" if isinstance(block, np.ndarray) else ""
        return f"must be {POSSIBLE}; given {_what(block)}{kind}"
    if block.dtype not in DTYPES:
        return f"must be {POSSIBLE}; given dtype {block.dtype}"
    if block.ndim != 2 or 0 in block.shape:
        return f"must be {POSSIBLE}, at least one of each; given shape {list(block.shape)}"
    return None


def _what(given: Any) -> str:
    shape = getattr(given, "shape", None)
    return type(given).__name__ + (f" of shape {list(shape)}" if shape is not None else "")
