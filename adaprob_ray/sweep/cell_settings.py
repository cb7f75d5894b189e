"""The settings of a cell: frozen dataclasses, one for each stage, and their JSON, which is hashed into the key.

A stage that metrics ask for, such as relearn, declares its settings in its own file; those of the other stages are declared
here, because every sweep is expanded to them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import pydantic

from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import as_mapping, hyperparameter, settings_dataclass
from adaprob_ray.sweep.forget_request import ForgetRequest


@settings_dataclass
class DatasetSettings:
    """A data set by name. `test_pool: clean` drops test images that are also training images, `paper` keeps them.

    `str` is what Records, tables and `--only` call it.

    >>> str(DatasetSettings(name="cifar10")), str(DatasetSettings(name="cifar10", train_per_class=600))
    ('cifar10', 'cifar10-600')
    """

    name: str = hyperparameter(default="", help="as in `adaprob-ray list datasets`, or a path")
    test_pool: Literal["clean", "paper"] = hyperparameter(
        default="clean", help="whether test images that are also training images are dropped (clean) or stay (paper)"
    )
    train_per_class: int | None = hyperparameter(
        default=None,
        ge=1,
        unit="images",
        help="train on this many images of each class, of the first in the files; by default on all",
        omit_default=True,
    )

    def __str__(self) -> str:
        return self.name if self.train_per_class is None else f"{self.name}-{self.train_per_class}"


def full_dataset(name: str) -> str:
    """The data set that `str(DatasetSettings(…))` has a part of, or its own name.

    >>> full_dataset("cifar10-600"), full_dataset("cifar10")
    ('cifar10', 'cifar10')
    """
    full, _, count = name.rpartition("-")
    return full if full and count.isdecimal() else name


def _hashable(value: dict[str, Any] | None) -> Arguments | None:
    return None if value is None else Arguments(value)


class Arguments(dict[str, Any]):
    """Arguments by name, not to be changed, so that settings which hold them can be compared and cached."""

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none
        return hash(json.dumps(self, sort_keys=True))

    def __str__(self) -> str:
        return ", ".join(f"{name}={json.dumps(value)}" for name, value in self.items())


@settings_dataclass
class ArchitectureSettings:
    """A network by name, and the factor on its widths."""

    name: str = hyperparameter(default="", help="as in `adaprob-ray list architectures`, or a path")
    # A hundred times the published widths is 10^9 parameters or more; far beyond, PyTorch cannot count them.
    filters: float = hyperparameter(default=1.0, gt=0, le=100, help="width multiplier")
    arguments: Annotated[dict[str, Any] | None, pydantic.AfterValidator(_hashable)] = hyperparameter(
        default=None, omit_default=True, help="of a network by path; they may stand next to its name"
    )

    @property
    def title(self) -> str:
        """The name with its arguments, as tables and Records have it.

        >>> ArchitectureSettings(name="my_package.nets:small", arguments={"width": 8}).title
        'my_package.nets:small(width=8)'
        """
        return f"{self.name}({self.arguments})" if self.arguments else self.name


@dataclass(frozen=True, kw_only=True)
class CellSettings:
    """What every cell has. `document` omits a field whose value is its default None."""

    dataset: DatasetSettings
    architecture: ArchitectureSettings
    seed: int
    precision: str

    def document(self) -> dict[str, Any]:
        """The JSON of these settings. It is part of the key: no name and no value in it may ever change."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: _plain(value) for name, value in values.items() if value is not None}

    def shared(self) -> dict[str, Any]:
        """The fields that every cell has, for the settings of another cell of the same point of a grid."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(CellSettings)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The settings whose JSON is `document`."""
        types = _field_types(cls)  # type: ignore[arg-type]  # mypy does not take a class for hashable
        return cls(**{name: _typed(types[name], value) for name, value in document.items()})


@functools.cache  # evaluating the annotations takes longer than all else when thousands of cells are read
def _field_types(settings: type[CellSettings]) -> dict[str, Any]:
    return typing.get_type_hints(settings)


def _plain(value: Any) -> Any:
    if isinstance(value, ForgetRequest):
        return value.document()
    if dataclasses.is_dataclass(value):
        return as_mapping(value)
    return list(value) if isinstance(value, tuple) else value


def _typed(kind: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return tuple(value) if isinstance(value, list) else value
    for option in typing.get_args(kind) or (kind,):
        if option is ForgetRequest:
            return ForgetRequest.from_document(value)
        if dataclasses.is_dataclass(option):
            return typing.cast(Any, option)(**value)
    return value


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(CellSettings):
    """A network trained on the data set that others start from."""

    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class ModelSettings(CellSettings):
    """A model that a method produced. `hyper`: all hyperparameters of the method, by name."""

    method: str
    hyper: Mapping[str, Any] = field(hash=False)
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class TrainSettings(ModelSettings):
    """A model trained by the recipe. `forget` is None where the method does not read it, as for the original."""

    forget: ForgetRequest | None = None


@dataclass(frozen=True, kw_only=True)
class ImportSettings(ModelSettings):
    """An original whose weights come from a file. `weights`: their SHA-256; `recipe`: of the sweep, by which methods go."""

    weights: str


@dataclass(frozen=True, kw_only=True)
class UnlearnSettings(ModelSettings):
    """A model unlearned from the original. `repeat` varies the randomness of the unlearning alone."""

    forget: ForgetRequest
    repeat: int


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(CellSettings):
    """The metrics of one model, under the label of its line in the tables."""

    label: str
    method: str
    hyper: Mapping[str, Any] = field(hash=False)
    forget: ForgetRequest
    repeat: int
    metrics: tuple[str, ...]
