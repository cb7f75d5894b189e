"""The cells of one trial: its settings at every search seed, through the same expansion as a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adaprob_ray.errors import InputError
from adaprob_ray.search.search_file import SearchFile, Target
from adaprob_ray.settings import as_mapping, parse_settings
from adaprob_ray.sweep import checks
from adaprob_ray.sweep.cell import Cell, Resources
from adaprob_ray.sweep.checks import Faults
from adaprob_ray.sweep.expand import expand
from adaprob_ray.sweep.method_choices import REFERENCES
from adaprob_ray.sweep.registry import Registry, Stage, method_revisions
from adaprob_ray.sweep.schema import Grid
from adaprob_ray.sweep.select import with_parents


@dataclass(frozen=True, kw_only=True)
class SeedCells:
    """The cells of one seed whose facts a trial's value is computed from.

    `scored`: evaluate, or select under a validation rule; `retrain`: the evaluation of Retrain, where the rule reads it.
    """

    seed: int
    model: str
    scored: str
    retrain: str | None

    @property
    def read(self) -> tuple[str, ...]:
        """Keys of the cells that must be done before the seed has a value."""
        return (self.scored,) if self.retrain is None else (self.scored, self.retrain)


@dataclass(frozen=True, kw_only=True)
class TrialCells:
    """`cells`: all that the trial needs, by key, parents before children. `seeds`: in the order of the file."""

    cells: Mapping[str, Cell]
    seeds: tuple[SeedCells, ...]

    def for_seeds(self, count: int) -> dict[str, Cell]:
        """The cells of the first `count` seeds."""
        return with_parents(self.cells, [key for seed in self.seeds[:count] for key in seed.read])


def trial_cells(
    search: SearchFile,
    target: Target,
    params: Mapping[str, Any],
    registry: Registry,
    *,
    metrics: Sequence[str] | None = None,
) -> TrialCells:
    """The cells of a trial.

    Args:
        search: The search file.
        target: Whose trial it is.
        params: The values of its parameters.
        registry: The names that the file uses.
        metrics: Of its evaluations; by default those of the file.

    Returns:
        The cells.

    Raises:
        InputError: If the method declines to run with these settings.
    """
    # Under a validation rule evaluations are dropped below, so that their metrics need no stages.
    metrics = list(metrics or search.file.metrics) if target.rule.needs_retrain else ["errors"]
    cells = _expand(search, target, params, registry, metrics)
    evaluations = {(cell.label, cell.settings.seed): cell for cell in cells.values() if cell.stage == "evaluate"}
    resources = checks.check_resources(search.file, registry, Faults())["select"]
    seeds = []
    for seed in search.section.seeds:
        evaluation, retrain = evaluations[target.label, seed], None
        scored = evaluation
        if target.rule.needs_retrain:
            retrain = evaluations["retrain", seed].key
        else:
            scored = select_cell(evaluation, registry.stages["select"], resources)
            cells[scored.key] = scored
        seeds.append(SeedCells(seed=seed, model=evaluation.parents["model"], scored=scored.key, retrain=retrain))
    return TrialCells(cells=with_parents(cells, [key for item in seeds for key in item.read]), seeds=tuple(seeds))


def _expand(
    search: SearchFile, target: Target, params: Mapping[str, Any], registry: Registry, metrics: list[str]
) -> dict[str, Cell]:
    """The sweep of the references and one label with these parameters, on the search seeds. Raises InputError."""
    references = {label: search.file.methods[label] for label in REFERENCES if label in search.file.methods}
    grid = Grid(
        dataset=as_mapping(target.point.dataset),
        architecture=as_mapping(target.point.architecture),
        forget=target.point.forget.document(),
        seed=list(search.section.seeds),
    )
    needs = registry.stages_needed(metrics)
    update = {
        "methods": {**references, target.label: {"method": target.method_name, **target.settings(params)}},
        "grid": grid,
        "metrics": metrics,
        "primary_label": None,
        "repeats": 1,
        # A section that nothing asks for is a fault.
        **{name: {} for name in registry.metric_stages if name not in needs},
    }
    expansion = expand(search.file.model_copy(update=update), registry)
    if expansion.faults or expansion.skipped:
        raise InputError(*expansion.faults, *(str(line) for line in expansion.skipped))
    return dict(expansion.cells)


def select_cell(evaluation: Cell, stage: Stage, resources: Resources) -> Cell:
    """The cell of the stage `select` for the model of an evaluation."""
    settings: Any = evaluation.settings
    return Cell(
        stage.name,
        stage.settings(**{**settings.shared(), "forget": settings.forget}),
        {role: evaluation.parents[role] for role in ("model", "original")},
        {f"stage:{stage.name}": stage.revision},
        resources=resources,
        priority=stage.priority,
    )


def other_trial_cells(base: TrialCells, target: Target, params: Mapping[str, Any]) -> TrialCells:
    """As `trial_cells`, from the cells of another trial of the same target: a thousand expansions would take seconds.

    Args:
        base: The cells of any trial of `target`.
        target: Whose trial it is.
        params: The values of its parameters.

    Returns:
        The cells.

    Raises:
        InputError: If the method does not take these settings.
    """
    method: Any
    method, faults = parse_settings(target.method, target.settings(params), f"methods.{target.label}")
    if faults:
        raise InputError(*faults)
    hyper, models = as_mapping(method), {seed.model for seed in base.seeds}
    cells: dict[str, Cell] = {}
    new_keys: dict[str, str] = {}
    for key, cell in base.cells.items():
        parents = {role: new_keys[parent] for role, parent in cell.parents.items()}
        if key in models or parents != cell.parents:
            changes: dict[str, Any] = {"parents": parents}
            if hasattr(cell.settings, "hyper"):  # of the cells below a model, its evaluation has them too
                changes["settings"] = replace(cell.settings, hyper=hyper)  # type: ignore[call-arg]
            if key in models:
                others = {name: value for name, value in cell.revisions.items() if not name.startswith("method:")}
                changes["revisions"] = {**others, **method_revisions(target.method_name, method)}
            cell = replace(cell, **changes)
        cells[cell.key] = cell
        new_keys[key] = cell.key
    seeds = tuple(
        SeedCells(
            seed=item.seed,
            model=new_keys[item.model],
            scored=new_keys[item.scored],
            retrain=None if item.retrain is None else new_keys[item.retrain],
        )
        for item in base.seeds
    )
    return TrialCells(cells=cells, seeds=seeds)
