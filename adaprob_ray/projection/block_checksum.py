"""A checksum of a block's bits and their order, at a small part of the cost of one softmax pass over the block.

Two sums are the whole cost: the words of a block are added up in COLUMNS columns, whose sums are multiplied by fixed random odd
numbers. A changed bit changes the checksum; a moved row does unless it moves by a multiple of COLUMNS words.

Axes: B rows of a block, K classes, W words of 64 bits.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# A prime, so that rows of any usual length do not move by a multiple of it.
COLUMNS = 509
WORD_BYTES = 8


@cache
def _factors(device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.randint(-(2**62), 2**62, (COLUMNS,), generator=generator) * 2 + 1).to(device)


def block_checksum(block_BK: Tensor) -> int:
    """The checksum of a block [B, K] of any floating dtype, on any device; sums wrap around at 64 bits."""
    # A single entry counts as contiguous whatever its stride, with which it cannot be viewed as bytes.
    data = block_BK.contiguous().as_strided((block_BK.numel(),), (1,))
    # A view of other words must begin at one of them.
    if data.data_ptr() % WORD_BYTES or data.storage_offset() * data.element_size() % WORD_BYTES:
        data = data.clone()
    bytes_ = data.view(torch.uint8)
    whole = len(bytes_) - len(bytes_) % WORD_BYTES
    words_W, factors = bytes_[:whole].view(torch.int64), _factors(block_BK.device)
    full_rows = len(words_W) // COLUMNS
    column_sums = words_W[: full_rows * COLUMNS].view(full_rows, COLUMNS).sum(0)
    rest = words_W[full_rows * COLUMNS :]
    column_sums[: len(rest)] += rest
    tail = bytes_[whole:].to(torch.int64)
    column_sums[len(rest) : len(rest) + len(tail)] += tail
    return int((column_sums * factors).sum())
