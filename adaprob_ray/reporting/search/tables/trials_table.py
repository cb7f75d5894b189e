"""The table of all trials of a search, whatever their state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from adaprob_ray.reporting.search.studies import StudyGroup, StudyResults, caption, objective_words
from adaprob_ray.reporting.search.tables.best_table import heading, identity, number_words, value_words
from adaprob_ray.reporting.tables.format import EMPTY_CELL
from adaprob_ray.reporting.tables.layout import Block, Document


def trial_rows(groups: Sequence[StudyGroup]) -> pd.DataFrame:
    """A row for each trial, with its values, those of each seed, passes and parameters."""
    rows = []
    for results in (run for group in groups for runs in group.studies.values() for run in runs):
        study = results.study
        for trial, passes in zip(results.trials, results.passes, strict=True):
            values = trial.values or (None,) * len(study.objectives)
            row: dict[str, Any] = {**identity(results), "trial": trial.number, "state": trial.state}
            row["beyond_margin"] = study.is_beyond_margin(trial)
            row |= {f"value.{name}": value for name, value in zip(study.objectives, values, strict=True)}
            for seed, of_seed in zip(study.search.section.seeds, trial.seed_values, strict=False):
                row |= {f"seed{seed}.{name}": value for name, value in zip(study.objectives, of_seed, strict=True)}
            row["passes"] = passes
            rows.append(row | {f"params.{name}": value for name, value in trial.params.items()})
    frame = pd.DataFrame(rows)
    return frame[sorted(frame, key=_place)]


def _place(column: object) -> int:
    """Values before those of seeds, then passes, then parameters, though some studies lack some of them."""
    kind, dot, _ = str(column).partition(".")
    if not dot:
        return 3 if kind == "passes" else 0
    return {"value": 1, "params": 4}.get(kind, 2)


def trial_pages(groups: Sequence[StudyGroup]) -> list[Document]:
    """A page for each study."""
    return [_page(group, results) for group in groups for runs in group.studies.values() for results in runs]


def _page(group: StudyGroup, results: StudyResults) -> Document:
    several = len(group.search_seeds) > 1
    seed = f" · search seed {results.search_seed}" if several else ""
    head, lines = trial_lines(results)
    return Document(f"{results.label} · {heading(group)}{seed}", [Block("", head, lines)], caption(group))


def trial_lines(results: StudyResults) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of one study's trials, in words. The best are marked with a star."""
    study = results.study
    words, seeds, names = objective_words(study), study.search.section.seeds, list(study.target.space)
    best = {trial.number for trial in results.best}
    head = ["trial", "state", *words, *(f"seed {seed}" for seed in seeds), "passes", *names]
    lines = []
    for trial, passes in zip(results.trials, results.passes, strict=True):
        of_seeds = [", ".join(map(number_words, values)) for values in trial.seed_values]
        lines.append(
            [
                f"{trial.number}{' *' if trial.number in best else ''}",
                trial.state,
                *(value_words(study, trial, objective) for objective in range(len(words))),
                *of_seeds,
                *[EMPTY_CELL] * (len(seeds) - len(of_seeds)),
                f"{passes:,}",
                *(number_words(trial.params[name]) for name in names),
            ]
        )
    return head, lines
