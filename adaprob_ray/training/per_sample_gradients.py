"""Gradients of single examples, layer by layer, without one backward pass for each example.

In eval mode the rows of a batch do not influence each other. One forward pass records the input of each layer, one backward
pass for each class gives the gradients of that class's logits by the layer's outputs, and the gradient by the layer's weights
is the product of the two, for every row separately:

    linear       ∂l_bk/∂W = γ_bk a_bᵀ                          γ_bk = ∂l_bk/∂output
    convolution  ∂l_bk/∂W = Σ_positions γ_bk,p (patch_b,p)ᵀ
    batch norm   ∂l_bk/∂scale = Σ_positions γ_bk,p x̂_b,p ,  ∂l_bk/∂shift = Σ_positions γ_bk,p

Axes: B rows of a batch, K classes, O output channels of a layer, M weights of one channel, P positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class LayerIO:
    """A layer, with its inputs and outputs in one forward pass, both [B, …]."""

    layer: nn.Module
    inputs: Tensor
    outputs: Tensor


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that have parameters of their own, by name."""
    return {name: module for name, module in model.named_modules() if list(module.parameters(recurse=False))}


def unsupported_layer(model: nn.Module) -> str | None:
    """One sentence that names the first layer whose gradients have no rule here; None if all have one."""
    for name, layer in named_layers(model).items():
        is_plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
        if not (is_plain or isinstance(layer, (nn.Linear, nn.BatchNorm2d))):
            return (
                f"layer {name or 'of the network'}: must be Linear, BatchNorm2d or Conv2d without groups and with zero "
                f"padding for per-sample gradients, got {type(layer).__name__ if list(layer.children()) else layer}"
            )
    return None


@contextmanager
def record_layers(layers: dict[str, nn.Module]) -> Iterator[dict[str, LayerIO]]:
    """Record inputs and outputs of these layers during the forward pass in the block, by name."""
    recorded: dict[str, LayerIO] = {}

    def hook_for(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
            recorded[name] = LayerIO(layer, inputs[0].detach(), outputs)
            # An in-place activation must not overwrite the recorded outputs.
            return outputs.clone()

        return hook

    handles = [layer.register_forward_hook(hook_for(name)) for name, layer in layers.items()]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def output_gradients(logits_BK: Tensor, layers: Sequence[LayerIO]) -> list[Tensor]:
    """∂l_bk / ∂output [B, K, O, …] float32 of each layer: one backward pass for each class."""
    outputs = [layer.outputs for layer in layers]
    classes = logits_BK.shape[1]
    by_class = [
        torch.autograd.grad(logits_BK[:, k].sum(), outputs, retain_graph=k + 1 < classes) for k in range(classes)
    ]
    return [torch.stack(gradients, dim=1).float() for gradients in zip(*by_class, strict=True)]


def patches(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """The patches [B, M, P] that a convolution multiplies its weights with."""
    assert not isinstance(layer.padding, str)
    size = (layer.kernel_size[0], layer.kernel_size[1])
    return functional.unfold(inputs.float(), size, dilation=layer.dilation, padding=layer.padding, stride=layer.stride)


def normalized(layer: nn.BatchNorm2d, inputs: Tensor) -> Tensor:
    """x̂ of batch norm in eval mode [B, O, H, W]."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    shape = (1, -1, 1, 1)
    return (inputs.float() - layer.running_mean.view(shape)) * (layer.running_var + layer.eps).rsqrt().view(shape)


def parameter_gradients(
    layer: nn.Module, inputs: Tensor, gradient_BKO: Tensor, channels: slice, parameter: str
) -> Tensor:
    """∂l_bk / ∂parameter [B, K, o, M] of a layer's `weight` or `bias`, for some of its output channels.

    `gradient_BKO` is ∂l_bk / ∂output. M is 1 for biases and for batch norm.
    """
    selected = gradient_BKO[:, :, channels]
    if parameter == "bias":
        return selected.flatten(3).sum(-1, keepdim=True) if selected.ndim > 3 else selected[..., None]
    if isinstance(layer, nn.BatchNorm2d):
        return (selected * normalized(layer, inputs)[:, None, channels]).flatten(3).sum(-1, keepdim=True)
    if isinstance(layer, nn.Linear):
        return selected[..., None] * inputs.float()[:, None, None, :]
    assert isinstance(layer, nn.Conv2d)
    rows, classes, count = selected.shape[:3]
    products = selected.reshape(rows, classes * count, -1) @ patches(layer, inputs).transpose(1, 2)
    return products.view(rows, classes, count, -1)
