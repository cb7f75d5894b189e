"""A method of another package."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from adaprob_ray.errors import InputError, first_names
from adaprob_ray.methods.base import Method, Trained, Unlearning
from adaprob_ray.settings import as_mapping, hyperparameters
from adaprob_ray.sweep.cell import canonical
from adaprob_ray.user_code.load import load_path

# What `needs` may name, see methods.context.
NEEDS = ("retain", "forget", "validation", "recipe", "initial_state", "fresh_model")
# Settings that mean something else where a sweep file or a condition has settings of methods.
RESERVED_SETTINGS = (
    *("method", "stage", "label", "dataset", "architecture", "forget", "precision"),
    *("class", "count", "seed", "repeat"),
)


def load_method(path: str, built_in: Collection[str]) -> type[Method]:
    """The method that a path names.

    Args:
        path: `package.module:Class`.
        built_in: names of the catalogue, which a method of another package may not have.

    Raises:
        InputError: one line for each fault.
    """
    cls = load_path(path)
    if not (isinstance(cls, type) and issubclass(cls, (Unlearning, Trained))):
        got = f"the class {cls.__name__}" if isinstance(cls, type) else type(cls).__name__
        raise InputError(f"{path}: must be a class that derives from adaprob_ray.methods.base.Unlearning, got {got}")
    faults = method_faults(cls, built_in)
    if faults:
        raise InputError(*(f"{path}: {fault}" for fault in faults))
    return cls


def method_faults(cls: type[Method], built_in: Collection[str]) -> list[str]:
    """What is wrong with the declaration of a method, one line each."""
    if "__hyperparameters__" not in vars(cls):
        return ["must be decorated with @settings_dataclass (adaprob_ray.settings)"]
    faults = [*_name_faults(cls, built_in), *_need_faults(cls)]
    if type(cls.revision) is not int or cls.revision < 1:
        faults.append(f"revision: must be an integer of at least 1, got {cls.revision!r}")
    base: Any = Unlearning if issubclass(cls, Unlearning) else Trained
    verb = "unlearn" if base is Unlearning else "rows"
    for name, declared in (("cost", Method.cost), (verb, getattr(base, verb))):
        if getattr(cls, name) is declared:
            faults.append(f"{name}: must be defined, got none (see adaprob_ray.methods.base)")
    clashes = [name for name in hyperparameters(cls) if name in RESERVED_SETTINGS]
    faults += [f"{name}: must be renamed, because sweep files reserve this name" for name in clashes]
    return faults or _default_faults(cls)


def _name_faults(cls: type[Method], built_in: Collection[str]) -> list[str]:
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        return [f'name: must be text, such as name = "{cls.__name__.lower()}", got {name!r}']
    if name in built_in:
        return [
            f"name: must differ from the methods of adaprob_ray, got {name!r} (known: {first_names(sorted(built_in))})"
        ]
    return []


def _need_faults(cls: type[Method]) -> list[str]:
    faults = []
    for attribute in ("needs", "optional_needs"):
        value = getattr(cls, attribute)
        if not isinstance(value, frozenset) or not value <= set(NEEDS):
            faults.append(f"{attribute}: must be a frozenset of {', '.join(NEEDS)}, got {value!r}")
    return faults


def _default_faults(cls: type[Method]) -> list[str]:
    """Whether the method can be built with its defaults, and these be written as JSON."""
    try:
        method = cls()
        canonical(as_mapping(method))
        cls(**{name: getattr(method, name) for name in hyperparameters(cls)})  # defaults themselves are not validated
    except InputError as error:
        return [f"must have defaults within its bounds, got {fault}" for fault in error.faults]
    except (TypeError, ValueError) as error:
        return [f"settings: must be numbers, words, lists of them or settings, got {error}"]
    return []
