"""A user's network in the form that methods expect: `network(images)` gives logits, and its last layers have names."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from adaprob_ray.errors import InputError, first_names
from adaprob_ray.models.batch_norm import has_one_value_per_channel
from adaprob_ray.plugins.libraries import NamedLayers
from adaprob_ray.unlearning.memory import is_out_of_memory

BatchNormChoice = Literal["frozen", "train", "recompute"]
BATCH_NORM_CHOICES = ("frozen", "train", "recompute")


class AdaptedNetwork(NamedLayers):
    """Wraps a copy of a user's network.

    Args:
        network: the user's network, which is copied; its weights become float32, on `device`.
        forward: `forward(network, images)` gives the output, for a network that takes keywords; None calls `network(images)`.
        batch_norm: `frozen` uses the running statistics and does not change them, `train` updates them, `recompute` leaves
            them as they are until `recompute_statistics` is called. A batch with one value per channel, which has no
            variance, always uses them, and so do layers whose own parameters are frozen.
        device: where it runs.

    Raises:
        InputError: `network` is not a module, cannot be copied, has no parameters that can be trained, or its weights are
            missing, not finite or on several devices.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        forward: Callable[[nn.Module, Tensor], Any] | None = None,
        batch_norm: BatchNormChoice = "frozen",
        device: torch.device | None = None,
    ) -> None:
        check_network(network)
        super().__init__(_copy_of(network).to(device, torch.float32))
        self.types = {name: tensor.dtype for name, tensor in network.state_dict().items()}
        self.forward_function, self.batch_norm = forward, batch_norm
        self.output_count = 1  # tensors that the network returns; the first is taken for the logits
        self._frozen_layers = [layer for layer in self.batch_norm_layers() if _is_frozen(layer)]
        for layer in self.batch_norm_layers():
            layer.register_forward_pre_hook(_use_running_statistics_for_one_value, with_kwargs=True)
            layer.register_forward_hook(_train_again, always_call=True)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images."""
        output = self.network(images) if self.forward_function is None else self.forward_function(self.network, images)
        if not isinstance(output, Tensor):
            if isinstance(output, (tuple, list)):
                self.output_count = sum(isinstance(each, Tensor) for each in output)
            output = _logits(output)
        if output.dim() != 2 or len(output) != len(images):
            raise InputError(
                f"model: must return logits of shape [{len(images)}, classes], got {list(output.shape)}; pass "
                "forward=lambda model, images: …"
            )
        return output

    def train(self, mode: bool = True) -> AdaptedNetwork:
        """Training or evaluation mode, in which batch norm keeps its running statistics unless `batch_norm` is `train`."""
        super().train(mode)
        for module in self._frozen_layers if self.batch_norm == "train" else self.batch_norm_layers():
            module.eval()
        return self

    def batch_norm_layers(self) -> list[_BatchNorm]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]

    @torch.no_grad()
    def recompute_statistics(self, batches: Any) -> None:
        """Replace the running statistics of batch norm by the averages over these batches of images.

        A layer that sees no batch with a variance keeps its own.
        """
        layers = [layer for layer in self.batch_norm_layers() if layer not in self._frozen_layers]
        momenta = [layer.momentum for layer in layers]
        self.eval()
        before = [copy.deepcopy(layer.state_dict()) for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a cumulative average
            layer.train()
        for batch in batches:
            self(batch.images)
        for layer, momentum, state in zip(layers, momenta, before, strict=True):
            layer.momentum = momentum
            if layer.num_batches_tracked is not None and not layer.num_batches_tracked:
                layer.load_state_dict(state)
        self.eval()

    @torch.no_grad()
    def round_to_types(self) -> None:
        """Round the weights to the types of the user's network, so that what is measured is what is written."""
        for name, tensor in self.network.state_dict().items():
            if self.types[name] not in (tensor.dtype, torch.float64):
                tensor.copy_(tensor.to(self.types[name]))

    def write_to(self, network: nn.Module) -> nn.Module:
        """A copy of the user's network, in its mode, types and on its device, with these weights."""
        result = copy.deepcopy(network)
        with torch.no_grad():
            own = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
            for name, tensor in (*result.named_parameters(), *result.named_buffers()):
                if not torch.equal(tensor.to(own[name]), own[name]):  # float64 keeps its bits where nothing has changed
                    tensor.copy_(own[name])
        return result


def _is_frozen(layer: nn.Module) -> bool:
    """Whether a layer has parameters, of which none requires gradients."""
    parameters = list(layer.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _copy_of(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"model: must be a network that copy.deepcopy can copy, got {type(error).__name__}: {str(error).partition('.')[0]};"
            " remove tensors that its modules keep from a forward pass, and torch.nn.utils.weight_norm"
        ) from error


def _use_running_statistics_for_one_value(
    layer: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Tensor]
) -> None:
    """PyTorch refuses to train batch norm on one value per channel: the last batch of an epoch may be one sample."""
    values = inputs[0] if inputs else next(iter(keywords.values()))
    if layer.training and has_one_value_per_channel(values):
        if layer.running_mean is None:
            raise InputError(
                "model: must have batch norm with running statistics, as a batch has one value per channel; use another "
                "batch_size or more samples"
            )
        layer.training = False
        layer.trains_again = True  # type: ignore[assignment]


def _train_again(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    if layer.__dict__.pop("trains_again", False):
        layer.training = True


def _logits(output: Any) -> Tensor:
    """The logits of an output object: its attribute or key `logits`, or the first tensor of a tuple."""
    candidates = [getattr(output, "logits", None)]
    candidates += [output.get("logits")] if isinstance(output, Mapping) else []
    candidates += [output[0]] if isinstance(output, (tuple, list)) and output else []
    for value in candidates:
        if isinstance(value, Tensor):
            return value
    raise InputError(
        f"model: must return a tensor of logits, or an object with .logits, got {type(output).__name__}; pass "
        "forward=lambda model, images: …"
    )


def check_network(network: Any) -> None:
    """Raises InputError if this is no network that can be trained."""
    if not isinstance(network, nn.Module):
        hint = "; load the weights into a model first" if isinstance(network, (str, Mapping)) else ""
        raise InputError(f"model: must be a torch.nn.Module, got {type(network).__name__}{hint}")
    if isinstance(network, torch.jit.ScriptModule):
        raise InputError(
            "model: must be a torch.nn.Module in Python, got TorchScript; pass the network that it was made from"
        )
    parameters = dict(network.named_parameters())
    lazy = [name for name, parameter in parameters.items() if nn.parameter.is_lazy(parameter)]
    if lazy:
        raise InputError(
            f"model: must be initialized, got no weights yet in {first_names(lazy, 3)}; call it on a batch first"
        )
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise InputError(
            "model: must have parameters that require gradients, got none; call model.requires_grad_(True)"
        )
    devices = sorted({str(parameter.device) for parameter in parameters.values()})
    if len(devices) > 1:
        raise InputError(f"model: must be on one device, got parameters on {', '.join(devices)}; call model.to(…)")
    if devices == ["meta"]:
        raise InputError(
            "model: must have weights, got a model on the device meta; call model.to_empty(…) and load them"
        )
    for name, tensor in _state_dict(network).items():
        if not isinstance(tensor, Tensor):
            raise InputError(f"model: must have only tensors in its state_dict, got {type(tensor).__name__} in {name}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"model: must have finite weights, got NaN or infinity in {name}")
        if tensor.is_complex():
            raise InputError(f"model: must have real weights, got {tensor.dtype} in {name}")


def _state_dict(network: nn.Module) -> Mapping[str, Any]:
    try:
        return network.state_dict()
    except Exception as error:
        raise InputError(f"model: must have a state_dict, got {type(error).__name__}: {error}") from error


def copy_with_random_weights(network: AdaptedNetwork, seed: int) -> AdaptedNetwork:
    """A copy with random initial weights.

    Raises:
        InputError: a layer with parameters of its own has no `reset_parameters`.
    """
    result = copy.deepcopy(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, module in result.network.named_modules():
            if next(module.parameters(recurse=False), None) is None:
                continue
            if not callable(getattr(module, "reset_parameters", None)):
                raise InputError(
                    f"model: must have layers that can be initialized again, got {type(module).__name__} ({name or 'itself'}) "
                    "without reset_parameters; choose a method that needs no new network"
                )
            module.reset_parameters()
    return result
