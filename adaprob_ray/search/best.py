"""The best trials of a study, and the sweep file that freezes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from typing import Any

import yaml

from adaprob_ray._version import __version__
from adaprob_ray.errors import InputError
from adaprob_ray.search.search_file import DEFAULT_SUFFIX, SearchFile, Target
from adaprob_ray.search.study import Study, Trial
from adaprob_ray.settings import all_settings, as_mapping
from adaprob_ray.sweep.method_choices import REFERENCES
from adaprob_ray.sweep.yaml_document import load_document

# Packages whose versions may move a result, besides this one.
VERSIONS = ("optuna", "torch", "numpy")


def best_trials(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """The best complete trial, the first of equal ones; with several objectives the Pareto front, by number.

    Pruned and diverged trials are never among them.
    """
    signs = [1.0 if direction == "minimize" else -1.0 for direction in study.directions]
    scored = [
        (tuple(sign * value for sign, value in zip(signs, trial.values, strict=True)), trial)
        for trial in trials
        if trial.state == "complete" and trial.values is not None
    ]
    if len(signs) == 1:
        return [min(scored, key=lambda item: (item[0], item[1].number))[1]] if scored else []
    return [trial for values, trial in scored if not any(_dominates(other, values) for other, _ in scored)]


def _dominates(values: Sequence[float], others: Sequence[float]) -> bool:
    """Whether values are nowhere larger and somewhere smaller."""
    pairs = list(zip(values, others, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def frozen_sweep(search: SearchFile, studies: Sequence[tuple[Study, Sequence[Trial]]], chosen: int | None) -> str:
    """The text of a sweep file with the best settings of each label, ready to run on the seeds that are reported.

    Args:
        search: The search file.
        studies: Each with its trials.
        chosen: The number of the trial to take instead of the best; needed where there are several objectives.

    Returns:
        YAML. Labels that were searched appear twice: with the best settings, and as LABEL_default with those of the file.

    Raises:
        InputError: If a study has no such trial, or several best ones.
    """
    trials = {id(study): _chosen_trial(study, list(all_trials), chosen) for study, all_trials in studies}
    document = load_document(search.text).values
    for name in ("search", "expect"):
        document.pop(name, None)
    document["name"] = f"{search.name}_frozen"
    labels = [label for label in search.file.methods if label not in REFERENCES]
    methods: dict[str, Any] = {
        label: search.file.methods[label] for label in search.file.methods if label in REFERENCES
    }
    for label in labels:
        of_label = [(study.target, trials[id(study)]) for study, _ in studies if study.target.label == label]
        methods[label] = _entry([(target, target.settings(trial.params)) for target, trial in of_label])
        methods[f"{label}{DEFAULT_SUFFIX}"] = _entry([(target, target.fixed) for target, _ in of_label])
    document["methods"] = methods
    comments = _provenance(search, [(study, trials[id(study)], all_trials) for study, all_trials in studies])
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return "".join(f"# {line}\n" for line in comments) + text


def _chosen_trial(study: Study, trials: list[Trial], chosen: int | None) -> Trial:
    if chosen is not None:
        if not 0 <= chosen < len(trials) or trials[chosen].state != "complete":
            count = len(trials)
            raise InputError(
                f"--trial: must be a complete trial of {study.target}, got {chosen} (trials so far: {count})"
            )
        return trials[chosen]
    best = best_trials(study, trials)
    if not best:
        raise InputError(f"{study.target}: must have a complete trial, got none; run the search first")
    if len(best) > 1:
        numbers = ", ".join(str(trial.number) for trial in best)
        raise InputError(
            f"--trial: must be one of {len(best)} trials on the Pareto front of {study.target} ({numbers})"
        )
    return best[0]


def _entry(settings: Sequence[tuple[Target, Mapping[str, Any]]]) -> Any:
    """The settings of a label: one mapping, or a where/with list where they depend on the grid point."""
    entries = [{"method": target.method_name, **fields} for target, fields in settings]
    if len(entries) == 1:
        return entries[0]
    return [
        {
            "where": {
                "dataset": _distinguishing(target.point.dataset, [other.point.dataset for other, _ in settings]),
                "architecture": _distinguishing(
                    target.point.architecture, [other.point.architecture for other, _ in settings]
                ),
                "forget": target.point.forget.document(),
            },
            "with": entry,
        }
        for (target, _), entry in zip(settings, entries, strict=True)
    ]


def _distinguishing(value: Any, others: Sequence[Any]) -> dict[str, Any]:
    """The fields of a data set or a network in a condition: also those at their default that it differs in from others."""
    names = {name for other in others for name in as_mapping(other)}
    return {name: item for name, item in all_settings(value).items() if name in names}


def _provenance(search: SearchFile, chosen: Sequence[tuple[Study, Trial, Sequence[Trial]]]) -> list[str]:
    section = search.section
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    lines = [
        f"Settings chosen by the search {search.name} on seeds {', '.join(map(str, section.seeds))}; no seed below was used.",
        f"Sampler {section.sampler}, search seed {section.seed}, lag {section.lag}, {section.trials} trials a study; "
        f"frozen on {date.today().isoformat()} with adaprob_ray {__version__}, {versions}.",
    ]
    for study, trial, trials in chosen:
        values = ", ".join(
            f"{name} {value:.4g}" for name, value in zip(study.objectives, trial.values or (), strict=False)
        )
        values += " (beyond the margin)" if study.is_beyond_margin(trial) else ""
        default = trials[0].values if study.starts_at_default else None
        start = f" (default settings: {', '.join(f'{value:.4g}' for value in default)})" if default is not None else ""
        lines.append(
            f"{study.target}: trial {trial.number} of {len(trials)}, rule {study.target.rule.name}, {values}{start}; "
            f"study {study.key}"
        )
    return lines
