"""The studies of search files with their trials, grouped to what may be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import adaprob_ray
from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.grouping import group_title
from adaprob_ray.reporting.records.load import FILES
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.search.best import best_trials
from adaprob_ray.search.study import Study, Trial

# What a rule's value is: for an axis, and in full.
_RULES = {
    "oracle": (
        "mean gap to Retrain (pp)",
        "mean gap to Retrain in forget, retain and test error; it reads retrained models and test samples",
    ),
    "oracle_class": (
        "mean gap to Retrain (pp)",
        "mean gap to Retrain in forget and retain error and in the test error of the other classes; it reads retrained "
        "models and test samples",
    ),
    "validation": (
        "validation criterion (pp)",
        "mean of |membership AUC − 50| and |forget error − validation error of the original on the class|; neither Retrain "
        "nor a test sample is read",
    ),
    "validation_class": (
        "probability of the class (%)",
        "mean probability of the forgotten class over its forget and validation samples; neither Retrain nor a test sample "
        "is read",
    ),
}


STRIP_WORDS = "shaded strip: trials that diverged or are beyond the margin of the rule"


@dataclass(frozen=True)
class StudyResults:
    """A study with its trials. `passes`: forward plus backward examples of each trial, summed over its seeds."""

    study: Study
    trials: tuple[Trial, ...]
    passes: tuple[int, ...]

    @property
    def label(self) -> str:
        return self.study.target.label

    @property
    def search_seed(self) -> int:
        return self.study.search.section.seed

    @cached_property
    def best(self) -> list[Trial]:
        """The best trial, or with several objectives the Pareto front; none before a trial is complete."""
        return best_trials(self.study, self.trials)

    @property
    def default(self) -> Trial | None:
        """The trial with the default settings; None if they lie outside the space or the trial has not ended."""
        return self.trials[0] if self.study.starts_at_default and self.trials and self.trials[0].ended else None

    def count(self, state: str) -> int:
        return sum(trial.state == state for trial in self.trials)


@dataclass(frozen=True)
class StudyGroup:
    """Studies of one data set, architecture, forget request and rule: label → a study for each search seed."""

    title: str
    studies: Mapping[str, tuple[StudyResults, ...]]

    @property
    def first(self) -> Study:
        return next(iter(self.studies.values()))[0].study

    @property
    def signs(self) -> tuple[float, ...]:
        """For each objective 1 where less is better, else −1."""
        return tuple(1.0 if direction == "minimize" else -1.0 for direction in self.first.directions)

    @property
    def methods(self) -> dict[str, str]:
        """Label → method."""
        return {label: runs[0].study.target.method_name for label, runs in self.studies.items()}

    @property
    def search_seeds(self) -> list[int]:
        return sorted({run.search_seed for runs in self.studies.values() for run in runs})


def load_searches(store: str, paths: Iterable[str]) -> list[StudyGroup]:
    """The trials that a store has of search files.

    Args:
        store: Folder or URI of the store.
        paths: Search files; several of one search may differ in `search.seed` alone.

    Returns:
        One group for each data set, architecture, forget request and rule.

    Raises:
        InputError: If a file is at fault, there is no such store, no trial is stored, or two files give one label different
            settings.
    """
    if store.endswith(FILES):
        raise InputError(f"--store: must be a store, which has the trials, got {store}")
    studies = [results for path in paths for results in _load(store, path)]
    if not any(results.trials for results in studies):
        raise InputError(f"{store}: must have trials of {', '.join(paths)}, got none; run adaprob-ray search first")
    return group_studies([results for results in studies if results.trials])


def _load(store: str, path: str) -> list[StudyResults]:
    source: Any = adaprob_ray.load_search(store, path)
    return [
        StudyResults(
            progress.study,
            tuple(progress.trials),
            tuple(sum(map(_passes, source.facts([seed.model for seed in cells.seeds]))) for cells in progress.cells),
        )
        for progress in source.studies
    ]


def _passes(facts: Mapping[str, Any]) -> int:
    return int(facts.get("forward_examples", 0) + facts.get("backward_examples", 0))


def group_studies(studies: Sequence[StudyResults]) -> list[StudyGroup]:
    """The studies in groups, in their order. Raises InputError where a label has two studies that are not comparable."""
    groups: dict[str, dict[str, list[StudyResults]]] = {}
    for results in studies:
        document = results.study.document
        shared = {name: document[name] for name in ("point", "rule", "margin", "objective", "seeds")}
        groups.setdefault(repr(shared), {}).setdefault(results.label, []).append(results)
    faults = [fault for group in groups.values() for runs in group.values() for fault in _incomparable(runs)]
    if faults:
        raise InputError(*faults)
    return [
        StudyGroup(_title(group), {label: tuple(runs) for label, runs in group.items()}) for group in groups.values()
    ]


def _incomparable(runs: Sequence[StudyResults]) -> list[str]:
    first = runs[0].study
    for run in runs[1:]:
        differing = [name for name, value in run.study.document.items() if value != first.document[name]]
        if set(differing) - {"seed"}:
            names = ", ".join(sorted(set(differing) - {"seed"}))
            return [f"--sweep: {first.target}: several search files must differ in search.seed only, got other {names}"]
    seeds = [run.search_seed for run in runs]
    if len(set(seeds)) < len(seeds):
        return [f"--sweep: {first.target}: search files must have different search.seed, got {seeds}"]
    return []


def _title(group: Mapping[str, Sequence[StudyResults]]) -> str:
    point = next(iter(group.values()))[0].study.target.point
    return group_title(
        {
            "dataset": str(point.dataset),
            "test_pool": point.dataset.test_pool,
            "architecture": point.architecture.title,
            "filters": point.architecture.filters,
            "forget": str(point.forget),
        }
    )


# -- values ------------------------------------------------------------------------------------------------------------


def _count_infeasible(results: StudyResults) -> int:
    return sum(results.study.is_beyond_margin(trial) for trial in results.trials)


def objective_words(study: Study) -> list[str]:
    """What each value of a trial is, for an axis or the head of a column."""
    if study.search.section.objective:
        return [metric_format(name).header() for name in study.objectives]
    return [_RULES[study.target.rule.name][0]]


# -- captions ----------------------------------------------------------------------------------------------------------


def caption(group: StudyGroup) -> list[str]:
    """The rule, the seeds and the budget: what every table and figure of a search says."""
    return [*_shared_words(group), *_state_words(group)]


def caption_of(groups: Sequence[StudyGroup], *, strip: bool = False) -> list[str]:
    """The captions of all groups, each line once. `strip`: of a figure that has a strip for trials without a value."""
    if len(groups) == 1:
        lines = caption(groups[0])
    else:
        shared = dict.fromkeys(line for group in groups for line in _shared_words(group))
        states = [f"{' '.join(group.title.split())}: {words}" for group in groups for words in _state_words(group)]
        lines = [*shared, *states]
    studies = [run for group in groups for runs in group.studies.values() for run in runs]
    has_strip = any(run.count("diverged") or _count_infeasible(run) for run in studies)
    return [*lines, STRIP_WORDS] if strip and has_strip else lines


def _shared_words(group: StudyGroup) -> list[str]:
    study = group.first
    section = study.search.section
    seeds = ", ".join(map(str, section.seeds))
    mean = f"mean over model seeds {seeds}" if len(section.seeds) > 1 else f"model seed {seeds}"
    search_seeds = ", ".join(map(str, group.search_seeds))
    return [
        f"{_rule_words(study)}; values: {mean}",
        f"{_budget_words(group)} for each method; sampler {section.sampler}, search seed {search_seeds}, lag {section.lag}, "
        f"Optuna {study.document['optuna']}",
    ]


def _rule_words(study: Study) -> str:
    rule, section = study.target.rule, study.search.section
    if section.objective:
        objectives = ", ".join(
            f"{direction} {words}" for words, direction in zip(objective_words(study), study.directions, strict=True)
        )
        return f"rule {rule.name}; objective: {objectives}"
    words = f"rule {rule.name}: {_RULES[rule.name][1]}"
    if not rule.needs_retrain:
        validation = "validation error of the other classes" if rule.name == "validation_class" else "validation error"
        words += f"; retain error and {validation} at most {section.margin:g} pp above those of the original"
    return words


def _budget_words(group: StudyGroup) -> str:
    counts = sorted({len(run.trials) for runs in group.studies.values() for run in runs})
    return f"{counts[0]} trials" if len(counts) == 1 else f"UNEQUAL budgets of {counts[0]} to {counts[-1]} trials"


def _state_words(group: StudyGroup) -> list[str]:
    """How many trials have no value of all seeds, for each label that has such trials."""
    lines = []
    for label, runs in group.studies.items():
        counts = {state: sum(run.count(state) for run in runs) for state in ("pruned", "diverged", "failed", "running")}
        counts["beyond the margin"] = sum(map(_count_infeasible, runs))
        words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        lines += [f"{label}: {words}"] if words else []
    return ["; ".join(lines)] if lines else []
