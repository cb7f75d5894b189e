"""The table of the best: for each method its default settings, the best trial, their difference, and what the search cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adaprob_ray.reporting.search.studies import StudyGroup, StudyResults, caption, objective_words
from adaprob_ray.reporting.tables.format import EMPTY_CELL, MINUS_SIGN
from adaprob_ray.reporting.tables.layout import Block, Document
from adaprob_ray.search.study import Study, Trial

SELECTION_BIAS = (
    "best: chosen among many noisy values, so its value is optimistic; freeze the settings and run them on the seeds of the "
    "report (adaprob-ray search … --freeze)"
)


def best_rows(groups: Sequence[StudyGroup]) -> list[dict[str, Any]]:
    """A row for each study and best trial, with all that the search file decided; the numbers of the CSV file."""
    rows = []
    for group in groups:
        for results in (run for runs in group.studies.values() for run in runs):
            rows += [_row(results, trial) for trial in _best_or_none(results)]
    return rows


def _best_or_none(results: StudyResults) -> Sequence[Trial | None]:
    return results.best or [None]


def _row(results: StudyResults, trial: Trial | None) -> dict[str, Any]:
    default = results.default
    row = identity(results)
    row["trials"] = len(results.trials)
    row |= {state: results.count(state) for state in ("complete", "pruned", "diverged", "failed", "running")}
    row["beyond_margin"] = sum(results.study.is_beyond_margin(each) for each in results.trials)
    row["passes"] = sum(results.passes)
    row["best_trial"] = None if trial is None else trial.number
    for objective, name in enumerate(results.study.objectives):
        default_value = default.values[objective] if default is not None and default.values is not None else None
        best = trial.values[objective] if trial is not None and trial.values is not None else None
        difference = best - default_value if best is not None and default_value is not None else None
        row |= {f"default.{name}": default_value, f"best.{name}": best, f"difference.{name}": difference}
    params = trial.params if trial is not None else {}
    return row | {f"params.{name}": value for name, value in params.items()}


def identity(results: StudyResults) -> dict[str, Any]:
    """Which study a row is of, and by which rule it was searched."""
    target, section = results.study.target, results.study.search.section
    return {
        "search": results.study.search.name,
        "study": results.study.key,
        "label": target.label,
        "dataset": str(target.point.dataset),
        "test_pool": target.point.dataset.test_pool,
        "architecture": target.point.architecture.title,
        "filters": target.point.architecture.filters,
        "forget": str(target.point.forget),
        "rule": target.rule.name,
        "search_seed": section.seed,
        "seeds": " ".join(map(str, section.seeds)),
    }


def best_page(group: StudyGroup) -> Document:
    """The table of one group in words: values and costs, then the settings of the best trials."""
    several = len(group.search_seeds) > 1
    head = ["method", *(["search seed"] if several else []), "rule"]
    for words in objective_words(group.first):
        head += [f"default: {words}", f"best: {words}", "difference"]
    lines, settings = [], []
    for results in (run for runs in group.studies.values() for run in runs):
        name = f"{results.label}, search seed {results.search_seed}" if several else results.label
        for trial in _best_or_none(results):
            lines.append(_line(results, trial, several))
            if trial is not None:
                settings.append([name, f"#{trial.number}", settings_words(trial.params)])
    blocks = [
        Block("", [*head, "best trial", "trials", "passes"], lines),
        Block("settings of the best trials", ["method", "trial", "settings"], settings),
    ]
    notes = [f"default: {_without_default(group)}"] if _without_default(group) else []
    return Document(heading(group), blocks, [SELECTION_BIAS, *notes, *caption(group)])


def heading(group: StudyGroup) -> str:
    return f"{' · '.join(group.title.splitlines())} · rule {group.first.target.rule.name}"


def _without_default(group: StudyGroup) -> str:
    labels = [label for label, runs in group.studies.items() if not runs[0].study.starts_at_default]
    return f"outside the searched space of {', '.join(labels)}" if labels else ""


def _line(results: StudyResults, trial: Trial | None, several: bool) -> list[str]:
    study, default = results.study, results.default
    line = [results.label, *([str(results.search_seed)] if several else []), study.target.rule.name]
    for objective in range(len(study.objectives)):
        line += [
            value_words(study, default, objective),
            value_words(study, trial, objective),
            _difference(study, default, trial, objective),
        ]
    number = EMPTY_CELL if trial is None else f"#{trial.number}"
    return [*line, number, _trials_words(results), f"{sum(results.passes):,}"]


def _trials_words(results: StudyResults) -> str:
    """`40`, or `40 (2 diverged)`."""
    counts = {state: results.count(state) for state in ("pruned", "diverged", "failed", "running")}
    words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"{len(results.trials)} ({words})" if words else str(len(results.trials))


def value_words(study: Study, trial: Trial | None, objective: int = 0) -> str:
    """A trial's value; one that diverged or is beyond the margin says so."""
    if trial is None or trial.values is None:
        return "diverged" if trial is not None and trial.state == "diverged" else EMPTY_CELL
    if study.is_beyond_margin(trial):
        return "beyond margin"
    return number_words(trial.values[objective])


def _difference(study: Study, default: Trial | None, trial: Trial | None, objective: int) -> str:
    values = [
        each.values[objective] for each in (default, trial) if each and each.values and not study.is_beyond_margin(each)
    ]
    return f"{values[1] - values[0]:+.4g}".replace("-", MINUS_SIGN) if len(values) == 2 else EMPTY_CELL


def number_words(value: Any) -> str:
    """Four digits of a float, with a true minus."""
    return f"{value:.4g}".replace("-", MINUS_SIGN) if isinstance(value, float) else str(value)


def settings_words(params: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
    )
