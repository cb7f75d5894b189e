"""What the planner knows of data sets, architectures, recipes, methods, metrics and stages. `catalogue.py` fills it in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.recipe import Recipe
from adaprob_ray.sizes import Cost, Sizes
from adaprob_ray.sweep.cell import Cell, Keep, Resources
from adaprob_ray.sweep.cell_settings import (
    ArchitectureSettings,
    CellSettings,
    DatasetSettings,
    ForgetRequest,
    ModelSettings,
    TrainSettings,
)
from adaprob_ray.user_code.source import is_path


class DatasetEntry(Protocol):
    """A data set whose sizes are known before it is read."""

    @property
    def revision(self) -> int: ...
    @property
    def pretrain_on(self) -> str | None: ...
    @property
    def classes(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def train_per_class(self) -> tuple[int, ...]: ...
    @property
    def validation_per_class(self) -> tuple[int, ...]: ...
    @property
    def test_count(self) -> int: ...
    @property
    def verify(self) -> Callable[[Path], str | None]: ...
    def reduced(self, train_per_class: int) -> DatasetEntry: ...


class ArchitectureEntry(Protocol):
    """A network. `narrowest` is its smallest width that `filters` scales.

    `multiply_adds(channels=…, filters=…, size=…)` counts those of one forward pass of one image, with one class.
    """

    @property
    def revision(self) -> int: ...
    @property
    def narrowest(self) -> float: ...
    @property
    def build(self) -> Callable[..., Any]: ...
    @property
    def multiply_adds(self) -> Callable[..., int]: ...
    @property
    def parameter_count(self) -> Callable[..., int]: ...
    @property
    def on_meta(self) -> Callable[..., Any]: ...


class MethodEntry(Protocol):
    """A method with its hyperparameters, see `methods.base.Method`, which this package may not import."""

    stage: ClassVar[Literal["train", "unlearn"]]
    reads_forget: ClassVar[bool]
    revision: ClassVar[int]

    def __init__(self, **hyper: Any) -> None: ...
    @property
    def part_revisions(self) -> Mapping[str, int]: ...
    def cost(self, sizes: Sizes) -> Cost: ...
    def skip(self, sizes: Sizes, architecture: Any) -> str | None: ...


def _names(cell: Cell) -> list[tuple[str, str]]:
    """What a cell names, by kind."""
    settings = cell.settings
    names = [("dataset", settings.dataset.name), ("architecture", settings.architecture.name)]
    names += [("method", cell.method)] if cell.method else []
    return names + [("metric", name) for name in getattr(settings, "metrics", ())]


def method_revisions(name: str, method: MethodEntry) -> dict[str, int]:
    """The revisions in the key of a cell of this method: its own, and those of the parts that its settings use."""
    parts = {f"method:{name}.{part}": revision for part, revision in method.part_revisions.items()}
    return {f"method:{name}": method.revision, **parts}


class MetricEntry(Protocol):
    """A metric. `needs` names the stages whose cells it reads besides the models' Outputs."""

    @property
    def revision(self) -> int: ...
    @property
    def needs(self) -> frozenset[str]: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def compute(self) -> Callable[[Any], dict[str, float | None]]: ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A kind of cell: how one is run, and all that the planner must know of it.

    settings: the class of its cells' settings.
    run: makes the artefacts of a cell, `(cell, StageContext) -> StageOutput`.
    revision: to be raised with every change that moves numbers; it is part of the key.
    priority: a rough relative cost. Cells with the most expensive remaining path start first.
    keeps: which artefacts its cells leave; None where the sweep file's `keep` says so.
    reads_dataset: whether its cells read images, so that these must be present before a run.
    resources: what a cell of it holds by default.
    artefact_bytes: how many bytes a cell will write, from the registry alone.
    passes: how many samples it will pass through networks; None where this is not known in advance.
    """

    name: str
    settings: type[CellSettings]
    run: Callable[[Cell, Any], Any] = field(repr=False)
    revision: int = 1
    priority: int = 1
    keeps: Keep | None = "outputs"
    reads_dataset: bool = True
    resources: Resources = Resources()  # noqa: RUF009  # frozen
    artefact_bytes: Callable[[Cell, Registry], int] = field(default=lambda cell, registry: 0, repr=False)
    passes: Callable[[Cell, Registry], Cost | None] = field(default=lambda cell, registry: None, repr=False)


@dataclass(frozen=True, kw_only=True)
class MetricStage(Stage):
    """A stage that runs only for the metrics that need it: one cell for each evaluated model, from its weights.

    Its parents are the model and the original of the same seed. The section of its name in a sweep file holds `options`;
    `defaults` are their values by the name of the training recipe, empty where they do not depend on it.
    `cell_settings(model, forget, repeat, options)` gives the settings of a cell, which hold the options in a field of the
    stage's name. `network_fault(network)` says in one sentence why it cannot measure a network, None where it can.
    """

    options: type
    defaults: Mapping[str, Any]
    cell_settings: Callable[[Cell, ForgetRequest, int, Any], CellSettings] = field(repr=False)
    network_fault: Callable[[Any], str | None] = field(default=lambda network: None, repr=False)


def _sample_count(forget: ForgetRequest, dataset: DatasetEntry) -> int:
    """The number of samples that one request names."""
    if forget.count is not None:
        return forget.count
    assert forget.class_index is not None
    return dataset.train_per_class[forget.class_index]


def _read_no_weights(path: Path, network: Any) -> str:
    raise InputError(f"{path}: cannot be read: this registry reads no weights")


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Every name that a sweep file may use.

    `weights_sha256(path, network)`: the digest of the weights that a file has for a network on the meta device. Raises
    InputError if the file cannot be read or does not fit.
    `loaders`: for each kind of name, what gives the entry that a path such as `my_package.mine:MyMethod` names.
    """

    datasets: Mapping[str, DatasetEntry]
    architectures: Mapping[str, ArchitectureEntry]
    recipes: Mapping[str, Recipe]
    methods: Mapping[str, type[MethodEntry]]
    metrics: Mapping[str, MetricEntry]
    stages: Mapping[str, Stage]
    weights_sha256: Callable[[Path, Any], str] = field(default=_read_no_weights, repr=False)
    loaders: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)

    def name_faults(self, kind: str, name: Any) -> list[str]:
        """What is wrong with a name, one line for each fault; an entry that a path names is added to the registry.

        Args:
            kind: dataset, architecture, method or metric.
            name: the value in a sweep file.
        """
        entries: dict[str, Any] = cast(dict[str, Any], getattr(self, f"{kind}s"))
        if isinstance(name, str) and name in entries:
            return []
        if not is_path(name) or kind not in self.loaders:
            return [unknown_name(kind, name, entries)]
        try:
            entries[name] = self.loaders[kind](name)
        except InputError as error:
            return list(error.faults)
        return []

    def load(self, cell: Cell) -> None:
        """Import what a cell names by path, where another process has planned it. Raises InputError."""
        names = _names(cell)
        faults = [fault for kind, name in names if is_path(name) for fault in self.name_faults(kind, name)]
        if faults:
            raise InputError(*faults)

    def has_names(self, cell: Cell) -> bool:
        """Whether the registry has all that a cell names: of a store's cells, another sweep's package may not be loaded."""
        return all(name in getattr(self, f"{kind}s") for kind, name in _names(cell))

    @property
    def metric_stages(self) -> dict[str, MetricStage]:
        """The stages that run only for the metrics that need them, by name."""
        return {name: stage for name, stage in self.stages.items() if isinstance(stage, MetricStage)}

    def stages_needed(self, metrics: Iterable[str]) -> frozenset[str]:
        """The names of the stages that metrics need; metrics that the registry lacks need none."""
        return frozenset[str]().union(*(self.metrics[name].needs for name in metrics if name in self.metrics))

    def dataset(self, settings: DatasetSettings) -> DatasetEntry:
        """The data set of a cell, with as many training images as its settings say."""
        entry = self.datasets[settings.name]
        return entry if settings.train_per_class is None else entry.reduced(settings.train_per_class)

    def cell(self, document: Mapping[str, Any]) -> Cell:
        """The cell of an identity, as the store keeps it."""
        settings = self.stages[document["stage"]].settings.from_document(document["settings"])
        return Cell(document["stage"], settings, document["parents"], document["revisions"])

    def method(self, settings: ModelSettings) -> MethodEntry:
        """The method of a train or unlearn cell, with its hyperparameters."""
        return self.methods[settings.method](**settings.hyper)

    def parameter_count(self, settings: CellSettings) -> int:
        """Trainable parameters of a cell's network."""
        return self.architectures[settings.architecture.name].parameter_count(**self.network_size(settings))

    def network(self, settings: CellSettings) -> Any:
        """A cell's network on the meta device: its layers, without memory for their weights."""
        return self.network_for(settings.dataset, settings.architecture)

    def network_for(self, dataset: DatasetSettings, architecture: ArchitectureSettings) -> Any:
        """As `network`, without a cell."""
        return self.architectures[architecture.name].on_meta(**self.network_size_of(dataset.name, architecture))

    def architecture_revisions(self, settings: CellSettings) -> dict[str, int]:
        """The entries of a key for a cell's network: its revision and, of a library's, a digest of its tensors."""
        name = settings.architecture.name
        entry = self.architectures[name]
        parts = entry.part_revisions(**self.network_size(settings)) if is_path(name) else {}  # type: ignore[attr-defined]
        return {f"architecture:{name}": entry.revision, **parts}

    def network_facts(self, settings: CellSettings) -> dict[str, str]:
        """What a Record says of the package that built a cell's network, where it is not this one."""
        entry = self.architectures.get(settings.architecture.name)
        facts: dict[str, str] = getattr(entry, "facts", {})
        return facts

    def network_size(self, settings: CellSettings) -> dict[str, Any]:
        """Classes, channels and width of a cell's network: what `ArchitectureEntry.build` takes."""
        return self.network_size_of(settings.dataset.name, settings.architecture)

    def network_size_of(self, dataset_name: str, architecture: ArchitectureSettings) -> dict[str, Any]:
        """As `network_size`; of a network by path also the size of the images, and the arguments of the sweep file."""
        dataset = self.datasets[dataset_name]
        size = {"classes": dataset.classes, "channels": dataset.channels, "filters": architecture.filters}
        return size | (
            {"size": dataset.size, "arguments": architecture.arguments} if is_path(architecture.name) else {}
        )

    def sizes(self, settings: CellSettings, recipe: Recipe, forget: ForgetRequest | None) -> Sizes:
        """Samples of each subset, and the size of the network: what the cost of a method depends on.

        Of a request by indices the classes are not known: its validation samples are those of all classes, an upper bound.
        """
        dataset = self.dataset(settings.dataset)
        forget_count = forgotten_before = validation_count = 0
        if forget is not None:
            classes = range(dataset.classes) if forget.class_index is None else [forget.class_index]
            forget_count = _sample_count(forget, dataset)
            forgotten_before = sum(_sample_count(request, dataset) for request in forget.after)
            validation_count = sum(dataset.validation_per_class[index] for index in classes)
            if isinstance(settings, TrainSettings):  # it leaves out what earlier requests forgot too
                forget_count, forgotten_before = forget_count + forgotten_before, 0
        return Sizes(
            retain=sum(dataset.train_per_class) - forgotten_before - forget_count,
            forget=forget_count,
            validation=validation_count,
            recipe_epochs=recipe.epochs,
            recipe_decay=recipe.decay,
            classes=dataset.classes,
            parameters=self.parameter_count(settings),
            whole_classes=forget is not None and forget.kind == "class",
        )
