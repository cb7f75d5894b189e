"""The model that a user names: a factory of their own, or a network of torchvision or timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from adaprob_ray.errors import InputError
from adaprob_ray.models.weights_file import WeightsFile
from adaprob_ray.models.weights_keys import classifier_rows
from adaprob_ray.plugins.libraries import LIBRARIES, library_function
from adaprob_ray.user_code.objects import absolute_factory, call, is_factory, load_object

WHERE = "--model"


def check_model_name(spec: str) -> str:
    """The model with an absolute path, if it is of a file. Raises InputError if it has another form."""
    if not is_factory(spec) and spec.partition(":")[0] not in LIBRARIES:
        raise InputError(
            f"{WHERE}: must be package.module:factory, file.py:factory, torchvision:NAME or timm:NAME, got {spec!r}"
        )
    return absolute_factory(spec)


def load_model(spec: str, arguments: Mapping[str, Any], weights: WeightsFile | None, folder: Path) -> nn.Module:
    """A model with the weights that its factory gives it; those of the file are loaded by the caller.

    Args:
        spec: `package.module:factory`, `file.py:factory`, `torchvision:NAME` or `timm:NAME`.
        arguments: keyword arguments of the factory.
        weights: a network of a library gets as many classes as the file has, unless `arguments` has `num_classes`.
        folder: where modules are looked for.

    Raises:
        InputError: the name is unknown, the factory fails, or it returns something else than a module.
    """
    library, _, name = spec.partition(":")
    if library in LIBRARIES:
        return _library_model(library, name, arguments, weights)
    loaded_object = load_object(spec, WHERE, folder)
    model = (
        loaded_object
        if isinstance(loaded_object, nn.Module)
        else call(_callable(loaded_object, spec), WHERE, arguments)
    )
    if not isinstance(model, nn.Module):
        raise InputError(f"{WHERE}: {spec}: must return a torch.nn.Module, got {type(model).__name__}")
    return model


def _callable(loaded_object: Any, spec: str) -> Callable[..., Any]:
    if not callable(loaded_object):
        raise InputError(f"{WHERE}: {spec}: must be a function or a class, got {type(loaded_object).__name__}")
    function: Callable[..., Any] = loaded_object
    return function


def _library_model(library: str, name: str, arguments: Mapping[str, Any], weights: WeightsFile | None) -> nn.Module:
    if weights is None:
        raise InputError(f"--weights: must be given for {library}:{name}, which has random weights without them")
    build = library_function(library, name, WHERE)
    model = call(build, WHERE, arguments)
    assert isinstance(model, nn.Module)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not layers or "num_classes" in arguments:
        return model
    state = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    classes = classifier_rows(weights.state, state, layers[-1])
    if classes is None or classes == len(state[f"{layers[-1]}.weight"]):
        return model
    rebuilt = call(build, WHERE, {**arguments, "num_classes": classes})
    assert isinstance(rebuilt, nn.Module)
    return rebuilt
