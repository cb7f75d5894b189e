"""The pages of searches in a report: for each group of studies its tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from adaprob_ray.reporting.report.build import ExtraSection
from adaprob_ray.reporting.report.html import Html, element
from adaprob_ray.reporting.report.html_tables import bullets, column_head, grid, scrolling
from adaprob_ray.reporting.report.markers import Mark
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
from adaprob_ray.reporting.tables.format import EMPTY_CELL, MINUS_SIGN
from adaprob_ray.reporting.tables.layout import Block


def search_heading(group: StudyGroup) -> str:
    return f"Search: {group.first.search.name} · {heading(group)}"


def search_sections(groups: Sequence[StudyGroup]) -> list[ExtraSection]:
    """A section of a report for each group of studies."""
    return [
        ExtraSection(
            anchor=f"search-{number}",
            heading=search_heading(group),
            labels=list(group.studies),
            counts=_counts(group),
            render=partial(_section, number, group),
        )
        for number, group in enumerate(groups, 1)
    ]


def _counts(group: StudyGroup) -> str:
    runs = [run for own in group.studies.values() for run in own]
    trials = sum(len(run.trials) for run in runs)
    return f"{trials:,} trial{'s' * (trials != 1)} of {len(runs)} stud{'y' if len(runs) == 1 else 'ies'}"


def _section(number: int, group: StudyGroup, marks: Mapping[str, Mark]) -> Html:
    """Best trials, curves, then each method with its parameters and all its trials."""
    page = best_page(group)
    tables = [_table(block, block.title or "Best trials") for block in page.blocks]
    charts, notes = _method_charts(group, marks)
    return element(
        "section",
        {"id": f"search-{number}", "class": "study"},
        element("h2", {}, search_heading(group)),
        *tables,
        bullets("caption", [*page.notes, *notes]),
        _legend(group.methods, marks),
        element("div", {"class": "figures"}, *charts),
        *(part for label in group.studies for part in _label_parts(group, label, marks[label])),
    )


def _method_charts(group: StudyGroup, marks: Mapping[str, Mark]) -> tuple[list[Html], list[str]]:
    """The figures that compare methods, and what must be known of them."""
    if len(group.signs) > 1:
        return pareto_charts(group, marks), []
    charts = best_so_far_charts(compute_best_so_far(group), marks)
    notes = best_so_far_caption([group])
    ranks = compute_method_ranks([group])
    if ranks is not None:
        charts += rank_charts(ranks, marks)
        notes += method_ranks_caption(ranks, [group])
    known = set(best_page(group).notes)
    return charts, [line for line in dict.fromkeys(notes) if line not in known]


def _label_parts(group: StudyGroup, label: str, mark: Mark) -> list[Html]:
    """Importance, slices of each objective, and the trials of each search seed."""
    runs = group.studies[label]
    importance = compute_importance(group, label)
    charts = [importance_chart(importance)] if importance is not None else []
    parts = [element("h3", {}, mark.alone(), label)]
    words = objective_words(group.first)
    for objective, name in enumerate(words):
        axis = slice_axis(runs, group.signs[objective], objective)
        slices = [compute_slice(parameter, runs, objective) for parameter in runs[0].study.target.space]
        charts += [slice_chart(each, axis, mark, name) for each in slices]
    parts.append(element("div", {"class": "figures"}, *charts))
    chosen = "chosen" if len(words) == 1 else "on the Pareto front"
    notes = [f"hollow: pruned; cross: diverged; large ring: {chosen}; small ring: default settings"]
    notes += [line for line in caption_of([group], strip=True) if line == STRIP_WORDS]
    notes += importance_caption() if importance is not None else []
    parts.append(bullets("caption", notes))
    return [*parts, *(_trials(run) for run in runs)]


def _trials(results: StudyResults) -> Html:
    """All trials of one study, folded up."""
    head, lines = trial_lines(results)
    words = f"All {len(results.trials)} trials of {results.label}, search seed {results.search_seed}"
    table = _table(Block("", head, lines), f"rule {results.study.target.rule.name}; *: chosen")
    return element("details", {}, element("summary", {}, words), table)


def _legend(labels: Sequence[str] | Mapping[str, str], marks: Mapping[str, Mark]) -> Html:
    return element("ul", {"class": "legend"}, *(element("li", {}, marks[label].alone(), label) for label in labels))


def _table(block: Block, caption: str) -> Html:
    is_text = [
        any(_number(line[at]) is None and line[at] != EMPTY_CELL for line in block.body)
        for at in range(len(block.header))
    ]
    heads = [
        column_head(head, is_text=text or not at)
        for at, (head, text) in enumerate(zip(block.header, is_text, strict=True))
    ]
    body = [
        element(
            "tr",
            {},
            element("th", {"scope": "row"}, name),
            *(_cell(text, is_text=text_column) for text, text_column in zip(entries, is_text[1:], strict=True)),
        )
        for name, *entries in block.body
    ]
    return scrolling(caption, grid("values", caption, heads, body, []))


def _cell(text: str, *, is_text: bool) -> Html:
    """An entry that sorts by its number, if its column has numbers alone."""
    if text == EMPTY_CELL:
        return element("td", {"class": "nothing text" if is_text else "nothing"}, text)
    return element("td", {"class": "text"} if is_text else {"data-value": repr(_number(text))}, text)


def _number(text: str) -> float | None:
    with suppress(ValueError):
        return float(text.replace(",", "").replace(MINUS_SIGN, "-"))
    return None
