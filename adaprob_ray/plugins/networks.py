"""A network of another package, built by a function that a path names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.models.anatomy import missing_layers
from adaprob_ray.user_code.load import load_path
from adaprob_ray.user_code.objects import call

# What a function may take besides arguments of its own; the data set and the sweep file give the values.
GIVEN = ("classes", "channels", "size", "filters")


def load_network(path: str) -> PathArchitecture:
    """The network that a path names. Raises InputError."""
    function = load_path(path)
    if not callable(function) or isinstance(function, nn.Module):
        raise InputError(f"{path}: must be a function or class that builds a network, got {type(function).__name__}")
    architecture = PathArchitecture(name=path, function=function)
    if not architecture.takes("classes"):
        raise InputError(f"{path}: must take the number of classes, as {path.rpartition(':')[2]}(*, classes, channels)")
    return architecture


@dataclass(frozen=True, kw_only=True)
class PathArchitecture:
    """A network by path: an entry of the registry, as `catalogue.Architecture` is for the networks of this package.

    function: is called with `arguments` of the sweep file, and with those of GIVEN that are among its parameters.
    """

    name: str
    function: Callable[..., Any] = field(repr=False)
    revision: int = 1
    narrowest: float = float("inf")  # no width multiplier is too small for it

    @property
    def about(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def facts(self) -> dict[str, str]:
        """What a Record says of the package that built it."""
        return {}

    def part_revisions(self, **given: Any) -> dict[str, int]:
        """Entries of a cell's key in addition to the revision, which the source of a user's own network makes unnecessary."""
        return {}

    def takes(self, name: str) -> bool:
        """Whether the function has a parameter of this name, or takes any keyword."""
        parameters = self._parameters()
        return name in parameters or any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())

    def arguments_text(self) -> str:
        """The arguments that a sweep file may give, as the function declares them."""
        return ", ".join(str(item) for name, item in self._parameters().items() if name not in GIVEN)

    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            return inspect.signature(self.function).parameters
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.name}: must have a signature that can be read: {error}") from error

    def build(self, *, arguments: Mapping[str, Any] | None = None, **given: Any) -> nn.Module:
        """A network with random weights. Raises InputError with the user's line that failed."""
        parameters = self._parameters()
        values = {name: value for name, value in given.items() if name in parameters or name == "classes"}
        network = call(self.function, self.name, {**values, **(arguments or {})})
        if not isinstance(network, nn.Module):
            raise InputError(f"{self.name}: must return a torch.nn.Module, got {type(network).__name__}")
        return network

    def on_meta(self, **given: Any) -> nn.Module:
        """The network on the meta device: its layers, without memory for their weights."""
        return _on_meta(self, *sorted(given.items()))

    def parameter_count(self, **given: Any) -> int:
        """Trainable parameters."""
        return sum(parameter.numel() for parameter in self.on_meta(**given).parameters())

    def multiply_adds(
        self, *, channels: int, filters: float, size: int, arguments: Mapping[str, Any] | None = None
    ) -> int:
        """Of one forward pass of one image, with a classifier of two classes, as PyTorch counts them."""
        call_arguments = {"classes": 2, "channels": channels, "filters": filters, "size": size, "arguments": arguments}
        return _multiply_adds(self, *sorted(call_arguments.items()))

    def fault(self, *, is_pretrained: bool, **given: Any) -> str | None:
        """Why a cell cannot use the network: it cannot be built, or its output is no logits. One line, or None."""
        arguments = given.get("arguments") or {}
        if given.get("filters", 1.0) != 1.0 and "filters" not in self._parameters():
            return f"{self.name}: filters: must be a parameter of the function, got none of this name"
        if taken := sorted(arguments.keys() & set(GIVEN)):
            return f"{self.name}: {taken[0]}: must not be given, because the data set says what it is"
        if unknown := [name for name in arguments if not self.takes(name)]:
            known = [name for name in self._parameters() if name not in GIVEN]
            return f"{self.name}: {unknown_name('argument', unknown[0], known)}"
        try:
            network = self.on_meta(**given)
            _check_logits(self, given)
        except InputError as error:
            return error.faults[0]
        if is_pretrained and (reason := missing_layers(network, "classifier")):
            return f"{self.name}: {reason}; pretraining needs it: write pretrain: false"
        return None


@functools.cache
def _on_meta(architecture: PathArchitecture, *given: tuple[str, Any]) -> nn.Module:
    try:
        with torch.device("meta"):
            return architecture.build(**dict(given))
    except InputError:  # some read numbers from tensors as they are built, which those of the meta device do not have
        return _on_cpu(architecture, given).to("meta")


def _on_cpu(architecture: PathArchitecture, given: tuple[tuple[str, Any], ...]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return architecture.build(**dict(given))


@functools.cache
def _multiply_adds(architecture: PathArchitecture, *given: tuple[str, Any]) -> int:
    sizes = dict(given)
    network, counter = _on_meta(architecture, *given), FlopCounterMode(display=False)
    images = torch.zeros(1, sizes["channels"], sizes["size"], sizes["size"], device="meta")
    try:
        with counter, torch.no_grad():
            network.eval()(images)
        count = counter.get_total_flops() // 2
    except Exception:  # a network that does not run without numbers; what it costs is only estimated
        count = 0
    return int(count) or sum(parameter.numel() for parameter in network.parameters())


def _check_logits(architecture: PathArchitecture, given: Mapping[str, Any]) -> None:
    fault = _logits_fault(architecture, *sorted(given.items()))
    if fault is not None:
        raise InputError(fault)


@functools.cache
def _logits_fault(architecture: PathArchitecture, *given: tuple[str, Any]) -> str | None:
    """What is wrong with the output for two images of the data set, in training and in evaluation mode."""
    sizes = dict(given)
    shape = (2, sizes["channels"], sizes["size"], sizes["size"])
    try:
        return _output_fault(architecture, _on_meta(architecture, *given), shape, "meta", sizes["classes"])
    except InputError:  # perhaps only because there are no numbers on the meta device
        try:
            return _output_fault(architecture, _on_cpu(architecture, given), shape, "cpu", sizes["classes"])
        except InputError as error:
            images = "×".join(map(str, shape[1:]))
            return f"{architecture.name}: must take images of {images} (channels, height, width): {error.faults[0]}"


def _output_fault(
    architecture: PathArchitecture, network: nn.Module, shape: tuple[int, ...], device: str, classes: int
) -> str | None:
    parameters = list(network.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        return f"{architecture.name}: must have parameters that require gradients, got none"
    images = torch.zeros(*shape, device=device)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for is_training in (True, False):
            network.train(is_training)
            output = call(lambda: network(images), architecture.name)
            if not isinstance(output, Tensor) or tuple(output.shape) != (shape[0], classes):
                got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
                mode = "training" if is_training else "evaluation"
                return (
                    f"{architecture.name}: must return logits of shape [{shape[0]}, {classes}] for {shape[0]} images, got "
                    f"{got} in {mode} mode"
                )
    return None
