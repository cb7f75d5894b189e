"""Which runs of TensorBoard a sweep's cells write to: folders whose names group them, and the settings listed with each.

FORGET/LABEL/seed1                     the models of a label, and all that is measured of them
FORGET/LABEL/lam=0.3/seed1             where the lists of a label multiply: what tells its settings apart
FORGET/LABEL/seed1-repeat2             a repetition of the unlearning
original/seed1, pretrain               trainings that depend on no unlearning request
DATASET-ARCHITECTURE/…                 in front of all of these where a sweep has several
"""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from adaprob_ray.settings import flatten
from adaprob_ray.store.names import is_uri
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import EvaluateSettings
from adaprob_ray.sweep.method_choices import REFERENCES

# Listed for every run that has them, whether or not they vary: λ, η, the learning rate and the number of epochs.
ALWAYS_LISTED = frozenset({"lam", "eta", "lr", "epochs"})
# Settings that are not a method's.
_AXES = frozenset({"dataset", "test_pool", "architecture", "filters", "forget", "label", "method", "seed", "repeat"})
HParam = bool | float | str


def tensorboard_folder(location: str, sweep: str) -> Path:
    """The folder that TensorBoard reads: in the store, or in the working directory where the store is at a URI."""
    root = Path.cwd() if is_uri(location) else Path(location)
    return root / "tensorboard" / sweep


def tensorboard_command(folder: Path) -> str:
    """The command line that shows a folder. Several cells write to one run, each to a file of its own."""
    return shlex.join(["tensorboard", "--logdir", str(folder), "--host", "localhost", "--reload_multifile=true"])


@dataclass(frozen=True)
class TensorBoardRun:
    """A run that a cell writes to.

    folder: its name, which is its folder under that of the sweep.
    hparams: the settings listed with it; equal in all cells that write to it.
    ends: whether the cell is the last one that writes to it.
    """

    folder: str
    hparams: Mapping[str, HParam] = field(default_factory=dict)
    ends: bool = True


class Layout(Protocol):
    """Says which runs a cell writes to."""

    def runs(self, cell: Cell) -> tuple[TensorBoardRun, ...]: ...


class RunLayout:
    """The runs of a sweep's cells.

    Args:
        cells: All cells of the sweep, by key, whichever of them are executed: names depend on what the sweep varies.

    Example:
        >>> from adaprob_ray.catalogue import REGISTRY
        >>> from adaprob_ray.sweep.sweep import Sweep
        >>> cells = Sweep.load("sweeps/quickstart.yaml", REGISTRY).cells
        >>> layout = RunLayout(cells)
        >>> runs = [layout.runs(cell)[0].folder for cell in cells.values()]
        >>> runs[0], runs[-1]
        ('original/seed1', '25of3/adaprob_restore/seed3')
    """

    def __init__(self, cells: Mapping[str, Cell] | None = None) -> None:
        self._cells = cells or {}
        self._evaluations: dict[str, list[Cell]] = defaultdict(list)  # that show a cell, by its key
        evaluations = [cell for cell in self._cells.values() if isinstance(cell.settings, EvaluateSettings)]
        for cell in evaluations:
            self._evaluations[cell.key].append(cell)
            for key in {key for role, key in cell.parents.items() if role not in REFERENCES}:
                self._evaluations[key].append(cell)
        self._several = _several(evaluations)
        self._told_apart = _settings_that_differ(evaluations)
        values: dict[tuple[str, str], set[HParam]] = defaultdict(set)
        for cell in evaluations:
            for name, value in self._settings(cell).items():
                # A setting of one method is no variation where another method does not have it.
                values["" if name in _AXES else cell.method, name].add(value)
        self._listed = ALWAYS_LISTED | {name for (_, name), distinct in values.items() if len(distinct) > 1}
        if all(cell.method == cell.label for cell in evaluations):
            self._listed -= {"method"}
        kinds: dict[str, set[str]] = defaultdict(set)
        for (_, name), distinct in values.items():
            kinds[name] |= {_kind(value) for value in distinct}
        # TensorBoard takes a column for text, without an axis, as soon as one run has text there.
        self._text = {name for name, kinds_of_name in kinds.items() if len(kinds_of_name) > 1}

    def runs(self, cell: Cell) -> tuple[TensorBoardRun, ...]:
        """The runs that a cell writes to: one for each label that shares it. A cell of no sweep gets one of its own."""
        if cell.key not in self._cells:
            return (TensorBoardRun(cell.title),)
        if cell.forget is None:
            return (TensorBoardRun(self._trained_folder(cell), self._hparams(cell)),)
        evaluations = self._evaluations.get(cell.key, [])
        if not evaluations:
            return (TensorBoardRun(cell.title, self._hparams(cell)),)
        return tuple(
            TensorBoardRun(self._folder(evaluation), self._hparams(evaluation), ends=evaluation.key == cell.key)
            for evaluation in evaluations
        )

    def _folder(self, evaluation: Cell) -> str:
        settings = self._told_apart.get(evaluation.key, {})
        segments = [f"{name}={_segment_value(value)}" for name, value in settings.items()]
        return _path(self._prefix(evaluation), str(evaluation.forget), evaluation.label, *segments, _seed(evaluation))

    def _trained_folder(self, cell: Cell) -> str:
        """Of a training that no unlearning request decides; a sweep pretrains a network once, whatever its seeds."""
        return _path(self._prefix(cell), cell.label, _seed(cell) if cell.method else "")

    def _prefix(self, cell: Cell) -> str:
        """Data set and architecture, with what else tells them apart; empty where the sweep has only one of each."""
        if "prefix" not in self._several:
            return ""
        dataset, architecture = cell.settings.dataset, cell.settings.architecture
        return "-".join(
            [
                str(dataset),
                *([dataset.test_pool] if "test_pool" in self._several else []),
                architecture.title,
                *([_segment_value(architecture.filters)] if "filters" in self._several else []),
            ]
        )

    def _settings(self, cell: Cell) -> dict[str, HParam]:
        """All settings of a cell's run as hparams: names as in Records, without `method.` and `recipe.`."""
        settings = cell.settings
        model = self._cells.get(cell.parents.get("model", ""), cell)
        recipe = getattr(model.settings, "recipe", None) if model.stage in ("train", "pretrain") else None
        values = {
            "dataset": str(settings.dataset),
            "test_pool": settings.dataset.test_pool,
            "architecture": settings.architecture.title,
            "filters": settings.architecture.filters,
            "forget": str(cell.forget or ""),
            "label": cell.label,
            "method": cell.method,
            "seed": settings.seed,
            "repeat": cell.repeat,
            **({} if recipe is None else {"lr": recipe.lr, "epochs": recipe.epochs}),
            **flatten(getattr(settings, "hyper", {})),
        }
        return {name: _hparam(value) for name, value in values.items() if value not in (None, "")}

    def _hparams(self, cell: Cell) -> dict[str, HParam]:
        settings = {name: value for name, value in self._settings(cell).items() if name in self._listed}
        return {name: str(value) if name in self._text else value for name, value in settings.items()}


def _several(evaluations: Iterable[Cell]) -> set[str]:
    """What the names of data sets and architectures need: `prefix`, and within it `test_pool` and `filters`."""
    datasets = {cell.settings.dataset for cell in evaluations}
    architectures = {cell.settings.architecture for cell in evaluations}
    several = {"prefix"} if len(datasets) > 1 or len(architectures) > 1 else set()
    if len(datasets) > len({str(dataset) for dataset in datasets}):
        several.add("test_pool")
    if len(architectures) > len({architecture.title for architecture in architectures}):
        several.add("filters")
    return several


def _settings_that_differ(evaluations: Iterable[Cell]) -> dict[str, dict[str, Any]]:
    """For each evaluation whose label has several settings at one grid point: those of its settings that tell them apart."""
    groups: dict[Any, list[Cell]] = defaultdict(list)
    for cell in evaluations:
        settings = cell.settings
        groups[settings.dataset, settings.architecture, cell.forget, cell.label].append(cell)
    differing: dict[str, dict[str, Any]] = {}
    for cells in groups.values():
        counts = Counter((cell.settings.seed, cell.repeat) for cell in cells)
        if max(counts.values()) == 1:
            continue
        hypers = {cell.key: flatten(getattr(cell.settings, "hyper", {})) for cell in cells}
        names = list(dict.fromkeys(name for hyper in hypers.values() for name in hyper))
        varying = [name for name in names if len({_hparam(hyper.get(name)) for hyper in hypers.values()}) > 1]
        differing |= {key: {name: hyper.get(name) for name in varying} for key, hyper in hypers.items()}
    return differing


def _seed(cell: Cell) -> str:
    return f"seed{cell.settings.seed}" + (f"-repeat{cell.repeat}" if cell.repeat else "")


def _path(*segments: str) -> str:
    """The segments as a path that every store takes."""
    return "/".join(re.sub(r"[^A-Za-z0-9_.=@+-]", "_", segment) for segment in segments if segment)


def _segment_value(value: Any) -> str:
    """A setting's value in a folder's name, with all digits that tell it from others."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, (tuple, list)):
        return "-".join(map(_segment_value, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _hparam(value: Any) -> HParam:
    """A setting's value as TensorBoard takes it; a list is text."""
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_segment_value, value))
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _kind(value: HParam) -> str:
    return "text" if isinstance(value, str) else "bool" if isinstance(value, bool) else "number"
