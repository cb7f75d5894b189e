"""Gradients of single examples, layer by layer, without a backward pass for each.

In eval mode the rows of a batch do not touch each other. One forward pass keeps what each layer was given, one backward pass a
class gives the gradients of that class's logits by each layer's outputs, and the gradient by its weights is their product, for
every row alone:

    linear       ∂l_bk/∂W = γ_bk a_bᵀ                          γ_bk = ∂l_bk/∂output
    convolution  ∂l_bk/∂W = Σ_positions γ_bk,p (patch_b,p)ᵀ
    batch norm   ∂l_bk/∂scale = Σ_positions γ_bk,p x̂_b,p ,  ∂l_bk/∂shift = Σ_positions γ_bk,p

Axes: B rows of a batch, K classes, O outputs of a layer, M weights of one output, P positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.errors import InputError


@dataclass(frozen=True)
class LayerIO:
    """A layer during one forward pass: what it was given, and what it returned, both [B, …]."""

    layer: nn.Module
    given: Tensor
    returned: Tensor


def layers_with_parameters(model: nn.Module) -> dict[str, nn.Module]:
    """By name. Raises InputError for a layer whose products are not known."""
    layers = {name: module for name, module in model.named_modules() if list(module.parameters(recurse=False))}
    for name, layer in layers.items():
        plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
        if not (plain or isinstance(layer, (nn.Linear, nn.BatchNorm2d))):
            raise InputError(
                f"per-example gradients are known for Linear, BatchNorm2d and Conv2d without groups; layer {name} of "
                f"the network is {layer}"
            )
    return layers


@contextmanager
def record_layers(layers: dict[str, nn.Module]) -> Iterator[dict[str, LayerIO]]:
    """What the layers were given and returned in the forward pass that is made meanwhile."""
    found: dict[str, LayerIO] = {}

    def keep(name: str) -> Any:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], returned: Tensor) -> Tensor:
            found[name] = LayerIO(layer, given[0].detach(), returned)
            return returned.clone()  # an activation in place must not overwrite what is kept

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def output_gradients(logits_BK: Tensor, layers: Sequence[LayerIO]) -> list[Tensor]:
    """∂l_bk / ∂output [B, K, O, …] float32 of each layer: one backward pass a class."""
    outputs = [layer.returned for layer in layers]
    classes = logits_BK.shape[1]
    by_class = [
        torch.autograd.grad(logits_BK[:, k].sum(), outputs, retain_graph=k + 1 < classes) for k in range(classes)
    ]
    return [torch.stack(gradients, dim=1).float() for gradients in zip(*by_class, strict=True)]


def patches(layer: nn.Conv2d, given: Tensor) -> Tensor:
    """What a convolution multiplies its weights with [B, M, P]."""
    assert not isinstance(layer.padding, str)
    size = (layer.kernel_size[0], layer.kernel_size[1])
    return functional.unfold(given.float(), size, dilation=layer.dilation, padding=layer.padding, stride=layer.stride)


def normalised(layer: nn.BatchNorm2d, given: Tensor) -> Tensor:
    """x̂ of batch norm in eval mode [B, O, H, W]."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    shape = (1, -1, 1, 1)
    return (given.float() - layer.running_mean.view(shape)) * (layer.running_var + layer.eps).rsqrt().view(shape)


def gradients(layer: nn.Module, given: Tensor, gradient_BKO: Tensor, outputs: slice, name: str) -> Tensor:
    """∂l_bk / ∂parameter [B, K, o, M] of a layer's `weight` or `bias`, for some of its outputs; M is 1 where each has one."""
    chosen = gradient_BKO[:, :, outputs]
    if name == "bias":
        return chosen.flatten(3).sum(-1, keepdim=True) if chosen.ndim > 3 else chosen[..., None]
    if isinstance(layer, nn.BatchNorm2d):
        return (chosen * normalised(layer, given)[:, None, outputs]).flatten(3).sum(-1, keepdim=True)
    if isinstance(layer, nn.Linear):
        return chosen[..., None] * given.float()[:, None, None, :]
    assert isinstance(layer, nn.Conv2d)
    rows, classes, count = chosen.shape[:3]
    products = chosen.reshape(rows, classes * count, -1) @ patches(layer, given).transpose(1, 2)
    return products.view(rows, classes, count, -1)
