"""All figures and tables of one search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.figures.style import save
from adaprob_ray.reporting.search.figures.best_so_far import draw_best_so_far
from adaprob_ray.reporting.search.figures.history import draw_history
from adaprob_ray.reporting.search.figures.importance import draw_importance
from adaprob_ray.reporting.search.figures.method_ranks import compute_method_ranks, draw_method_ranks
from adaprob_ray.reporting.search.figures.pareto_front import draw_pareto_fronts
from adaprob_ray.reporting.search.figures.slices import draw_slices
from adaprob_ray.reporting.search.studies import StudyGroup, load_searches
from adaprob_ray.reporting.search.tables.best_table import best_page, best_rows
from adaprob_ray.reporting.search.tables.trials_table import trial_pages, trial_rows
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.reporting.tables.render import write_documents


def build_search(location: str, paths: Sequence[str], out: Path) -> Output:
    """Write the tables and figures of a search file, or of several that differ in their search seed, to `out`."""
    if not paths:
        raise InputError("--sweep: must name a search file")
    groups = load_searches(location, paths)
    name = groups[0].first.search.name
    documents = [best_page(group) for group in groups]
    written = write_documents(documents, pd.DataFrame(best_rows(groups)).to_csv(index=False), f"{name}-best", out)
    written += write_documents(trial_pages(groups), trial_rows(groups).to_csv(index=False), f"{name}-trials", out)
    for kind, figure in figures_of(groups).items():
        written += save(figure, out / f"{name}-{kind}")
    return Output(documents, written)


def figures_of(groups: Sequence[StudyGroup]) -> dict[str, Figure]:
    """All figures of these groups, by the end of their file's name."""
    single = [group for group in groups if len(group.signs) == 1]
    figures: dict[str, Figure] = {}
    if single:
        figures |= {"best-so-far": draw_best_so_far(single), "history": draw_history(single)}
        if (ranks := compute_method_ranks(single)) is not None:
            figures["ranks"] = draw_method_ranks(ranks, single)
    for objectives in sorted({group.first.objectives for group in groups if group not in single}):
        comparable = [group for group in groups if group.first.objectives == objectives]
        figures["pareto" if "pareto" not in figures else f"pareto-{len(figures)}"] = draw_pareto_fronts(comparable)
    if (importance := draw_importance(groups)) is not None:
        figures["importance"] = importance
    for label in dict.fromkeys(label for group in groups for label in group.studies):
        comparable = [group for group in groups if label in group.studies]
        figures[f"slices-{label}"] = draw_slices(label, comparable)
    return figures
