"""The ALL-CNN of the SCRUB and AdaProb code (protocol §2.2): eight convolutions, each with batch norm, one pooling at the end.

Axes: B batch, C channels, H W height and width, K classes.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from adaprob_ray.models.batch_norm import BatchNorm2d

# Channels of the first two and of the other six convolutions, before scaling (protocol §2.2).
BASE_WIDTHS = (96, 192)
# Kernel and stride of each convolution.
LAYERS = ((3, 1), (3, 1), (3, 2), (3, 1), (3, 1), (3, 2), (3, 1), (1, 1))


def scaled_widths(filters: float) -> tuple[int, ...]:
    """Channels of each convolution."""
    first, second = (int(width * filters) for width in BASE_WIDTHS)
    return (first, first, *[second] * 6)


def multiply_adds(*, channels: int, filters: float, size: int) -> int:
    """Of one forward pass of one image, `size` pixels high and wide, with a classifier of one class."""
    widths, total = scaled_widths(filters), 0
    for (width_in, width_out), (kernel, stride) in zip(pairwise((channels, *widths)), LAYERS, strict=True):
        size = -(-size // stride)
        total += kernel**2 * width_in * width_out * size**2
    return total + widths[-1]


def convolution(width_in: int, width_out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; a 3×3 kernel is padded by 1, a 1×1 kernel by 0."""
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        BatchNorm2d(width_out),
        nn.ReLU(inplace=True),
    )


class AllCNN(nn.Module):
    """Logits [B, K] of images [B, C, H, W]; the last pooling averages over all positions (8×8 for 32×32 images).

    `filters` scales both widths: 1.0 gives 96 and 192, 0.4 gives 38 and 76.
    """

    def __init__(self, *, classes: int, channels: int = 3, filters: float = 1.0) -> None:
        super().__init__()
        widths = (channels, *scaled_widths(filters))
        self.features = nn.Sequential(
            *(
                convolution(width_in, width_out, kernel=kernel, stride=stride)
                for (width_in, width_out), (kernel, stride) in zip(pairwise(widths), LAYERS, strict=True)
            )
        )
        self.classifier = nn.Linear(widths[-1], classes)

    @property
    def last_stage(self) -> nn.Module:
        """The 1×1 convolution with its batch norm."""
        return self.features[-1]

    @property
    def reset_layers(self) -> tuple[nn.Module, ...]:
        """The last stage and, as in the authors' code for this network only, the classifier."""
        return self.last_stage, self.classifier

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.classifier(self.features(x_BCHW).mean(dim=(2, 3)))
