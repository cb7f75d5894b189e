"""A search file: a sweep file plus `search:`. Its grid has the seeds of the report, `search.seeds` those of the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydantic

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.search.rules import Rule, rule_for
from adaprob_ray.search.space import Space, parse_space, settings_of
from adaprob_ray.settings import expand_lists
from adaprob_ray.sweep import checks
from adaprob_ray.sweep.checks import Faults, GridPoint
from adaprob_ray.sweep.expand import expand
from adaprob_ray.sweep.forget_files import self_contained_text
from adaprob_ray.sweep.method_choices import REFERENCES, is_label, settings_at
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.sweep.schema import Section, SweepFile, parse_document, section_faults
from adaprob_ray.sweep.yaml_document import load_document, read_document_text
from adaprob_ray.user_code.folders import look_in

MAX_TRIALS = 10_000
# Of the label under which `search --freeze` writes a label's settings as the file has them.
DEFAULT_SUFFIX = "_default"
# A p-value below this needs more seeds than any search has.
MIN_P = 0.001


class PruneSection(Section):
    """When a trial's later seeds are not run: a one-sided Wilcoxon test over seeds against the best trial that may be seen."""

    p: float = pydantic.Field(
        default=0.1, ge=MIN_P, le=0.5, description="A trial is pruned where its p-value is below this one."
    )

    @property
    def min_seeds(self) -> int:
        """Seeds after which the test can reach `p`: with k pairs its smallest p-value is 2^-k."""
        return next(k for k in range(1, 20) if 0.5**k <= self.p)


class SearchSection(Section):
    """The keys of `search:`."""

    trials: int = pydantic.Field(ge=1, le=MAX_TRIALS, description="Trials of each label at each point of the grid.")
    seeds: list[int] = pydantic.Field(min_length=1, description="Seeds of the search; none of them is in `grid.seed`.")
    rule: Literal["oracle", "validation"] = pydantic.Field(
        description="Whether trials are compared with a retrained model (oracle) or by validation samples."
    )
    margin: float = pydantic.Field(
        default=1.0,
        ge=0,
        le=100,
        description="Percentage points by which retain and validation error may exceed the original's, for rule validation.",
    )
    objective: dict[str, Literal["minimize", "maximize"]] = pydantic.Field(
        default_factory=dict, description="Columns to minimize or maximize, in place of the rule's own objective."
    )
    sampler: Literal["tpe", "random"] = pydantic.Field(default="tpe", description="Optuna's sampler.")
    lag: int = pydantic.Field(
        default=8,
        ge=1,
        le=1000,
        description="How many trials may be open at once: trial n waits for the result of trial n − lag.",
    )
    seed: int = pydantic.Field(default=1, ge=1, le=checks.MAX_SEED, description="Seed of the sampler.")
    prune: PruneSection | None = pydantic.Field(
        default=None, description="When later seeds of a trial are not run; without it, all are."
    )
    space: dict[str, dict[str, Any]] = pydantic.Field(
        default_factory=dict,
        description="Ranges by label and setting, in place of those that the methods declare.",
    )


@dataclass(frozen=True, kw_only=True)
class Target:
    """What one Optuna study searches: a label's method at one data set, architecture and forget request.

    `fixed`: the fields that the file sets; `method`: the class of the method; `point`: a grid point, of which the seed is
    not used.
    """

    label: str
    method_name: str
    method: type
    fixed: Mapping[str, Any]
    space: Space
    point: GridPoint
    rule: Rule

    def settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """All fields of the method that a trial with these parameters sets: the fixed ones too."""
        return {**self.fixed, **settings_of(self.space, params)}

    def __str__(self) -> str:
        return f"{self.label} on {self.point.dataset}, {self.point.architecture.title}, {self.point.forget}"


@dataclass(frozen=True, kw_only=True)
class SearchFile:
    """One parsed, validated search file. `file`: the sweep file without `search:`."""

    name: str
    file: SweepFile
    section: SearchSection
    targets: tuple[Target, ...]
    text: str = field(repr=False)

    @classmethod
    def load(cls, path: str | Path, registry: Registry) -> SearchFile:
        """Read a search file.

        Args:
            path: Of a YAML file.
            registry: The names that it may use, as `adaprob_ray.catalogue.REGISTRY`.

        Returns:
            The search.

        Raises:
            InputError: With one line for each fault, each beginning with the path.

        Example:
            >>> from adaprob_ray.catalogue import REGISTRY
            >>> search = SearchFile.load("sweeps/search_digits.yaml", REGISTRY)
            >>> [target.label for target in search.targets]
            ['adaprob', 'scrub', 'neggrad_plus', 'finetune']
        """
        text = read_document_text(path)
        look_in(Path.cwd(), Path(path).parent)
        try:
            return cls.parse(text, registry, Path(path).parent)
        except InputError as error:
            raise InputError(*(f"{path}: {fault}" for fault in error.faults)) from None

    @classmethod
    def parse(cls, text: str, registry: Registry, folder: Path = Path()) -> SearchFile:
        """As `load`, from the text of a search file; files that it names are looked up in `folder`."""
        document = load_document(text)
        if "search" not in document.values:
            raise InputError(
                "search: must be in a search file, which is a sweep file plus search: {trials, seeds, rule, …}"
            )
        values = document.values.pop("search")
        if not isinstance(values, dict):
            raise InputError(f"search: must be a mapping {{name: value}}, got {values!r}")
        parsed = parse_document(document, registry.metric_stages, folder)
        expansion = expand(parsed.file, registry)
        faults = Faults([*parsed.faults, *expansion.faults])
        try:
            section = SearchSection.model_validate(values)
        except pydantic.ValidationError as error:
            lines = section_faults(error, SearchSection)
            raise InputError(
                *faults, *(f"search{': ' if line.startswith('unknown key') else '.'}{line}" for line in lines)
            ) from None
        _check_seeds(parsed.file, section, faults)
        _check_objective(parsed.file, section, registry, faults)
        _check_pruning(section, faults)
        targets = [] if faults else _targets(parsed.file, section, registry, faults)
        if faults:
            raise InputError(*faults)
        return cls(
            name=parsed.file.name,
            file=parsed.file,
            section=section,
            targets=tuple(targets),
            text=self_contained_text(text, {**parsed.values, "search": values}, expansion.original_sha256),
        )


def is_search_file(path: str | Path) -> bool:
    """Whether a file has the section `search`; a file that cannot be read has none."""
    try:
        return "search" in load_document(read_document_text(path)).values
    except InputError:
        return False


def _check_seeds(file: SweepFile, section: SearchSection, faults: Faults) -> None:
    for seed in section.seeds:
        checks.check_seed("search.seeds", seed, faults)
    if len(set(section.seeds)) < len(section.seeds):
        faults.add(f"search.seeds: each must be given once, got {section.seeds}")
    reported = file.grid.seed if isinstance(file.grid.seed, list) else [file.grid.seed]
    if common := sorted(set(section.seeds) & {seed for seed in reported if isinstance(seed, int)}):
        faults.add(
            f"search.seeds: must have none of the seeds that are reported (grid.seed), got {common} in both: "
            "a setting that is chosen and reported on one seed looks better than it is"
        )


def _check_objective(file: SweepFile, section: SearchSection, registry: Registry, faults: Faults) -> None:
    if section.rule == "oracle":
        if "retrain" not in file.methods:
            faults.add(
                "search.rule: oracle compares with Retrain; add retrain: {} under methods, or write rule: validation"
            )
        columns = {
            column for name in file.metrics if name in registry.metrics for column in registry.metrics[name].columns
        }
        if not section.objective and "errors" not in file.metrics:
            faults.add("search.rule: oracle reads errors; add it under metrics")
    else:
        selection = registry.metrics["selection"].columns
        columns = {*selection, "forget_error_percent", "retain_error_percent", "validation_error_percent"}
    for column in section.objective:
        if column not in columns:
            which = (
                "no metric of the file computes it" if section.rule == "oracle" else "rule validation does not read it"
            )
            faults.add(f"search.objective: {unknown_name('column', column, columns)}; {which}")


def _check_pruning(section: SearchSection, faults: Faults) -> None:
    if section.prune is None:
        return
    if len(section.objective) > 1:
        faults.add("search.prune: must have a single objective, got several")
    least = section.prune.min_seeds
    if least >= len(section.seeds):
        faults.add(
            f"search.prune: with {len(section.seeds)} seeds pruning can never skip one: p = {section.prune.p:g} is reached "
            f"after {least} seeds at the earliest; give at least {least + 1} seeds or remove prune"
        )


def _targets(file: SweepFile, section: SearchSection, registry: Registry, faults: Faults) -> list[Target]:
    labels = [label for label in file.methods if label not in REFERENCES]
    if not labels:
        faults.add(f"methods: must have a label to search besides {', '.join(REFERENCES)}")
        return []
    for label in section.space.keys() - set(labels):
        faults.add(f"search.space: {unknown_name('label', label, labels)}")
    for label in labels:
        if (frozen := f"{label}{DEFAULT_SUFFIX}") in file.methods or not is_label(frozen):
            faults.add(
                f"methods: {frozen} is the label that --freeze gives {label}'s current settings; rename one of them"
            )
    points = {
        (point.dataset, point.architecture, point.forget): point for point in checks.grid_points(file, registry, faults)
    }
    if any(point.forget.after for point in points.values()):
        faults.add("grid.forget: a search takes no sequence; search for each request alone")
        return []
    targets = []
    for label in labels:
        for point in points.values():
            settings = dict(settings_at(file, label, point))
            name = settings.pop("method", label)
            method: type = registry.methods[name]
            if registry.methods[name].stage != "unlearn":
                faults.add(f"methods.{label}: must be a method that unlearns, got {name}, which trains from scratch")
                continue
            lists = [key for key, value in settings.items() if isinstance(value, list) and not _takes_list(method, key)]
            if lists:
                faults.add(
                    *(f"methods.{label}.{key}: must be one value in a searched label, got a list" for key in lists)
                )
                continue
            rule = rule_for(section.rule, point.forget)
            if not rule.needs_retrain:
                _check_validation_rows(point, registry, faults)
            where = f"search.space.{label}"
            space = parse_space(method, settings, section.space.get(label, {}), where, faults)
            targets.append(
                Target(
                    label=label,
                    method_name=name,
                    method=method,
                    fixed=settings,
                    space=space,
                    point=point,
                    rule=rule,
                )
            )
    return targets


def _takes_list(method: type, name: str) -> bool:
    """Whether a list is one value of this field."""
    return len(expand_lists(method, {name: [1, 2]})) == 1


def _check_validation_rows(point: GridPoint, registry: Registry, faults: Faults) -> None:
    if point.forget.class_index is None:
        return  # the classes of indices are not known before the data are read
    rows = registry.dataset(point.dataset).validation_per_class[point.forget.class_index]
    if rows < 2:
        faults.add(
            f"search.rule: validation compares with validation samples of the forget class; {point.dataset} has {rows} "
            f"of class {point.forget.class_index}"
        )
