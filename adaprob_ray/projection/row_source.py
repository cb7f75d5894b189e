"""Where the reference is read from: one tensor, or blocks of rows that can be iterated several times.

Axes: N rows, B rows of a block, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.errors import InputError
from adaprob_ray.projection.block_checksum import block_checksum

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MATRIX = "a torch tensor of log-probabilities, float16, bfloat16, float32 or float64, of shape [rows, classes]"


class RowBlocks:
    """The rows of a matrix, for instance a memory-mapped file of logits, as blocks that `project` reads one at a time.

    Iterating yields tensors [at most `rows`, K] that hold copies of the rows of an array, or views of those of a tensor. It
    can be iterated any number of times, and only one block at a time is in memory.

    Args:
        array: numpy array, numpy.memmap or torch tensor [N, K]; any byte order.
        rows: rows of each block but the last, which may be shorter.

    Raises:
        InputError: `array` is not a matrix, or `rows` is not an integer of at least 1.

    Example:
        >>> import numpy
        >>> [tuple(block.shape) for block in RowBlocks(numpy.zeros((5, 3), dtype=numpy.float32), rows=2)]
        [(2, 3), (2, 3), (1, 3)]
    """

    def __init__(self, array: Any, rows: int = 8192) -> None:
        if not isinstance(array, (np.ndarray, Tensor)) or array.ndim != 2:
            raise InputError(f"array: must be an array or tensor of shape [rows, classes], got {_describe(array)}")
        if not (isinstance(rows, (int, np.integer)) and rows >= 1):
            raise InputError(f"rows: must be an integer of at least 1, got {rows!r}")
        self.array, self.rows = array, int(rows)

    def __iter__(self) -> Iterator[Any]:
        return (_to_tensor(self.array[start : start + self.rows]) for start in range(0, len(self.array), self.rows))


@dataclass(frozen=True, eq=False)
class RowSource:
    """A reference, and what all its blocks have in common.

    `checksums` holds the row range and the checksum of each block, which the first iteration fills in.
    """

    reference: Tensor | Iterable[Any]
    classes: int
    dtype: torch.dtype
    device: torch.device
    checksums: list[tuple[range, int]] = field(init=False, default_factory=list)

    @property
    def in_memory(self) -> bool:
        """True for a tensor, False for blocks."""
        return isinstance(self.reference, Tensor)

    def blocks(self) -> Iterator[Tensor]:
        """The blocks in order, validated.

        Raises InputError for a block that differs from the first in more than its rows, or from itself in the first iteration.
        """
        if isinstance(self.reference, Tensor):
            yield self.reference
            return
        stop, change = 0, ""
        for number, block in enumerate(self.reference):
            tensor = _to_tensor(block)
            where = f"block {number} of log_reference"
            _require_matrix(where, tensor)
            if (tensor.shape[1], tensor.dtype, tensor.device) != (self.classes, self.dtype, self.device):
                raise InputError(
                    f"{where}: must have {self.classes} classes, {self.dtype} and {self.device} like block 0, "
                    f"got {tensor.shape[1]}, {tensor.dtype} and {tensor.device}"
                )
            # RowBlocks reads one array by position, so that its rows cannot move.
            if isinstance(self.reference, RowBlocks):
                yield tensor
                continue
            rows = range(stop, stop + len(tensor))
            stop, change = rows.stop, change or self._compare(number, rows, block_checksum(tensor))
            # Blocks of another length may come of another number of rows, which the caller reports with both numbers.
            if change and any(known == rows for known, _ in self.checksums[number : number + 1]):
                raise InputError(change)
            yield tensor
        if change and stop == self.checksums[-1][0].stop:
            raise InputError(change)

    def _compare(self, number: int, rows: range, checksum: int) -> str:
        """Note the checksum of a block in the first iteration; in a later one return how the block differs, or ""."""
        if number == len(self.checksums):
            self.checksums.append((rows, checksum))
        known_rows, known_checksum = self.checksums[number]
        if rows != known_rows:
            got = f"{len(known_rows)} rows in block {number} at first and {len(rows)} later"
        elif checksum != known_checksum:
            got = f"other values or another order in block {number}, rows {rows.start} to {rows.stop - 1}"
        else:
            return ""
        return (
            f"log_reference: must yield the same rows in the same order in every iteration, got {got}; turn shuffling "
            "(shuffle=True of a DataLoader), dropout and random augmentation off, or pass the rows as a tensor or RowBlocks"
        )


def open_source(log_reference: Any) -> RowSource:
    """The RowSource of a reference. Of blocks only the first is read. Raises InputError if it is neither tensor nor blocks."""
    if isinstance(log_reference, Tensor):
        _require_matrix("log_reference", log_reference)
        rows_NK = log_reference.detach()
        return RowSource(rows_NK, rows_NK.shape[1], rows_NK.dtype, rows_NK.device)
    fault = (
        f"log_reference: must be {MATRIX}, or an iterable of blocks of its rows that can be iterated several times "
        f"(see RowBlocks), got {_describe(log_reference)}"
    )
    if isinstance(log_reference, (str, bytes)) or not isinstance(log_reference, Iterable):
        raise InputError(fault)
    if hasattr(log_reference, "ndim"):
        raise InputError(f"{fault}; use torch.from_numpy or RowBlocks")
    blocks = iter(log_reference)
    first = _to_tensor(next(blocks, None))
    # An iterator returns itself from iter(), and so can be read only once.
    if blocks is iter(log_reference):
        raise InputError(f"{fault}, which can be iterated only once")
    if first is None:
        raise InputError(f"{fault}, which yields no block")
    _require_matrix("block 0 of log_reference", first)
    return RowSource(log_reference, first.shape[1], first.dtype, first.device)


def _to_tensor(block: Any) -> Any:
    """A tensor detached, an array copied to a tensor, anything else unchanged."""
    if isinstance(block, Tensor):
        return block.detach()
    if not isinstance(block, np.ndarray):
        return block
    try:
        return torch.from_numpy(np.array(block, dtype=block.dtype.newbyteorder("=")))
    except TypeError:
        return block


def _require_matrix(where: str, block: Any) -> None:
    if not isinstance(block, Tensor) or block.layout != torch.strided or block.is_meta:
        dtype = f" {block.dtype}" if isinstance(block, np.ndarray) else ""
        raise InputError(f"{where}: must be {MATRIX}, got {_describe(block)}{dtype}")
    if block.dtype not in DTYPES:
        raise InputError(f"{where}: must be {MATRIX}, got dtype {block.dtype}")
    if block.ndim != 2 or 0 in block.shape:
        raise InputError(f"{where}: must be {MATRIX}, at least one of each, got shape {list(block.shape)}")


def _describe(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {list(shape)}" if shape is not None else "")
