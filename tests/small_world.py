"""A vocabulary that no change of the catalogue can move, and sweep files over it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import yaml

from adaprob_ray.settings import PositiveInt, hyperparameter, settings_dataclass
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.expand import Sweep
from adaprob_ray.sweep.registry import Registry


@dataclass(frozen=True, kw_only=True)
class RawImages:
    """A data set of which only the sizes are known."""

    train_per_class: tuple[int, ...]
    pretrain_on: str | None = None
    revision: int = 1

    @property
    def classes(self) -> int:
        return len(self.train_per_class)


@dataclass(frozen=True)
class Versioned:
    revision: int = 1
    narrowest: int = 64  # asked of architectures only


@settings_dataclass
class Schedule:
    """A recipe."""

    epochs: int = hyperparameter(default=10, ge=1)
    lr: float = hyperparameter(default=0.1, gt=0)

    revision = 1


@settings_dataclass
class Rounds:
    """How a model relearns."""

    lr: float = hyperparameter(default=0.01, gt=0)
    epochs: int = hyperparameter(default=100, ge=1)


@settings_dataclass
class Original:
    stage: ClassVar[str] = "train"
    reads_forget: ClassVar[bool] = False
    revision: ClassVar[int] = 1


@settings_dataclass
class Retrain:
    stage: ClassVar[str] = "train"
    reads_forget: ClassVar[bool] = True
    revision: ClassVar[int] = 1
    variant: Literal["code", "plain"] = hyperparameter(default="code")


@settings_dataclass
class RetrainIndependent(Retrain):
    pass


@settings_dataclass
class Scrub:
    stage: ClassVar[str] = "unlearn"
    reads_forget: ClassVar[bool] = True
    revision: ClassVar[int] = 1
    lr: float = hyperparameter(default=5e-3, gt=0)
    epochs: int = hyperparameter(default=5, ge=1)
    forget_epochs: int = hyperparameter(default=3, ge=0)
    milestones: tuple[PositiveInt, ...] = hyperparameter(default=(3, 5, 9))
    alpha: float = hyperparameter(default=0.5, ge=0)


@settings_dataclass
class Adaprob:
    stage: ClassVar[str] = "unlearn"
    reads_forget: ClassVar[bool] = True
    revision: ClassVar[int] = 1
    reference: Literal["original", "pseudo"] = hyperparameter(default="original")
    totals: Literal["original", "pseudo"] = hyperparameter(default="pseudo")
    lam: float = hyperparameter(default=1.0, gt=0)
    lr: float = hyperparameter(default=5e-3, gt=0)

    def __post_init__(self) -> None:
        if self.reference == self.totals == "original":
            raise ValueError("reference: original with totals: original asks for no change at all")


WORLD = Registry(
    datasets={
        "cifar10": RawImages(train_per_class=(4000,) * 10, pretrain_on="cifar100"),
        "cifar100": RawImages(train_per_class=(400,) * 100),
        "faces10": RawImages(train_per_class=(320,) * 10, pretrain_on="faces100"),
        "faces100": RawImages(train_per_class=(100,) * 100),
        "dots": RawImages(train_per_class=(30, 20)),
        "one_class": RawImages(train_per_class=(7,)),
    },
    architectures={"allcnn": Versioned(), "resnet18": Versioned()},
    recipes={"pretrain": Schedule(epochs=30), "small": Schedule(lr=0.001), "large": Schedule(lr=0.01)},
    methods={
        "original": Original,
        "retrain": Retrain,
        "retrain_independent": RetrainIndependent,
        "scrub": Scrub,
        "adaprob": Adaprob,
    },
    metrics={name: Versioned() for name in ("errors", "membership", "kl_to_retrain", "relearn", "seconds")},
    relearning={"small": Rounds(lr=0.1), "large": Rounds()},
    stages=dict.fromkeys(("pretrain", "train", "unlearn", "relearn", "evaluate"), 1),
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


def bumped(kind: str, name: str) -> Registry:
    """The world with the revision of one entry one higher."""
    entries = dict(getattr(WORLD, kind))
    old = entries[name]
    if kind == "stages":
        entries[name] = old + 1
    elif kind == "methods":
        entries[name] = type(old.__name__, (old,), {"revision": old.revision + 1})
    elif kind == "recipes":
        entries[name] = type("Schedule", (type(old),), {"revision": old.revision + 1})(epochs=old.epochs, lr=old.lr)
    else:
        entries[name] = replace(old, revision=old.revision + 1)
    return replace(WORLD, **{kind: entries})


def changed(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a document with the value at a dotted path replaced, or put there."""
    result = copy.deepcopy(dict(document))
    *way, last = path.split(".")
    place = result
    for name in way:
        place = place.setdefault(name, {})
    place[last] = value
    return result


def expand(document: Mapping[str, Any], registry: Registry = WORLD) -> dict[str, Cell]:
    """The cells of a document, through its YAML text."""
    return Sweep.parse(yaml.safe_dump(dict(document), sort_keys=False), registry).cells


def keys(cells: Mapping[str, Cell], *stages: str) -> set[str]:
    """Keys of the cells of these stages, of all without any."""
    return {key for key, cell in cells.items() if not stages or cell.stage in stages}


@dataclass
class Family:
    """Cells of a hand-made graph: `add` names the parents, the stage is of no meaning."""

    cells: dict[str, Cell] = field(default_factory=dict)

    def add(self, *parents: Cell, stage: str = "train", exclusive: bool = False) -> Cell:
        names = {"dataset": {"name": "none"}, "architecture": {"name": "none"}, "seed": len(self.cells)}
        roles = {f"p{i}": parent.key for i, parent in enumerate(parents)}
        cell = Cell(stage, names, roles, resources={"exclusive": exclusive})
        self.cells[cell.key] = cell
        return cell
