"""Batch norm that also accepts a batch with a single value per channel.

That is one image where the feature map is 1×1, as in the last stage of ResNet-18 on 8×8 images: the last batch of an epoch, or
the only one of a forget set of one image. Its variance is 0, so that PyTorch refuses it in training mode.
"""

from __future__ import annotations

from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, which normalizes a single value per channel by the running statistics, and does not update them.

    Difference 1 from PyTorch: such a batch does not raise ValueError. All others are normalized as there, to the same bits.

    Example:
        >>> import torch
        >>> layer = BatchNorm2d(2).train()
        >>> layer(torch.ones(1, 2, 1, 1)).shape, int(layer.num_batches_tracked)
        (torch.Size([1, 2, 1, 1]), 0)
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and has_one_value_per_channel(input):
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(input)


def has_one_value_per_channel(values: Tensor) -> bool:
    """Whether an input [B, C, …] of batch norm has no variance, because B and all axes after C are 1."""
    return values.numel() == values.shape[1]
