"""What the planner must know of data sets, architectures, recipes, methods, metrics and stages. The catalogue fills it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from adaprob_ray.sweep.settings import hyper


class DatasetEntry(Protocol):
    """What the planner asks of a data set."""

    revision: int
    pretrain_on: str | None

    @property
    def classes(self) -> int: ...
    @property
    def train_per_class(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Every name that a sweep file may use, with what the planner must know of it. The catalogue makes it."""

    datasets: Mapping[str, Any]  # name -> DatasetEntry
    architectures: Mapping[str, Any]  # name -> something with a revision and its narrowest scaled width
    recipes: Mapping[str, Any]  # name -> a dataclass instance with a revision
    methods: Mapping[str, Any]  # name -> dataclass with stage, revision, reads_forget
    metrics: Mapping[str, Any]  # name -> something with a revision
    relearning: Mapping[str, Any]  # name of a recipe -> a dataclass instance: how models trained by it relearn
    stages: Mapping[str, int]  # name -> revision


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    name: str = hyper("")
    test_pool: str = hyper("clean", choices=("clean", "paper"))


@dataclass(frozen=True, kw_only=True)
class ArchitectureSettings:
    name: str = hyper("")
    filters: float = hyper(1.0, above=0)
