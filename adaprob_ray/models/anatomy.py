"""The layers that unlearning methods single out in a network, and the names of their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, cast

from torch import nn

from adaprob_ray.errors import InputError


class UnlearnableModel(Protocol):
    """A network whose last layers have names.

    CF-k and EU-k train `last_stage`. EU-k with `reset: code` first puts `reset_layers` back to their initial weights.
    Fisher and NTK forgetting read the number of classes from `classifier`, and pretraining leaves it out.
    """

    @property
    def classifier(self) -> nn.Linear:
        """The last layer, with one output for each class."""

    @property
    def last_stage(self) -> nn.Module:
        """The layers before the classifier."""

    @property
    def reset_layers(self) -> tuple[nn.Module, ...]:
        """The last stage, and the classifier if the authors' code resets it too."""


# The attributes above and their types. They are checked here because `isinstance` with a protocol does not see submodules from
# Python 3.12 on: it no longer calls `nn.Module.__getattr__`.
LAYERS = {"classifier": nn.Linear, "last_stage": nn.Module, "reset_layers": tuple}


def missing_layers(model: nn.Module, *names: str) -> str | None:
    """One sentence that says which of these attributes of UnlearnableModel a network lacks; None if it has them all."""
    missing = [name for name in names if not isinstance(getattr(model, name, None), LAYERS[name])]
    if not missing:
        return None
    return f"network {_class_name(model)}: must have {', '.join(names)} (see UnlearnableModel), got no {', '.join(missing)}"


def frozen_layers(model: nn.Module, *names: str) -> str | None:
    """One sentence that says which of these layers have no parameter that requires gradients; None if all have one."""
    frozen = [name for name in names if not any(parameter.requires_grad for parameter in _parameters(model, name))]
    if not frozen:
        return None
    which = ", ".join(
        "last_stage (the layers before the classifier)" if name == "last_stage" else name for name in frozen
    )
    return f"network {_class_name(model)}: must have parameters that require gradients in {which}, got frozen ones"


def _class_name(model: nn.Module) -> str:
    """The class of a network, or of the one that a wrapper holds as `network`."""
    return type(getattr(model, "network", model)).__name__


def _parameters(model: nn.Module, name: str) -> Iterator[nn.Parameter]:
    value = getattr(model, name)
    for layer in value if isinstance(value, tuple) else (value,):
        yield from layer.parameters()


def anatomy(model: nn.Module, *names: str) -> UnlearnableModel:
    """The network, typed by its named layers. Raises InputError if it lacks one of `names`."""
    if (reason := missing_layers(model, *names)) is not None:
        raise InputError(reason)
    return cast(UnlearnableModel, model)


def submodule_name(model: nn.Module, submodule: nn.Module) -> str:
    """The name under which a network holds one of its submodules."""
    return next(name for name, module in model.named_modules() if module is submodule)


def parameter_names(model: nn.Module, submodule: nn.Module) -> list[str]:
    """The names, in the network, of the parameters of one of its submodules."""
    prefix = submodule_name(model, submodule)
    return [f"{prefix}.{name}" if prefix else name for name, _ in submodule.named_parameters()]
