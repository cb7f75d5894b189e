"""A small registry that is independent of the catalogue, and sweep files that use it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import PositiveInt, as_mapping, hyperparameter, settings_dataclass
from adaprob_ray.sizes import Sizes
from adaprob_ray.sweep.cell import Cell, Resources
from adaprob_ray.sweep.cell_settings import (
    ArchitectureSettings,
    CellSettings,
    DatasetSettings,
    EvaluateSettings,
    ForgetRequest,
    PretrainSettings,
    TrainSettings,
    UnlearnSettings,
)
from adaprob_ray.sweep.registry import MetricStage, Registry, Stage
from adaprob_ray.sweep.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class FakeDataset:
    """A data set of which only the sizes are known."""

    train_per_class: tuple[int, ...]
    pretrain_on: str | None = None
    revision: int = 1
    channels: int = 3
    size: int = 32
    test_count: int = 10

    @property
    def classes(self) -> int:
        return len(self.train_per_class)

    @property
    def validation_per_class(self) -> tuple[int, ...]:
        return self.train_per_class

    def verify(self, root: Path) -> str | None:
        return None

    def reduced(self, train_per_class: int) -> FakeDataset:
        return replace(self, train_per_class=(train_per_class,) * self.classes)


@dataclass(frozen=True)
class FakeArchitecture:
    """An architecture without layers."""

    revision: int = 1
    narrowest: int = 64

    def multiply_adds(self, *, channels: int, filters: float, size: int) -> int:
        return 1000

    def parameter_count(self, *, classes: int, channels: int, filters: float) -> int:
        return 1000

    def on_meta(self, *, classes: int, channels: int, filters: float) -> Any:
        return None


@dataclass(frozen=True)
class FakeMetric:
    """A metric."""

    revision: int = 1
    needs: frozenset[str] = frozenset()


class FakeMethod:
    """What the planner reads of every method."""

    reads_forget: ClassVar[bool] = True
    revision: ClassVar[int] = 1
    part_revisions: ClassVar[Mapping[str, int]] = {}

    def skip(self, sizes: Sizes, architecture: Any) -> str | None:
        return None


@settings_dataclass
class FakeRelearnOptions:
    """How a model relearns."""

    lr: float = hyperparameter(default=0.01, gt=0)
    epochs: int = hyperparameter(default=100, ge=1)


@dataclass(frozen=True, kw_only=True)
class RelearnSettings(CellSettings):
    method: str
    recipe: Recipe
    forget: ForgetRequest
    repeat: int
    relearn: FakeRelearnOptions


def relearn_settings(model: Cell, forget: ForgetRequest, repeat: int, options: FakeRelearnOptions) -> RelearnSettings:
    names = ("dataset", "architecture", "seed", "precision", "method", "recipe")
    shared = {name: getattr(model.settings, name) for name in names}
    return RelearnSettings(**shared, forget=forget, repeat=repeat, relearn=options)


@settings_dataclass
class Original(FakeMethod):
    stage: ClassVar[str] = "train"
    reads_forget: ClassVar[bool] = False


@settings_dataclass
class Retrain(FakeMethod):
    stage: ClassVar[str] = "train"
    variant: Literal["code", "plain"] = hyperparameter(default="code")


@settings_dataclass
class RetrainIndependent(Retrain):
    pass


@settings_dataclass
class Scrub(FakeMethod):
    stage: ClassVar[str] = "unlearn"
    lr: float = hyperparameter(default=5e-3, gt=0)
    epochs: int = hyperparameter(default=5, ge=1)
    forget_epochs: int = hyperparameter(default=3, ge=0)
    milestones: tuple[PositiveInt, ...] = hyperparameter(default=(3, 5, 9))
    alpha: float = hyperparameter(default=0.5, ge=0)


@settings_dataclass
class Adaprob(FakeMethod):
    stage: ClassVar[str] = "unlearn"
    reference: Literal["original", "pseudo"] = hyperparameter(default="original")
    totals: Literal["original", "pseudo"] = hyperparameter(default="pseudo")
    lam: float = hyperparameter(default=1.0, gt=0)
    lr: float = hyperparameter(default=5e-3, gt=0)

    def __post_init__(self) -> None:
        if self.reference == self.totals == "original":
            raise ValueError("reference: original with totals: original asks for no change at all")


def run_nothing(cell: Cell, context: Any) -> None:
    raise AssertionError("the planner runs nothing")


WORLD = Registry(
    datasets={
        "cifar10": FakeDataset(train_per_class=(4000,) * 10, pretrain_on="cifar100"),
        "cifar100": FakeDataset(train_per_class=(400,) * 100),
        "faces10": FakeDataset(train_per_class=(320,) * 10, pretrain_on="faces100"),
        "faces100": FakeDataset(train_per_class=(100,) * 100),
        "dots": FakeDataset(train_per_class=(30, 20)),
        "one_class": FakeDataset(train_per_class=(7,)),
    },
    architectures={"allcnn": FakeArchitecture(), "resnet18": FakeArchitecture()},
    recipes={
        "pretrain": Recipe(epochs=30, lr=0.1),
        "small": Recipe(epochs=10, lr=0.001),
        "large": Recipe(epochs=10, lr=0.01),
    },
    methods={
        "original": Original,
        "retrain": Retrain,
        "retrain_independent": RetrainIndependent,
        "scrub": Scrub,
        "adaprob": Adaprob,
    },
    metrics={
        "relearn": FakeMetric(needs=frozenset({"relearn"})),
        **{name: FakeMetric() for name in ("errors", "membership", "kl_to_retrain", "seconds")},
    },
    stages={
        "pretrain": Stage(name="pretrain", settings=PretrainSettings, run=run_nothing, priority=1000, keeps="weights"),
        "train": Stage(name="train", settings=TrainSettings, run=run_nothing, priority=100, keeps="weights"),
        "unlearn": Stage(name="unlearn", settings=UnlearnSettings, run=run_nothing, priority=10, keeps=None),
        "relearn": MetricStage(
            name="relearn",
            settings=RelearnSettings,
            run=run_nothing,
            priority=10,
            options=FakeRelearnOptions,
            defaults={"small": FakeRelearnOptions(lr=0.1), "large": FakeRelearnOptions()},
            cell_settings=relearn_settings,
        ),
        "evaluate": Stage(name="evaluate", settings=EvaluateSettings, run=run_nothing, reads_dataset=False),
    },
)

BASE: Mapping[str, Any] = {
    "name": "base",
    "grid": {
        "dataset": "dots",
        "architecture": "allcnn",
        "forget": {"kind": "selective", "class": 1, "count": 5},
        "seed": [1, 2],
    },
    "train": {"recipe": "large"},
    "methods": {"scrub": {}},
    "metrics": ["errors", "membership"],
}


def with_bumped_revision(kind: str, name: str) -> Registry:
    """WORLD with the revision of one entry raised by one."""
    entries = dict(getattr(WORLD, kind))
    old = entries[name]
    if kind == "methods":
        entries[name] = type(old.__name__, (old,), {"revision": old.revision + 1})
    elif kind == "recipes":
        entries[name] = type("Recipe", (Recipe,), {"revision": old.revision + 1})(**as_mapping(old))
    else:
        entries[name] = replace(old, revision=old.revision + 1)
    return replace(WORLD, **{kind: entries})


def with_value(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a document with the value at a dotted path set."""
    result = copy.deepcopy(dict(document))
    *parents, last = path.split(".")
    section = result
    for name in parents:
        section = section.setdefault(name, {})
    section[last] = value
    return result


def expand(document: Mapping[str, Any], registry: Registry = WORLD) -> Mapping[str, Cell]:
    """The cells of a document, through its YAML text."""
    return Sweep.parse(yaml.safe_dump(dict(document), sort_keys=False), registry).cells


def keys(cells: Mapping[str, Cell], *stages: str) -> set[str]:
    """Keys of the cells of these stages; without stages, of all cells."""
    return {key for key, cell in cells.items() if not stages or cell.stage in stages}


@dataclass
class Family:
    """A graph of cells built by hand: `add` takes the parents; the stage only sets the priority."""

    cells: dict[str, Cell] = field(default_factory=dict)

    def add(self, *parents: Cell, stage: str = "train", exclusive: bool = False) -> Cell:
        settings = CellSettings(
            dataset=DatasetSettings(name="none"),
            architecture=ArchitectureSettings(name="none"),
            seed=len(self.cells),
            precision="float32",
        )
        roles = {f"p{i}": parent.key for i, parent in enumerate(parents)}
        resources = Resources(exclusive=exclusive)
        cell = Cell(stage, settings, roles, resources=resources, priority=WORLD.stages[stage].priority)
        self.cells[cell.key] = cell
        return cell
