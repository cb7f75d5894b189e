"""The pages of searches in a report: for each group of studies its tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from adaprob_ray.reporting.report.build import ExtraSection
from adaprob_ray.reporting.report.html_tables import HtmlTable, text_table
from adaprob_ray.reporting.report.markers import Marker
from adaprob_ray.reporting.report.svg import SvgFigure
from adaprob_ray.reporting.search.figures.best_so_far import best_so_far_caption, compute_best_so_far
from adaprob_ray.reporting.search.figures.importance import compute_importance, importance_caption
from adaprob_ray.reporting.search.figures.method_ranks import compute_method_ranks, method_ranks_caption
from adaprob_ray.reporting.search.figures.slices import compute_slice, slice_axis
from adaprob_ray.reporting.search.report_charts import (
    best_so_far_charts,
    importance_chart,
    pareto_charts,
    rank_charts,
    slice_chart,
)
from adaprob_ray.reporting.search.studies import STRIP_WORDS, StudyGroup, StudyResults, caption_of, objective_words
from adaprob_ray.reporting.search.tables.best_table import best_page, heading
from adaprob_ray.reporting.search.tables.trials_table import trial_lines
from adaprob_ray.reporting.tables.layout import Block


def search_sections(groups: Sequence[StudyGroup]) -> list[ExtraSection]:
    """A section of a report for each group of studies."""
    return [
        ExtraSection(
            anchor=f"search-{number}",
            heading=f"Search: {group.first.search.name} · {heading(group)}",
            counts=_counts(group),
            methods=group.methods,
            template="search.html.j2",
            content=partial(_content, group),
        )
        for number, group in enumerate(groups, 1)
    ]


def _counts(group: StudyGroup) -> str:
    runs = [run for studies in group.studies.values() for run in studies]
    trials = sum(len(run.trials) for run in runs)
    return f"{trials:,} trial{'s' * (trials != 1)} of {len(runs)} stud{'y' if len(runs) == 1 else 'ies'}"


def _content(group: StudyGroup, markers: Mapping[str, Marker]) -> dict[str, Any]:
    """What the template shows: best trials, curves, then each label with its parameters and all its trials."""
    document = best_page(group)
    figures, notes = _method_charts(group, markers)
    return {
        "tables": [text_table(block, block.title or "Best trials") for block in document.blocks],
        "notes": [*document.notes, *notes],
        "legend": [(label, markers[label]) for label in group.methods],
        "figures": figures,
        "labels": [_label_content(group, label, markers[label]) for label in group.studies],
    }


def _method_charts(group: StudyGroup, markers: Mapping[str, Marker]) -> tuple[list[SvgFigure], list[str]]:
    """The figures that compare methods, and what must be known of them."""
    if len(group.signs) > 1:
        return pareto_charts(group, markers), []
    charts = best_so_far_charts(compute_best_so_far(group), markers)
    notes = best_so_far_caption([group])
    ranks = compute_method_ranks([group])
    if ranks is not None:
        charts += rank_charts(ranks, markers)
        notes += method_ranks_caption(ranks, [group])
    table_notes = set(best_page(group).notes)
    return charts, [line for line in dict.fromkeys(notes) if line not in table_notes]


def _label_content(group: StudyGroup, label: str, marker: Marker) -> dict[str, Any]:
    """Importance, slices of each objective, and the trials of each search seed."""
    runs = group.studies[label]
    importance = compute_importance(group, label)
    charts = [importance_chart(importance)] if importance is not None else []
    words = objective_words(group.first)
    for objective, name in enumerate(words):
        axis = slice_axis(runs, group.signs[objective], objective)
        slices = [compute_slice(parameter, runs, objective) for parameter in runs[0].study.target.space]
        charts += [slice_chart(each, axis, marker, name) for each in slices]
    chosen = "chosen" if len(words) == 1 else "on the Pareto front"
    notes = [f"hollow: pruned; cross: diverged; large ring: {chosen}; small ring: default settings"]
    notes += [line for line in caption_of([group], strip=True) if line == STRIP_WORDS]
    notes += importance_caption() if importance is not None else []
    trials = [_trials(run) for run in runs]
    return {"label": label, "marker": marker, "figures": charts, "notes": notes, "trials": trials}


def _trials(results: StudyResults) -> tuple[str, HtmlTable]:
    """All trials of one study, with a summary."""
    header, body = trial_lines(results)
    words = f"All {len(results.trials)} trials of {results.label}, search seed {results.search_seed}"
    return words, text_table(Block("", header, body), f"rule {results.study.target.rule.name}; *: chosen")
