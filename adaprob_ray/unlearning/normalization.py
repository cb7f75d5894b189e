"""How images are normalized before a network takes them. Axes: B batch, C channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaprob_ray.errors import InputError


@dataclass(frozen=True)
class Normalization:
    """(x/255 − mean)/std for uint8 images, (x − mean)/std for others; without mean and std only the division by 255.

    Attributes:
        mean, std: a value per channel, in units of x/255 for uint8 images.
    """

    mean: Sequence[float] = ()
    std: Sequence[float] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise InputError(f"mean, std: must have a value per channel each, got {len(self.mean)} and {len(self.std)}")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)):
            raise InputError(f"mean, std: must be finite, got {list(self.mean)} and {list(self.std)}")
        if any(not value > 0 for value in self.std):
            raise InputError(f"std: must be above 0 in every channel, got {list(self.std)}")

    @classmethod
    def of(cls, mean: Any, std: Any) -> Normalization:
        """Of sequences of numbers, arrays or tensors. Raises InputError."""
        try:
            means, deviations = tuple(map(float, mean)), tuple(map(float, std))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"mean, std: must be sequences with a number per channel, such as mean=[0.5], got {mean!r} and {std!r}"
            ) from error
        return cls(means, deviations)

    def __call__(self, images: Tensor) -> Tensor:
        """float32 images [B, C, …]."""
        images = images.float().div_(255) if images.dtype == torch.uint8 else images.float()
        if not self.mean:
            return images
        if images.shape[1] != len(self.mean):
            raise InputError(
                f"mean, std: must have a value for each of {images.shape[1]} channels, got {len(self.mean)}"
            )
        shape = (1, -1, *[1] * (images.dim() - 2))
        mean, std = (torch.tensor(values, device=images.device).view(shape) for values in (self.mean, self.std))
        return (images - mean) / std
