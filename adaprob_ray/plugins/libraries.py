"""Networks of torchvision and timm by name, with random weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import BatchNorm2d as TorchBatchNorm2d

from adaprob_ray.errors import InputError, first_names, unknown_name
from adaprob_ray.models.batch_norm import BatchNorm2d
from adaprob_ray.plugins.networks import PathArchitecture
from adaprob_ray.user_code.objects import call
from adaprob_ray.user_code.source import REVISION_LENGTH

LIBRARIES = ("torchvision", "timm")
# Arguments with which a network would get weights from elsewhere.
PRETRAINED = (
    "pretrained",
    "weights",
    "weights_backbone",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
)
# Arguments that the data set gives.
FROM_DATA = ("num_classes", "in_chans")

# How names of the library's layers begin in NamedLayers.
INSIDE = "network."


def is_library(name: str) -> bool:
    """Whether a path names a network of torchvision or timm."""
    return name.partition(":")[0] in LIBRARIES


def library_function(library: str, name: str, where: str) -> Callable[..., Any]:
    """The function that builds a network of a library. Raises InputError if there is none of this name."""
    return {"torchvision": _torchvision, "timm": _timm}[library](name, where)


def _torchvision(name: str, where: str) -> Callable[..., Any]:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise InputError(f"{where}: {unknown_name('network of torchvision', name, known)}")
    return lambda **arguments: models.get_model(name, **{"weights": None, **arguments})


def _timm(name: str, where: str) -> Callable[..., Any]:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"{where}: timm:{name} needs the package timm, which is not installed: pip install 'adaprob-ray[timm]'"
        ) from error
    if not timm.is_model(name.partition(".")[0]):
        raise InputError(f"{where}: {unknown_name('network of timm', name, timm.list_models())}")
    return lambda **arguments: timm.create_model(name, **{"pretrained": False, **arguments})


def load_library_network(path: str) -> LibraryArchitecture:
    """The network that `torchvision:NAME` or `timm:NAME` names. Raises InputError."""
    library, _, name = path.partition(":")
    if "." in name:
        raise InputError(f"{path}: must not name pretrained weights; write {path.partition('.')[0]}")
    return LibraryArchitecture(name=path, function=library_function(library, name, path))


class NamedLayers(nn.Module):
    """A network of a library with names for its last layers, which methods and pretraining single out.

    The classifier is the last linear layer, which `LibraryArchitecture.fault` checks; the last stage is the network's own layer
    before it that has parameters.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network(images)

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer, in the order in which the network holds its layers."""
        return last_linear(self.network)

    @property
    def last_stage(self) -> nn.Module:
        """The last layer of the network's own layers, before the one with the classifier, that has parameters."""
        return stage_before(self.network, self.classifier)

    @property
    def reset_layers(self) -> tuple[nn.Module, ...]:
        """The last stage; the classifier stays as it is."""
        return (self.last_stage,)


def last_linear(network: nn.Module) -> nn.Linear:
    """The last linear layer. Raises AttributeError if there is none."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise AttributeError("classifier")  # as for a network without one
    return layers[-1]


def stage_before(network: nn.Module, classifier: nn.Module) -> nn.Module:
    """The last of a network's own layers with parameters before the one that holds the classifier. Raises AttributeError."""
    before: nn.Module | None = None
    for child in network.children():
        if any(module is classifier for module in child.modules()):
            break
        before = child if any(True for _ in child.parameters()) else before
    if before is None:
        raise AttributeError("last_stage")
    return before


class LibraryArchitecture(PathArchitecture):
    """A network of torchvision or timm; the data set gives the number of classes and, for timm, of channels."""

    @property
    def library(self) -> str:
        return self.name.partition(":")[0]

    @property
    def about(self) -> str:
        return f"of {self.library} {metadata.version(self.library)}, with random weights"

    @property
    def facts(self) -> dict[str, str]:
        return {"architecture_library": f"{self.library} {metadata.version(self.library)}"}

    def part_revisions(self, **given: Any) -> dict[str, int]:
        """A digest of the names and shapes of its tensors: with another version's, stored weights could not be loaded."""
        tensors = sorted((name, tuple(tensor.shape)) for name, tensor in self.on_meta(**given).state_dict().items())
        digest = hashlib.sha256(repr(tensors).encode()).hexdigest()
        return {f"tensors:{self.name}": int(digest[:REVISION_LENGTH], 16)}

    def takes(self, name: str) -> bool:
        return True  # what a network of a library takes is not in the signature; it says so itself

    def build(self, *, arguments: Mapping[str, Any] | None = None, **given: Any) -> nn.Module:
        values = {"num_classes": given["classes"], **(arguments or {})}
        if self.library == "timm":
            values["in_chans"] = given["channels"]
        network = call(self.function, self.name, values)
        assert isinstance(network, nn.Module)
        for module in network.modules():
            if type(module) is TorchBatchNorm2d:
                module.__class__ = BatchNorm2d  # which takes a last batch of one image where the map is 1×1
        return NamedLayers(network)

    def fault(self, *, is_pretrained: bool, **given: Any) -> str | None:
        for name in given.get("arguments") or {}:
            if name in PRETRAINED:
                return (
                    f"{self.name}: {name}: must not be given: downloaded weights may change under the same name, and the key "
                    "of a cell cannot tell which they are; to start from weights in a file, write original: {weights: FILE}"
                )
            if name in FROM_DATA:
                return f"{self.name}: {name}: must not be given, because the data set says what it is"
        if given.get("filters", 1.0) != 1.0:
            return f"{self.name}: filters: must be 1, because networks of {self.library} have no width multiplier"
        fault = super().fault(is_pretrained=is_pretrained, **given)
        return fault or self._classifier_fault(**given)

    def _classifier_fault(self, *, classes: int, **given: Any) -> str | None:
        """Whether the last linear layer is the classifier: no other tensors may depend on the number of classes."""
        try:
            network, other = (self.on_meta(classes=count, **given) for count in (classes, classes + 1))
        except InputError as error:
            return error.faults[0]
        try:
            classifier = last_linear(network)
        except AttributeError:  # methods that need one decline
            return None
        name = next(name for name, module in network.named_modules() if module is classifier)
        shapes, other_shapes = (
            {tensor: value.shape for tensor, value in built.state_dict().items()} for built in (network, other)
        )
        differing = {
            tensor for tensor in shapes.keys() | other_shapes if shapes.get(tensor) != other_shapes.get(tensor)
        }
        others = sorted(tensor.removeprefix(INSIDE) for tensor in differing if not tensor.startswith(f"{name}."))
        if not others:
            return None
        verb = "depends" if len(others) == 1 else "depend"
        return (
            f"{self.name}: only its last linear layer, {name.removeprefix(INSIDE)}, must depend on the number of classes, got "
            f"{first_names(others)}, which {verb} on it too"
        )
