"""The values of a sweep file, checked against the registry: settings of the right types, or one line for each fault."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import as_mapping, parse_settings
from adaprob_ray.sweep.cell import Resources, canonical
from adaprob_ray.sweep.cell_settings import ArchitectureSettings, DatasetSettings, ForgetRequest
from adaprob_ray.sweep.faults import Faults as Faults
from adaprob_ray.sweep.forget_checks import forget_faults
from adaprob_ray.sweep.network_checks import network_faults, with_arguments
from adaprob_ray.sweep.registry import MetricStage, Registry
from adaprob_ray.sweep.schema import SweepFile, label_settings
from adaprob_ray.user_code.source import is_path

# numpy's RandomState, which draws the published splits, takes no larger seed.
MAX_SEED = 2**32 - 1
T = TypeVar("T")


@dataclass(frozen=True)
class GridPoint:
    """One point of the grid."""

    dataset: DatasetSettings
    architecture: ArchitectureSettings
    forget: ForgetRequest
    seed: int

    def matches(self, where: Mapping[str, Any]) -> bool:
        """Whether every key of `where` agrees with this point."""
        values = {"forget": self.forget.document(), "seed": self.seed}
        values |= {"dataset": as_mapping(self.dataset), "architecture": as_mapping(self.architecture)}
        return all(_agrees(values[name], condition) for name, condition in where.items())

    def __str__(self) -> str:
        return f"{self.dataset}, {self.architecture.title}, {self.forget}, seed {self.seed}"


def _agrees(value: Any, condition: Any) -> bool:
    """A name, a kind, a number, a mapping of some of its keys, or a list of these of which one agrees."""
    if isinstance(condition, list):
        return any(_agrees(value, item) for item in condition)
    if isinstance(value, Mapping) and isinstance(condition, Mapping):
        return all(value.get(name) == item for name, item in condition.items())
    if isinstance(value, Mapping):
        return condition in (value.get("name"), value.get("kind"))
    return bool(value == condition)


# -- the grid --------------------------------------------------------------------------------------------------------------


def grid_points(file: SweepFile, registry: Registry, faults: Faults) -> list[GridPoint]:
    """All points of the grid in the order of the file; none if an axis is at fault."""
    grid = file.grid
    datasets = [_dataset(item, registry, faults) for item in _axis("dataset", grid.dataset, faults)]
    architectures = [_architecture(item, registry, faults) for item in _axis("architecture", grid.architecture, faults)]
    seeds = [check_seed("grid.seed", item, faults) for item in _axis("seed", grid.seed, faults)]
    requests = _axis("forget", grid.forget, faults)
    for dataset, request in itertools.product(datasets, requests):
        entry = registry.dataset(dataset) if dataset.name in registry.datasets else None
        faults.add(*(f"grid.forget: {fault}" for fault in forget_faults(str(dataset), entry, request)))
    if faults:
        return []
    for dataset, architecture in itertools.product(datasets, architectures):
        faults.add(*network_faults(file, dataset, architecture, registry))
    if faults:
        return []
    for name in sorted(registry.stages_needed(file.metrics)):
        for dataset, architecture in itertools.product(datasets, architectures):
            if fault := registry.metric_stages[name].network_fault(registry.network_for(dataset, architecture)):
                faults.add(f"metrics: {name}: {fault}")
    if faults:
        return []
    forgets = dict.fromkeys(step for request in requests for step in ForgetRequest.steps(request))
    return [GridPoint(*point) for point in itertools.product(datasets, architectures, forgets, seeds)]


def _axis(name: str, value: Any, faults: Faults) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        faults.add(f"grid.{name}: must have at least one value, got an empty list")
    texts = [canonical(item) for item in values]
    faults.add(*(f"grid.{name}: {text} is given more than once" for text in sorted(texts) if texts.count(text) > 1))
    return values


def _name_settings(kind: str, item: Any, cls: type[T], registry: Registry, faults: Faults) -> T:
    """Settings of a data set or an architecture, given by its name alone or as a mapping.

    Where other settings are at fault, those of the name alone, so that what depends on the name can be checked too.
    """
    mapping = {"name": item} if isinstance(item, str) else item
    if not isinstance(mapping, dict):
        faults.add(f"grid.{kind}: must be a name or a mapping, got {item!r}")
        return cls()
    settings, lines = parse_settings(cls, mapping, f"grid.{kind}")
    faults.add(*lines)
    name = mapping.get("name", "")
    if lines := registry.name_faults(kind, name):
        faults.add(*(f"grid.{kind}: {line}" for line in lines))
        return settings or cls()
    return settings or cls(name=name)  # type: ignore[call-arg]  # both classes have it


def _dataset(item: Any, registry: Registry, faults: Faults) -> DatasetSettings:
    """As `_name_settings`; the whole data set where it has fewer images than the file asks for."""
    settings = _name_settings("dataset", item, DatasetSettings, registry, faults)
    if settings.name in registry.datasets:
        try:
            registry.dataset(settings)
        except InputError as error:
            faults.add(*(f"grid.dataset: {line}" for line in error.faults))
            return DatasetSettings(name=settings.name)
        if str(settings) != settings.name and str(settings) in registry.datasets:
            faults.add(
                f"grid.dataset: {settings.name}: train_per_class: must be a number other than {settings.train_per_class}, "
                f"because there is a data set {settings}"
            )
    return settings


def _architecture(item: Any, registry: Registry, faults: Faults) -> ArchitectureSettings:
    architectures = registry.architectures
    settings = _name_settings("architecture", with_arguments(item, faults), ArchitectureSettings, registry, faults)
    narrowest = architectures[settings.name].narrowest if settings.name in architectures else math.inf
    if settings.filters * narrowest < 1:
        limit = f"must be at least {1 / narrowest:.4f}, got {settings.filters:g}"
        faults.add(f"grid.architecture: {settings.name}: filters {limit}")
    return settings


def check_seed(where: str, value: Any, faults: Faults) -> int:
    """A seed of a split; forget sets are drawn with seed − 1."""
    if type(value) is int and 1 <= value <= MAX_SEED:
        return value
    faults.add(f"{where}: must be an integer of at least 1 and at most {MAX_SEED}, got {value!r}")
    return 1


# -- recipes, metrics, resources -------------------------------------------------------------------------------------------


def check_recipe(where: str, section: Mapping[str, Any], default: str, registry: Registry, faults: Faults) -> Recipe:
    """The recipe that `section` names, with the fields that it changes."""
    name = section.get("recipe", default)
    if not is_known(name, registry.recipes):
        faults.add(f"{where}: {unknown_name('recipe', name, registry.recipes)}")
        return Recipe()
    other_keys = ("recipe", "seed") if where == "pretrain" else ("recipe",)  # the seeds of train are the grid's
    changes = {key: value for key, value in section.items() if key not in other_keys}
    recipe, lines = parse_settings(Recipe, {**as_mapping(registry.recipes[name]), **changes}, where)
    faults.add(*lines)
    return recipe or Recipe()


def check_metrics(file: SweepFile, registry: Registry, faults: Faults) -> None:
    """The metrics of the file must exist and have columns of their own, and each is listed once."""
    metric_of: dict[str, str] = {}
    for name in dict.fromkeys(file.metrics):
        lines = registry.name_faults("metric", name)
        faults.add(*(f"metrics: {line}" for line in lines))
        # Columns of the catalogue are checked where a metric by path is loaded.
        for column in () if lines or not is_path(name) else registry.metrics[name].columns:
            other = metric_of.setdefault(column, name)
            if other != name:
                faults.add(f"metrics: {name}: columns: must be new, got {column!r}, which {other} has already")
    if not file.metrics or len(set(file.metrics)) < len(file.metrics):
        faults.add(f"metrics: must be at least one, each once, got {file.metrics}")


def check_metric_stages(file: SweepFile, registry: Registry, faults: Faults) -> dict[str, Any]:
    """The options of each stage that a metric of the file needs, by the stage's name."""
    options: dict[str, Any] = {}
    for name, stage in registry.metric_stages.items():
        section = getattr(file, name)
        metrics = [metric for metric, entry in registry.metrics.items() if name in entry.needs]
        asking = [metric for metric in metrics if metric in file.metrics]
        if asking:
            options[name] = _stage_options(file, stage, asking[0], registry, faults)
        elif section:
            faults.add(f"{name}: has no effect unless metrics lists {' or '.join(metrics)}")
    return options


def _stage_options(file: SweepFile, stage: MetricStage, metric: str, registry: Registry, faults: Faults) -> Any:
    if file.keep.unlearn != "weights" and _has_unlearning(file, registry):
        faults.add(f"metrics: {metric} needs the weights of unlearned models; write keep: {{unlearn: weights}}")
    recipe, section = file.train.get("recipe", "large"), getattr(file, stage.name)
    if not is_known(recipe, registry.recipes):
        return None  # reported where recipes are
    if stage.defaults and recipe not in stage.defaults and "lr" not in section:
        recipes = ", ".join(sorted(stage.defaults))
        faults.add(f"{stage.name}: lr: must be written for recipe {recipe!r} (known for: {recipes})")
        return None
    defaults = as_mapping(stage.defaults[recipe]) if recipe in stage.defaults else {}
    options, lines = parse_settings(stage.options, {**defaults, **section}, stage.name)
    faults.add(*lines)
    return options


def _has_unlearning(file: SweepFile, registry: Registry) -> bool:
    """Whether a label starts from the original, and so makes a model that drops its weights by default."""
    names = [entry.get("method", label) for label, item in file.methods.items() for entry in label_settings(item)]
    return any(registry.methods[name].stage == "unlearn" for name in names if not registry.name_faults("method", name))


def check_resources(file: SweepFile, registry: Registry, faults: Faults) -> dict[str, Resources]:
    """What the cells of each stage hold while they run."""
    resources = {name: stage.resources for name, stage in registry.stages.items()}
    for name, section in file.resources.items():
        if name not in registry.stages:
            faults.add(f"resources: {unknown_name('key', name, registry.stages)}")
            continue
        values = {**as_mapping(resources[name]), **section}
        settings, lines = parse_settings(Resources, values, f"resources.{name}")
        faults.add(*lines)
        resources[name] = settings or resources[name]
    return resources


def is_known(name: Any, names: Mapping[str, Any]) -> bool:
    """Whether a value from a file is one of these names; a list or a mapping is none."""
    return isinstance(name, str) and name in names
