"""A sweep file, parsed, checked and expanded to cells. It reads no data set and loads neither torch nor Ray.

All faults of a file are found in one go and reported one a line; `expect` is checked last.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.settings import as_mapping, expand_lists, parse_settings
from adaprob_ray.sweep.cell import Cell, canonical, format_forget
from adaprob_ray.sweep.registry import ArchitectureSettings, DatasetEntry, DatasetSettings, Registry
from adaprob_ray.sweep.relearn import RELEARN, relearn_settings
from adaprob_ray.sweep.schema import SweepFile, alternatives, read_file

REFERENCES = ("original", "retrain", "retrain_independent")  # planned and evaluated in every sweep


_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
LARGEST_SEED = 2**32 - 1  # numpy's RandomState takes no larger one


@dataclass(frozen=True)
class GridPoint:
    """One point of the grid."""

    dataset: Mapping[str, Any]
    architecture: Mapping[str, Any]
    forget: Mapping[str, Any]
    seed: int

    def matches(self, where: Mapping[str, Any]) -> bool:
        return all(_agrees(getattr(self, name), wanted) for name, wanted in where.items())


def _agrees(value: Any, wanted: Any) -> bool:
    """A name, a kind, a number, a mapping of some of its keys, or a list of these of which one agrees."""
    if isinstance(wanted, list):
        return any(_agrees(value, item) for item in wanted)
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        return all(value.get(name) == item for name, item in wanted.items())
    if isinstance(value, Mapping):
        return wanted in (value.get("name"), value.get("kind"))
    return bool(value == wanted)


class Sweep:
    """One parsed, validated, frozen sweep file. `cells` is the graph it expands to, parents before children."""

    def __init__(self, file: SweepFile, registry: Registry, *, text: str = "", faults: Sequence[str] = ()) -> None:
        self.file, self.text, self.name = file, text, file.name
        self._registry = registry
        self._faults: list[str] = list(faults)  # of structure, found before
        self.cells: dict[str, Cell] = {}
        self._expand()
        self._raise_faults()
        expected = file.expect.cells
        if expected is not None and expected != len(self.cells):
            raise InputError(f"expect: cells: {expected} expected, but the file expands to {len(self.cells)}")

    @classmethod
    def load(cls, path: str | Path, registry: Registry) -> Sweep:
        """Read a sweep file. Raises InputError with one line for each fault, each beginning with the path."""
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error
        try:
            return cls.parse(text, registry)
        except InputError as error:
            raise InputError(*(f"{path}: {fault}" for fault in error.faults)) from None

    @classmethod
    def parse(cls, text: str, registry: Registry) -> Sweep:
        file, faults = read_file(text)
        return cls(file, registry, text=text, faults=faults)

    # -- faults ---------------------------------------------------------------------------------------------------

    def _fault(self, line: str) -> None:
        if line not in self._faults:
            self._faults.append(line)

    def _raise_faults(self) -> None:
        if self._faults:
            raise InputError(*self._faults)

    def _checked(self, cls: type, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        settings, faults = parse_settings(cls, given, where)
        for fault in faults:
            self._fault(fault)
        return as_mapping(settings) if settings is not None else {**as_mapping(cls()), **given}

    # -- the grid -------------------------------------------------------------------------------------------------

    def _points(self) -> Iterator[GridPoint]:
        grid = self.file.grid
        datasets = [self._dataset(item) for item in self._several("dataset", grid.dataset)]
        architectures = [self._architecture(item) for item in self._several("architecture", grid.architecture)]
        seeds = [self._seed(item) for item in self._several("seed", grid.seed)]
        requests = self._several("forget", grid.forget)
        for dataset in datasets:
            for request in requests:
                self._check_forget(dataset, request)
        self._raise_faults()
        for dataset, architecture, forget, seed in itertools.product(datasets, architectures, requests, seeds):
            yield GridPoint(dataset, architecture, forget, seed)

    def _several(self, name: str, value: Any) -> list[Any]:
        values = value if isinstance(value, list) else [value]
        if not values:
            self._fault(f"grid.{name}: at least one value is needed, got an empty list")
        texts = [canonical(item) for item in values]
        for text in sorted({text for text in texts if texts.count(text) > 1}):
            self._fault(f"grid.{name}: {text} is given more than once")
        return values

    def _named(self, what: str, item: Any, cls: type, known: Mapping[str, Any]) -> dict[str, Any]:
        given = {"name": item} if isinstance(item, str) else item
        if not isinstance(given, dict):
            self._fault(f"grid.{what}: expected a name or a mapping, got {item!r}")
            return {"name": ""}
        settings = self._checked(cls, given, f"grid.{what}")
        if not _is_among(settings["name"], known):
            self._fault(f"grid.{what}: {unknown_name(what, settings['name'], known)}")
        return settings

    def _dataset(self, item: Any) -> dict[str, Any]:
        return self._named("dataset", item, DatasetSettings, self._registry.datasets)

    def _architecture(self, item: Any) -> dict[str, Any]:
        settings = self._named("architecture", item, ArchitectureSettings, self._registry.architectures)
        known, filters = self._registry.architectures, settings.get("filters")
        narrowest = known[settings["name"]].narrowest if settings["name"] in list(known) else math.inf
        if isinstance(filters, float) and 0 < filters * narrowest < 1:
            self._fault(
                f"grid.architecture: {settings['name']}: filters must be at least {1 / narrowest:.4f}, got {filters:g}"
            )
        return settings

    def _seed(self, value: Any) -> int:
        if type(value) is int and value > LARGEST_SEED:
            self._fault(f"grid.seed: a seed is at most {LARGEST_SEED}, got {value}")
            return 1
        if type(value) is not int or value < 1:
            self._fault(
                f"grid.seed: a seed is a whole number of at least 1 (forget sets are drawn with seed − 1), got {value!r}"
            )
            return 1
        return value

    def _check_forget(self, dataset: Mapping[str, Any], forget: Any) -> None:
        known = self._registry.datasets
        entry = known[dataset["name"]] if _is_among(dataset["name"], known) else None
        for fault in forget_faults(dataset["name"], entry, forget):
            self._fault(f"grid.forget: {fault}")

    # -- methods --------------------------------------------------------------------------------------------------

    def _settings_of(self, label: str, point: GridPoint) -> list[dict[str, Any]]:
        """All settings of a label at one grid point: one mapping, or several where lists multiply."""
        given = self._given(label, point)
        return [] if given is None else self._checked_method(label, given)

    def _checked_method(self, label: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        name = given.get("method", label)
        where = f"methods.{label}"
        if not _is_among(name, self._registry.methods):
            self._fault(f"{where}: {unknown_name('method', name, self._registry.methods)}")
            return []
        method = self._registry.methods[name]
        given_settings = {key: value for key, value in given.items() if key != "method"}
        result = []
        for single in expand_lists(method, given_settings):
            settings, faults = parse_settings(method, single, where)
            for fault in faults:
                self._fault(fault)
            result.append({"method": name, "hyper": {} if settings is None else as_mapping(settings)})
        return result

    def _given(self, label: str, point: GridPoint) -> dict[str, Any] | None:
        given = self.file.methods.get(label, {})
        if isinstance(given, dict):
            return given
        where = f"methods.{label}"
        if not isinstance(given, list) or not all(_is_where_with(entry) for entry in given):
            self._fault(f"{where}: expected settings, or a list of {{where: …, with: …}}, got {given!r}")
            return None
        known = GridPoint.__dataclass_fields__
        unknown = [name for entry in given for name in entry["where"] if name not in known]
        for name in unknown:
            self._fault(f"{where}: where: {unknown_name('key', name, known)}")
        if unknown:
            return None
        matching = [entry["with"] for entry in given if point.matches(entry["where"])]
        if len(matching) != 1:
            self._fault(f"{where}: {len(matching)} entries match {_words(point)}; exactly one must")
            return None
        return dict(matching[0])

    def _reference(self, label: str, point: GridPoint) -> dict[str, Any]:
        """The one setting of original, retrain or retrain_independent, which takes retrain's."""
        if label == "retrain_independent":
            if self.file.methods.get(label):
                self._fault(f"methods.{label}: takes the settings of retrain; write {{}}")
            settings = self._reference("retrain", point)
            return {**settings, "method": label}
        settings_list = self._settings_of(label, point)
        if len(settings_list) > 1:
            self._fault(f"methods.{label}: is a reference and takes one setting, got {len(settings_list)}")
        if settings_list and settings_list[0]["method"] != label:
            self._fault(f"methods.{label}: this label is reserved for the method of that name")
        return settings_list[0] if settings_list else {"method": label, "hyper": {}}

    # -- cells ----------------------------------------------------------------------------------------------------

    def _recipe(self, where: str, given: Mapping[str, Any], default: str) -> dict[str, Any]:
        recipes = self._registry.recipes
        name = given.get("recipe", default)
        if not _is_among(name, recipes):
            self._fault(f"{where}: {unknown_name('recipe', name, recipes)}")
            return {}
        defaults = as_mapping(recipes[name])
        beside = ("recipe", "seed") if where == "pretrain" else ("recipe",)  # the seeds of train are the grid's
        changes = {key: value for key, value in given.items() if key not in beside}
        return self._checked(type(recipes[name]), {**defaults, **changes}, where)

    def _expand(self) -> None:
        for name in self.file.metrics:
            if name not in self._registry.metrics:
                self._fault(f"metrics: {unknown_name('metric', name, self._registry.metrics)}")
        if not self.file.metrics or len(set(self.file.metrics)) < len(self.file.metrics):
            self._fault(f"metrics: at least one, each once, got {self.file.metrics}")
        self._train_recipe = self._recipe("train", self.file.train, "large")
        pretrain = self.file.pretrain
        self._pretrain_recipe = self._recipe("pretrain", pretrain or {}, "pretrain")
        self._pretrain_seed = (pretrain or {}).get("seed", 1)
        if type(self._pretrain_seed) is not int or self._pretrain_seed < 1:
            self._fault(f"pretrain: seed: must be a whole number of at least 1, got {self._pretrain_seed!r}")
        self._relearning, wrong = relearn_settings(self.file, self._registry)
        for fault in wrong:
            self._fault(fault)
        for label, given in self.file.methods.items():
            if not _LABEL.fullmatch(label) or label == "floor":
                self._fault(
                    f"methods: a label is up to 60 letters, digits, '_', '.', '-', and not 'floor', got {label!r}"
                )
            for settings in alternatives(given):
                self._checked_method(label, settings)
        if self.file.reading is not None and self.file.reading not in self.file.methods:
            self._fault(f"reading: {unknown_name('label', self.file.reading, self.file.methods)}")
        for point in self._points():
            self._expand_point(point)

    def _add(self, stage: str, settings: dict[str, Any], parents: dict[str, str], named: dict[str, int]) -> str:
        resources = getattr(self.file.resources, stage).model_dump(exclude_none=True)
        keeps = {"unlearn": self.file.keep.unlearn, RELEARN: "outputs", "evaluate": "outputs"}
        revisions = {f"stage:{stage}": self._registry.stages[stage], **named}
        cell = Cell(stage, settings, parents, revisions, resources, keeps.get(stage, "weights"))
        return self.cells.setdefault(cell.key, cell).key

    def _revisions(self, dataset: str, architecture: str) -> dict[str, int]:
        known = self._registry
        return {
            f"dataset:{dataset}": known.datasets[dataset].revision,
            f"architecture:{architecture}": known.architectures[architecture].revision,
        }

    def _pretrain_cell(self, point: GridPoint) -> dict[str, str]:
        source = self._registry.datasets[point.dataset["name"]].pretrain_on
        if source is None or self.file.pretrain is False:
            return {}
        settings = {
            "dataset": {"name": source, "test_pool": "clean"},
            "architecture": dict(point.architecture),
            "recipe": self._pretrain_recipe,
            "seed": self._pretrain_seed,
            "precision": self.file.precision,
        }
        revisions = self._revisions(source, point.architecture["name"])
        revisions["recipe"] = self._registry.recipes["pretrain"].revision
        return {"pretrain": self._add("pretrain", settings, {}, revisions)}

    def _model_cell(self, choice: dict[str, Any], point: GridPoint, parents: dict[str, str], repeat: int = 0) -> str:
        method = self._registry.methods[choice["method"]]
        settings = {
            **choice,
            "dataset": dict(point.dataset),
            "architecture": dict(point.architecture),
            "seed": point.seed,
            "recipe": self._train_recipe,
            "precision": self.file.precision,
        }
        if method.reads_forget:
            settings["forget"] = dict(point.forget)
        if method.stage == "unlearn":
            settings["repeat"] = repeat
        revisions = self._revisions(point.dataset["name"], point.architecture["name"])
        revisions["recipe"] = self._registry.recipes["large"].revision
        revisions[f"method:{choice['method']}"] = method.revision
        return self._add(method.stage, settings, parents, revisions)

    def _expand_point(self, point: GridPoint) -> None:
        choices: dict[str, list[dict[str, Any]]] = {label: [self._reference(label, point)] for label in REFERENCES}
        for label in self.file.methods:
            if label not in REFERENCES:
                choices[label] = self._settings_of(label, point)
        if self._faults:
            return
        pretrained = self._pretrain_cell(point)
        references = {label: self._model_cell(choices[label][0], point, pretrained) for label in REFERENCES}
        for label, choice in ((label, choice) for label, group in choices.items() for choice in group):
            trained = self._registry.methods[choice["method"]].stage == "train"
            for repeat in range(1 if trained else self.file.repeats):
                parents = pretrained if trained else {"original": references["original"]}
                model = self._model_cell(choice, point, parents, repeat)
                roles = {"model": model, **references}
                if self._relearning:
                    roles[RELEARN] = self._relearn_cell(point, repeat, model, references["original"])
                self._evaluate_cell(label, choice, point, repeat, roles)

    def _relearn_cell(self, point: GridPoint, repeat: int, model: str, original: str) -> str:
        shared = ("method", "dataset", "architecture", "seed", "recipe", "precision")
        settings = {name: self.cells[model].settings[name] for name in shared}
        settings |= {"forget": dict(point.forget), "repeat": repeat, "relearn": self._relearning}
        return self._add(RELEARN, settings, {"model": model, "original": original}, {})

    def _evaluate_cell(
        self, label: str, choice: dict[str, Any], point: GridPoint, repeat: int, parents: dict[str, str]
    ) -> None:
        settings = {
            "label": label,
            **choice,
            "dataset": dict(point.dataset),
            "architecture": dict(point.architecture),
            "forget": dict(point.forget),
            "seed": point.seed,
            "repeat": repeat,
            "precision": self.file.precision,
            "metrics": list(self.file.metrics),
        }
        revisions = {f"metric:{name}": self._registry.metrics[name].revision for name in self.file.metrics}
        self._add("evaluate", settings, parents, revisions)


def _is_among(name: Any, known: Mapping[str, Any]) -> bool:
    """Whether what a person gave as a name is one that is known; a list or a mapping is none."""
    return isinstance(name, str) and name in known


def _is_where_with(entry: Any) -> bool:
    """Whether it is {where: a mapping, with: a mapping}."""
    return (
        isinstance(entry, dict) and set(entry) == {"where", "with"} and all(isinstance(v, dict) for v in entry.values())
    )


def forget_faults(dataset: str, entry: DatasetEntry | None, forget: Any) -> list[str]:
    """What is wrong with a forget request, from its shape and from the sizes of its data set if that is known."""
    wanted = {"selective": {"kind", "class", "count"}, "class": {"kind", "class"}}
    if (
        not isinstance(forget, dict)
        or not _is_among(forget.get("kind"), wanted)
        or set(forget) != wanted[forget["kind"]]
    ):
        return [f"expected {{kind: class, class: C}} or {{kind: selective, class: C, count: N}}, got {forget!r}"]
    if entry is None:
        return []
    label, count = forget["class"], forget.get("count")
    if type(label) is not int or not 0 <= label < entry.classes:
        return [f"{dataset}: class must be 0 to {entry.classes - 1}, got {label!r}"]
    available = entry.train_per_class[label]
    if count is not None and (type(count) is not int or not 1 <= count <= available):
        return [f"{dataset}: count must be 1 to {available} (the training images of class {label}), got {count!r}"]
    if sum(entry.train_per_class) - (count or available) < 1:
        return [f"{dataset}: forgetting {count or available} rows leaves nothing to retain"]
    return []


def _words(point: GridPoint) -> str:
    return f"{point.dataset['name']}, {point.architecture['name']}, {format_forget(point.forget)}, seed {point.seed}"
