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
        if getattr(array, "ndim", None) != 2:
            raise InputError(f"RowBlocks needs an array of shape [rows, classes]; given {_what(array)}")
        if not (isinstance(rows, int) and rows >= 1):
            raise InputError(f"rows must be a whole number of at least 1; given {rows!r}")
        self.array, self.rows = array, rows

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, len(self.array), self.rows):
            block = self.array[start : start + self.rows]
            yield block if isinstance(block, Tensor) else torch.from_numpy(np.array(block))


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

    def chunks(self, rows: int) -> Iterator[tuple[slice, Tensor]]:
        """All rows, at most `rows` at a time, each with its positions."""
        at = 0
        for block in self.blocks():
            for start in range(0, len(block), rows):
                chunk = block[start : start + rows]
                yield slice(at, at + len(chunk)), chunk
                at += len(chunk)


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
    if isinstance(log_reference, Iterator):
        return f"{again}; given {_what(log_reference)}, which can be read only once"
    if hasattr(log_reference, "ndim"):
        return f"{again}; given {_what(log_reference)}: take torch.from_numpy or RowBlocks"
    first = next(iter(log_reference), None)
    if first is None:
        return f"{again}; given no block at all"
    first = _as_tensor(first)
    fault = _block_fault(first)
    if fault:
        return f"block 0 of log_reference {fault}"
    return Source(log_reference, first.shape[1], first.dtype, first.device)


def _as_tensor(block: Any) -> Any:
    if isinstance(block, Tensor):
        return block.detach()
    return torch.from_numpy(np.array(block)) if isinstance(block, np.ndarray) else block


def _block_fault(block: Any) -> str | None:
    if not isinstance(block, Tensor):
        return f"must be {POSSIBLE}; given {_what(block)}"
    if block.dtype not in DTYPES:
        return f"must be {POSSIBLE}; given dtype {block.dtype}"
    if block.ndim != 2 or 0 in block.shape:
        return f"must be {POSSIBLE}, at least one of each; given shape {list(block.shape)}"
    return None


def _what(given: Any) -> str:
    shape = getattr(given, "shape", None)
    return type(given).__name__ + (f" of shape {list(shape)}" if shape is not None else "")
