"""Trainings in float64, whose results are the same on every processor to about nine digits.

Processors add in different orders. In float32 that moves a weight by 1e-8, a training amplifies it 1e4 times, and the top
class of a row, or the epoch of a selection, may change. In float64 what moves is 1e-17: a tolerance of 1e-6 holds anywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

from adaprob_ray.data.batches import DeviceImages


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Networks that are built meanwhile are float64, and so are images and all that the package makes float32.

    The settings must say float32: autocast to bfloat16 leaves float64 alone.
    """
    select = DeviceImages.select

    def select_double(self: DeviceImages, rows: Tensor) -> Tensor:
        return select(self, rows).double()

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with (
            mock.patch.object(DeviceImages, "select", select_double),
            mock.patch.object(Tensor, "float", Tensor.double),
        ):
            yield
    finally:
        torch.set_default_dtype(before)
