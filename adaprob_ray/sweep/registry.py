"""What the planner must know of data sets, architectures, recipes, methods, metrics and stages. The catalogue fills it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from adaprob_ray.settings import hyperparameter, settings_dataclass


class DatasetEntry(Protocol):
    """What the planner asks of a data set."""

    revision: int
    pretrain_on: str | None

    @property
    def classes(self) -> int: ...
    @property
    def train_per_class(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Every name that a sweep file may use, with what the planner must know of it. The catalogue makes it."""

    datasets: Mapping[str, Any]  # name -> DatasetEntry
    architectures: Mapping[str, Any]  # name -> something with a revision and its narrowest scaled width
    recipes: Mapping[str, Any]  # name -> a dataclass instance with a revision
    methods: Mapping[str, Any]  # name -> dataclass with stage, revision, reads_forget
    metrics: Mapping[str, Any]  # name -> something with a revision
    relearning: Mapping[str, Any]  # name of a recipe -> a dataclass instance: how models trained by it relearn
    stages: Mapping[str, int]  # name -> revision


@settings_dataclass
class DatasetSettings:
    name: str = hyperparameter(default="")
    test_pool: Literal["clean", "paper"] = hyperparameter(default="clean")


@settings_dataclass
class ArchitectureSettings:
    name: str = hyperparameter(default="")
    filters: float = hyperparameter(default=1.0, gt=0)
