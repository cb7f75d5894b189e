"""Options that `unlearn` and `audit` share, and how their texts become values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, get_origin

import click

from adaprob_ray.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])

# Options that name inputs: name, metavar, whether `unlearn` requires it, help.
INPUT_OPTIONS = (
    ("--model", "NAME", True, "package.module:factory, file.py:factory, torchvision:NAME or timm:NAME."),
    ("--model-args", "JSON", False, "Arguments of the factory, such as '{\"num_classes\": 10}'."),
    ("--weights", "FILE", False, "The original weights: safetensors, or a state dict saved by torch.save."),
    ("--data", "NAME", True, "cifar10, cifar100, digits, imagefolder:PATH, package.module:factory or file.py:factory."),
    ("--mean", "NUMBERS", False, "Mean per channel, of pixels/255, such as 0.485,0.456,0.406. Default: the data's."),
    ("--std", "NUMBERS", False, "Standard deviation per channel, as for --mean."),
    ("--forget", "SAMPLES", True, "A text file with one index per line, a .json file with a list, or class:NUMBER."),
    ("--retain", "SAMPLES", False, "sample:NUMBER or a file of indices. Default: all others."),
    ("--validation", "share:NUMBER", False, "Use this share of the test data as validation data."),
)


def input_options(*, required: bool) -> Callable[[Function], Function]:
    """The options that name inputs. `required`: whether those without which nothing can be done must be given."""

    def add(function: Function) -> Function:
        reference = "Weights of a model trained without the samples; repeatable."
        function = click.option("--reference", "references", multiple=True, metavar="FILE", help=reference)(function)
        size = "Pixels, for imagefolder.  [default: 224]"
        function = click.option("--size", type=click.IntRange(min=1), help=size)(function)
        for name, metavar, is_required, text in reversed(INPUT_OPTIONS):
            function = click.option(name, required=required and is_required, metavar=metavar, help=text)(function)
        return function

    return add


def given_inputs(options: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that the options name, as fields of `Inputs`; what is not given is left out. Raises InputError."""
    names = ("model", "weights", "data", "forget", "retain", "validation", "size")
    fields = {name: options[name] for name in names if options[name] is not None}
    mean, std = (numbers(options[name], f"--{name}") for name in ("mean", "std"))
    if (mean is None) != (std is None):
        raise InputError("--mean, --std: must be given together, got one of them")
    if mean is not None:
        fields |= {"mean": mean, "std": std}
    if options["model_args"] is not None:
        fields["model_args"] = json_arguments(options["model_args"], "--model-args")
    return fields | ({"references": options["references"]} if options["references"] else {})


def numbers(text: str | None, where: str) -> tuple[float, ...] | None:
    """`0.5,0.5,0.5` as numbers. Raises InputError."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(",")) if text.strip() else ()
    except ValueError as error:
        raise InputError(f"{where}: must be numbers with commas between them, got {text!r}") from error


def json_arguments(text: str, where: str) -> dict[str, Any]:
    """A JSON object. Raises InputError."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: must be JSON such as '{{\"num_classes\": 10}}': {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: must be a JSON object, got {text[:40]}")
    return value


def method_settings(assignments: tuple[str, ...], method: str) -> dict[str, Any]:
    """`("lr=1e-3", "scrub.epochs=3")` as settings of a method. Raises InputError if one is not an assignment or given twice."""
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not (sign and name and text):
            raise InputError(f"--set: must be NAME=VALUE, got {assignment!r}")
        if name == "max_drop":
            raise InputError(f"--set: must leave max_drop to --max-drop, got {assignment!r}")
        *outer, last = name.split(".")
        place = settings
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise InputError(f"--set: {part}: must be given once, got a value and settings")
        if last in place:
            raise InputError(f"--set: {name}: must be given once, got {assignment!r} as well")
        place[last] = _value(text)
    return _typed(settings, method)


def _value(text: str) -> Any:
    """A number, true or false, null, a list of these with commas between them, or else text."""
    import yaml

    if "," in text and not text.startswith("["):
        return [_value(part) for part in text.split(",")]
    with suppress(ValueError):  # before YAML, which reads 1e-3 as text
        return float(text) if not text.lstrip("+-").isdigit() else int(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _typed(settings: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Settings in which an integer is a float where the method's field is one, and one number a list where it is a list."""
    from adaprob_ray.catalogue import METHODS, REGISTRY
    from adaprob_ray.settings import base_type, hyperparameters
    from adaprob_ray.user_code.folders import look_in

    if ":" in method:
        look_in(Path.cwd())
        REGISTRY.name_faults("method", method)  # which are reported where the method is made
    fields = hyperparameters(METHODS[method]) if method in METHODS else {}
    typed: dict[str, Any] = {}
    for name, value in settings.items():
        kind = base_type(fields[name].annotation) if name in fields else None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            typed[name] = float(value)
        elif get_origin(kind) is tuple and isinstance(value, int):
            typed[name] = [value]
        else:
            typed[name] = value
    return typed
