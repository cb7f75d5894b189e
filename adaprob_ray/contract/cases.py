"""Which methods are tested, and with which settings."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaprob_ray.catalogue import METHODS, REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.settings import hyperparameters
from adaprob_ray.user_code.folders import look_in

_chosen: list[str] = []


def choose(names: Sequence[str]) -> None:
    """Test these methods, given by name or by path, in place of the whole catalogue. Raises InputError."""
    faults = [fault for name in names for fault in REGISTRY.name_faults("method", name)]
    if faults:
        raise InputError(*faults)
    _chosen[:] = names


def chosen() -> list[str]:
    """The names that `choose` got; empty where the whole catalogue is tested."""
    return list(_chosen)


def methods() -> dict[str, Any]:
    """The methods that are tested, by name."""
    return {name: METHODS[name] for name in _chosen or METHODS}


@dataclass(frozen=True)
class Case:
    """A method with some settings, as JSON text so that it can be hashed."""

    method: str
    settings: str = "{}"

    @property
    def name(self) -> str:
        settings = json.loads(self.settings).items()
        return "-".join([self.method, *(f"{key}={value}" for key, value in settings)])

    @property
    def cls(self) -> Any:
        """The class of the method. Raises InputError if there is none of this name or path."""
        look_in(Path.cwd())
        if faults := REGISTRY.name_faults("method", self.method):
            raise InputError(*faults)
        return METHODS[self.method]

    def build(self) -> Any:
        return self.cls(**json.loads(self.settings))


def cases(stage: str) -> list[Case]:
    """Each chosen method of a stage with `{}`, with each choice that is not a default, if allowed, and its tested settings."""
    selected = []
    for name, cls in methods().items():
        if cls.stage != stage:
            continue
        selected.append(Case(name))
        choices = [
            {item.name: choice}
            for item in hyperparameters(cls).values()
            for choice in item.choices
            if choice != item.default
        ]
        for settings in [*choices, *cls.tested_settings]:
            with contextlib.suppress(ValueError):
                cls(**settings)
                selected.append(Case(name, json.dumps(settings)))
    return selected
