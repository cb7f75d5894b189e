"""A sweep file as a graph of cells. Reads no data set and loads neither torch nor Ray by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adaprob_ray.recipe import Recipe
from adaprob_ray.sweep import checks, method_choices
from adaprob_ray.sweep.cell import Cell, Keep, Resources
from adaprob_ray.sweep.cell_settings import (
    CellSettings,
    DatasetSettings,
    EvaluateSettings,
    ForgetRequest,
    ImportSettings,
    PretrainSettings,
    TrainSettings,
    UnlearnSettings,
)
from adaprob_ray.sweep.checks import Faults, GridPoint
from adaprob_ray.sweep.method_choices import REFERENCES, MethodChoice
from adaprob_ray.sweep.original_weights import OriginalWeights
from adaprob_ray.sweep.registry import Registry, method_revisions
from adaprob_ray.sweep.schema import SweepFile
from adaprob_ray.user_code.source import source_revisions


@dataclass(frozen=True)
class SkippedLabel:
    """A label that its method declines to run, and why."""

    label: str
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.label} on {self.where}: {self.reason.removeprefix(f'{self.label}: ')}"


@dataclass(frozen=True)
class Expansion:
    """Cells by key, parents before children; faults, one line each; labels that are skipped. No cells if there are faults.

    `original_sha256`: the digest of the original's weights, if they are in a file.
    """

    cells: Mapping[str, Cell]
    faults: tuple[str, ...]
    skipped: tuple[SkippedLabel, ...]
    original_sha256: str | None = None


def expand(file: SweepFile, registry: Registry) -> Expansion:
    """All cells that a sweep file asks for, or everything that is wrong with it."""
    faults = Faults()
    checks.check_metrics(file, registry, faults)
    pretrain = file.pretrain or {}
    builder = _Builder(
        file=file,
        registry=registry,
        recipe=checks.check_recipe("train", file.train, "large", registry, faults),
        pretrain_recipe=checks.check_recipe("pretrain", pretrain, "pretrain", registry, faults),
        pretrain_seed=checks.check_seed("pretrain: seed", pretrain.get("seed", 1), faults),
        stage_options=checks.check_metric_stages(file, registry, faults),
        resources=checks.check_resources(file, registry, faults),
        original=None if file.original is None else OriginalWeights(section=file.original, registry=registry),
    )
    method_choices.check_labels(file, registry, faults)
    if file.original is not None and file.pretrain:
        faults.add("pretrain: has no effect with original; retrained models start from random weights")
    points = checks.grid_points(file, registry, faults)
    builder.continued = {point.forget.previous for point in points}
    for point in points:
        references = {
            label: method_choices.reference_choice(file, label, point, registry, faults) for label in REFERENCES
        }
        others = {
            label: method_choices.choices_at(file, label, point, registry, faults)
            for label in file.methods
            if label not in REFERENCES
        }
        if not faults and builder.original is not None:
            faults.add(*builder.original.faults(builder.network_settings(point)))
        if not faults:
            builder.add_point(point, references, others)
    if faults:
        return Expansion({}, tuple(faults), ())
    digests = () if builder.original is None else builder.original.digests.values()
    return Expansion(builder.cells, (), tuple(builder.skipped), next(iter(digests), None))


def _rest(point: GridPoint) -> Any:
    """What of a grid point is the same for all requests of a sequence."""
    return point.dataset, point.architecture, point.seed


@dataclass(kw_only=True)
class _Builder:
    """Adds the cells of one grid point after another; a cell that exists already is shared."""

    file: SweepFile
    registry: Registry
    recipe: Recipe
    pretrain_recipe: Recipe
    pretrain_seed: int
    stage_options: Mapping[str, Any]
    resources: Mapping[str, Resources]
    original: OriginalWeights | None
    cells: dict[str, Cell] = field(default_factory=dict)
    skipped: dict[SkippedLabel, None] = field(default_factory=dict)  # an ordered set
    continued: set[ForgetRequest | None] = field(default_factory=set)  # requests after which a sequence goes on
    # Unlearned models by request, rest of the point, label, place among its settings and repeat.
    unlearned: dict[tuple[ForgetRequest, Any, str, int, int], str] = field(default_factory=dict)

    def network_settings(self, point: GridPoint) -> CellSettings:
        """What decides the network of a point."""
        return CellSettings(**self._shared_settings(point))

    def add_point(
        self, point: GridPoint, references: Mapping[str, MethodChoice], others: Mapping[str, list[MethodChoice]]
    ) -> None:
        pretrained = self._pretrain_cell(point)
        models = {label: self._reference_cell(choice, point, pretrained) for label, choice in references.items()}
        groups = {**{label: [choice] for label, choice in references.items()}, **others}
        for label, place, choice in ((label, *item) for label, group in groups.items() for item in enumerate(group)):
            is_trained = self.registry.methods[choice.name].stage == "train"
            if not is_trained and self._declines(label, place, choice, point):
                continue
            for repeat in range(1 if is_trained else self.file.repeats):
                parents = pretrained if is_trained else {"original": models["original"]}
                if not is_trained and point.forget.previous is not None:
                    parents["previous"] = self.unlearned[point.forget.previous, _rest(point), label, place, repeat]
                model = models[label] if label in models else self._model_cell(choice, point, parents, repeat)
                if not is_trained:
                    self.unlearned[point.forget, _rest(point), label, place, repeat] = model
                roles = {"model": model, **models}
                for name, options in self.stage_options.items():
                    stage = self.registry.metric_stages[name]
                    settings = stage.cell_settings(self.cells[model], point.forget, repeat, options)
                    roles[name] = self._add(name, settings, {"model": model, "original": models["original"]}, {})
                self._evaluate_cell(label, choice, point, repeat, roles)

    def _declines(self, label: str, place: int, choice: MethodChoice, point: GridPoint) -> bool:
        """Whether the method declines, from the sizes of the split and the layers of the network; noted if so."""
        if self.original is not None and "initial_state" in getattr(choice.method, "needs", ()):
            reason: str | None = (
                "needs the weights from which the original was trained, which original.weights does not have"
            )
        else:
            reason = self._reason_to_skip(choice, point)
        previous = point.forget.previous
        if reason is None and previous and (previous, _rest(point), label, place, 0) not in self.unlearned:
            reason = f"has no model for the request before, {previous}, with these settings"
        if reason is not None:
            where = f"{point.dataset}, {point.architecture.title}, {point.forget}"
            self.skipped[SkippedLabel(label, where, reason)] = None
        return reason is not None

    def _reason_to_skip(self, choice: MethodChoice, point: GridPoint) -> str | None:
        settings = self.network_settings(point)
        sizes = self.registry.sizes(settings, self.recipe, point.forget)
        return choice.method.skip(sizes, self.registry.network(settings))

    def _shared_settings(self, point: GridPoint) -> dict[str, Any]:
        return {
            "dataset": point.dataset,
            "architecture": point.architecture,
            "seed": point.seed,
            "precision": self.file.precision,
        }

    def _add(
        self,
        stage_name: str,
        settings: CellSettings,
        parents: dict[str, str],
        revisions: dict[str, int],
        distinguishing_settings: tuple[str, ...] = (),
        *,
        weights_file: str = "",
        keep: Keep | None = None,
    ) -> str:
        stage = self.registry.stages[stage_name]
        cell = Cell(
            stage_name,
            settings,
            parents,
            {f"stage:{stage_name}": stage.revision, **revisions},
            resources=self.resources[stage_name],
            keep=keep or stage.keeps or getattr(self.file.keep, stage_name),
            priority=stage.priority,
            distinguishing_settings=distinguishing_settings,
            weights_file=weights_file,
        )
        return self.cells.setdefault(cell.key, cell).key

    def _revisions(self, settings: CellSettings, recipe: str) -> dict[str, int]:
        dataset = settings.dataset.name
        return {
            f"dataset:{dataset}": self.registry.datasets[dataset].revision,
            **self.registry.architecture_revisions(settings),
            "recipe": self.registry.recipes[recipe].revision,
            **source_revisions(dataset, settings.architecture.name),
        }

    def _pretrain_cell(self, point: GridPoint) -> dict[str, str]:
        """The parents of a model that starts from pretrained weights, none where the data set has no such source."""
        source = self.registry.datasets[point.dataset.name].pretrain_on
        if source is None or self.file.pretrain is False or self.original is not None:
            return {}
        settings = PretrainSettings(
            dataset=DatasetSettings(name=source),
            architecture=point.architecture,
            recipe=self.pretrain_recipe,
            seed=self.pretrain_seed,
            precision=self.file.precision,
        )
        return {"pretrain": self._add("pretrain", settings, {}, self._revisions(settings, "pretrain"))}

    def _reference_cell(self, choice: MethodChoice, point: GridPoint, pretrained: dict[str, str]) -> str:
        """Original, retrain or retrain_independent."""
        if choice.name == "original" and self.original is not None:
            return self._import_cell(choice, point)
        return self._model_cell(choice, point, pretrained)

    def _import_cell(self, choice: MethodChoice, point: GridPoint) -> str:
        """The original whose weights are in the file."""
        assert self.original is not None
        settings = ImportSettings(
            method=choice.name,
            hyper=choice.hyper,
            recipe=self.recipe,
            weights=self.original.digest(self.network_settings(point)),
            **self._shared_settings(point),
        )
        weights_file = str(self.original.path.absolute())
        return self._add("import", settings, {}, self._revisions(settings, "large"), weights_file=weights_file)

    def _model_cell(self, choice: MethodChoice, point: GridPoint, parents: dict[str, str], repeat: int = 0) -> str:
        method = self.registry.methods[choice.name]
        model = {
            "method": choice.name,
            "hyper": choice.hyper,
            "recipe": self.recipe,
            "forget": point.forget if method.reads_forget else None,
            **self._shared_settings(point),
        }
        settings: CellSettings = (
            UnlearnSettings(**model, repeat=repeat) if method.stage == "unlearn" else TrainSettings(**model)
        )
        # All recipes share one class, and so one revision.
        revisions = {**self._revisions(settings, "large"), **method_revisions(choice.name, choice.method)}
        revisions |= source_revisions(choice.name)
        # The next request of a sequence starts from these weights.
        keep: Keep | None = "weights" if method.stage == "unlearn" and point.forget in self.continued else None
        return self._add(method.stage, settings, parents, revisions, choice.distinguishing_settings, keep=keep)

    def _evaluate_cell(
        self, label: str, choice: MethodChoice, point: GridPoint, repeat: int, parents: dict[str, str]
    ) -> None:
        metrics = self.file.metrics
        settings = EvaluateSettings(
            label=label,
            method=choice.name,
            hyper=choice.hyper,
            forget=point.forget,
            repeat=repeat,
            metrics=tuple(metrics),
            **self._shared_settings(point),
        )
        revisions = {f"metric:{name}": self.registry.metrics[name].revision for name in metrics}
        revisions |= source_revisions(*metrics)
        self._add("evaluate", settings, parents, revisions, choice.distinguishing_settings)
