"""The pre-activation ResNet-18 of the SCRUB and AdaProb code (protocol §2.1).

It differs from the usual ResNet-18 in five ways: the stem always has 64 channels, the 3×3 convolutions have biases, a
shortcut with a projection starts from the activated input, there is neither batch norm nor ReLU after the last block, and
`filters` scales the widths of the four stages.

Axes: B batch, C channels, H W height and width, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adaprob_ray.models.batch_norm import BatchNorm2d

# Channels, strides and depth of the published network before scaling (protocol §2.1).
STEM_WIDTH = 64
STAGE_WIDTHS = (64, 128, 256, 512)
STAGE_STRIDES = (1, 2, 2, 2)
BLOCKS_PER_STAGE = 2
# The CPU kernel for the weight gradient of a strided 1×1 convolution in channels-last memory writes past its workspace if
# there are fewer input channels than its block of 8 or 16 (https://github.com/uxlfoundation/oneDNN/issues/6035).
MIN_STRIDED_CHANNELS = 16


def block_sizes(filters: float) -> list[tuple[int, int, int]]:
    """Channels in and out, and the stride, of each block."""
    sizes = []
    width_in = STEM_WIDTH
    for base, stride in zip(STAGE_WIDTHS, STAGE_STRIDES, strict=True):
        width_out = int(base * filters)
        sizes += [(width_in, width_out, stride), *[(width_out, width_out, 1)] * (BLOCKS_PER_STAGE - 1)]
        width_in = width_out
    return sizes


def multiply_adds(*, channels: int, filters: float, size: int) -> int:
    """Of one forward pass of one image, `size` pixels high and wide, with a classifier of one class."""
    total, width = 9 * channels * STEM_WIDTH * size**2, STEM_WIDTH
    for width_in, width, stride in block_sizes(filters):
        size = -(-size // stride)
        total += 9 * (width_in + width) * width * size**2
        if has_projection(width_in, width, stride):
            total += width_in * width * size**2
    return total + width


def has_projection(width_in: int, width_out: int, stride: int) -> bool:
    """Whether the shortcut of a block is a 1×1 convolution."""
    return stride != 1 or width_in != width_out


class PreActivationBlock(nn.Module):
    """conv2(relu(bn2(conv1(a)))) + shortcut with a = relu(bn1(x)); the shortcut is x itself, or a 1×1 convolution of a."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1)
        self.bn2 = BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.projection: nn.Conv2d | None = None
        # With too few channels the input is subsampled before the projection instead, which gives the same outputs.
        self.subsampling = stride if width_in < MIN_STRIDED_CHANNELS else 1
        if has_projection(width_in, width_out, stride):
            self.projection = nn.Conv2d(width_in, width_out, 1, stride=stride // self.subsampling, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        active = torch.relu(self.bn1(x_BCHW))
        shortcut = x_BCHW
        if self.projection is not None:
            shortcut = self.projection(active[:, :, :: self.subsampling, :: self.subsampling])
        return self.conv2(torch.relu(self.bn2(self.conv1(active)))) + shortcut


class ResNet18(nn.Module):
    """Logits [B, K] of images [B, C, H, W] with H = W ≥ 8; the last pooling averages over all positions (4×4 for 32×32).

    `filters` scales the widths of the four stages, not the stem: 0.4 gives 25, 51, 102, 204.
    """

    def __init__(self, *, classes: int, channels: int = 3, filters: float = 1.0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, STEM_WIDTH, 3, padding=1)
        self.stem_bn = BatchNorm2d(STEM_WIDTH)
        blocks = [PreActivationBlock(*sizes) for sizes in block_sizes(filters)]
        starts = range(0, len(blocks), BLOCKS_PER_STAGE)
        self.stages = nn.Sequential(*(nn.Sequential(*blocks[at : at + BLOCKS_PER_STAGE]) for at in starts))
        self.classifier = nn.Linear(int(STAGE_WIDTHS[-1] * filters), classes)

    @property
    def last_stage(self) -> nn.Module:
        """Both blocks of the fourth stage."""
        return self.stages[-1]

    @property
    def reset_layers(self) -> tuple[nn.Module, ...]:
        """The last stage; the authors' code leaves the classifier of this network as it is."""
        return (self.last_stage,)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        hidden = torch.relu(self.stem_bn(self.stem(x_BCHW)))
        return self.classifier(self.stages(hidden).mean(dim=(2, 3)))
