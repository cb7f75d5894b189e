"""A checksum of a block's bits and their order, at a small part of the cost of one softmax pass over the block.

Adding up the words of a block in COLUMNS columns is nearly the whole cost; the sums and their upper halves are then multiplied
by fixed random odd numbers. A changed bit changes the checksum, and so does a moved row unless it moves by a multiple of
COLUMNS words.

Axes: B rows of a block, K classes, W words of 64 bits.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# A prime, so that rows of any usual length do not move by a multiple of it. With fewer columns a large block takes longer to
# add up, with more of them a small one.
COLUMNS = 1021
WORD_BYTES, HALF_WORD_BITS = 8, 32
FACTORS, UPPER_HALF_FACTORS = np.random.RandomState(1).randint(-(2**62), 2**62, (2, COLUMNS)) * 2 + 1


def block_checksum(block_BK: Tensor) -> int:
    """The checksum of a block [B, K] of any floating dtype, on any device; sums wrap around at 64 bits."""
    # A single entry counts as contiguous whatever its stride, with which it cannot be viewed as bytes.
    data = block_BK.detach().contiguous().as_strided((block_BK.numel(),), (1,))
    # A view of other words must begin at one of them.
    if data.data_ptr() % WORD_BYTES or data.storage_offset() * data.element_size() % WORD_BYTES:
        data = data.clone()
    bytes_ = data.view(torch.uint8)
    whole = len(bytes_) - len(bytes_) % WORD_BYTES
    words_W = bytes_[:whole].view(torch.int64)
    full_rows = len(words_W) // COLUMNS
    column_sums = words_W[: full_rows * COLUMNS].view(full_rows, COLUMNS).sum(0).cpu().numpy()
    # Each call takes about as long as adding up a small block: NumPy's take a fraction of torch's time.
    rest = words_W[full_rows * COLUMNS :].cpu().numpy()
    column_sums[: len(rest)] += rest
    if whole < len(bytes_):
        column_sums[: len(bytes_) - whole] += bytes_[whole:].cpu().numpy()
    # Of 0 and -inf in float64 only the 12 upper bits differ, and a product alone would spread them over no lower ones.
    return int(column_sums @ FACTORS) + int((column_sums >> HALF_WORD_BITS) @ UPPER_HALF_FACTORS)
