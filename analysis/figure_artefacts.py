"""Figures from Records, and from Outputs where they are stored: the paper's 2, 3 and 4, ablations, trade-off and ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from adaprob_ray.errors import InputError
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.reporting.figures.curves import solver_trajectory, trajectory
from adaprob_ray.reporting.figures.data import WARM_UP, ablation, ranks, time_bars, trade_off
from adaprob_ray.reporting.figures.drawing import (
    draw_ablation,
    draw_embedding,
    draw_ranks,
    draw_time_bars,
    draw_trade_off,
    draw_trajectory,
)
from adaprob_ray.reporting.figures.embedding import embedding
from adaprob_ray.reporting.figures.style import save
from adaprob_ray.reporting.records.lines import facts, groups
from adaprob_ray.reporting.records.load import FILES, Gathered, all_records
from adaprob_ray.reporting.records.provenance import provenance
from adaprob_ray.reporting.report import write_report
from adaprob_ray.reporting.request import (
    Artefact,
    Request,
    holes_page,
    reading_of,
    records_of,
    show,
    shown_seed,
    sweeps_of,
)
from adaprob_ray.reporting.rescore import Source, evaluation_in, source_of
from adaprob_ray.reporting.search.studies import load_searches
from adaprob_ray.search.search_file import is_search_file
from adaprob_ray.store import Store
from adaprob_ray.store.studies import stored_studies
from analysis.paper.values import published

CURVE = Path(__file__).resolve().parents[1] / "results" / "projection_curve.csv"
SOLVERS_SCALAR = "projection_residual"


def _complete(request: Request, artefact: Artefact) -> Gathered:
    """The Records of an artefact. Raises InputError if none is there, even of a partial request."""
    gathered = records_of(request, sweeps_of(request, artefact))
    if not len(gathered.records):
        raise InputError(f"{request.store}: holds no Record of {artefact.name}")
    show(holes_page(gathered.holes), [])
    return gathered


def _saved(figure: Figure, request: Request, artefact: Artefact, gathered: Gathered | None = None) -> list[Path]:
    """The figure's files; one that lacks Records says so in itself."""
    if gathered is not None and gathered.holes:
        figure.suptitle(
            f"partial: {len(gathered.holes)} Records are missing", x=0.99, ha="right", size="small", style="italic"
        )
    paths = save(figure, request.out / artefact.name)
    show([], paths)
    return paths


def times(request: Request, artefact: Artefact) -> list[Path]:
    """Figure 4: time bars with standard errors, from exclusive cells on one kind of hardware, the first seed left out."""
    gathered = _complete(request, artefact)
    return _saved(draw_time_bars(time_bars(gathered.records, warm_up=WARM_UP)), request, artefact, gathered)


def ablation_of(over: str) -> Callable[[Request, Artefact], list[Path]]:
    """Curves over a setting: λ with the paper's Table 5 in it, or η."""

    def make(request: Request, artefact: Artefact) -> list[Path]:
        gathered = _complete(request, artefact)
        of_table_5 = over == "method.lam" and set(gathered.records["dataset"]) == {"cifar5"}
        curves = ablation(gathered.records, over, artefact.columns)
        return _saved(draw_ablation(curves, _table_5() if of_table_5 else None), request, artefact, gathered)

    return make


def _table_5() -> dict[str, dict[float, float]]:
    """Column → λ → the paper's number."""
    found: dict[str, dict[float, float]] = {}
    for entry in published("5"):
        found.setdefault(entry.column, {})[entry.lam or 0.0] = entry.value
    return found


def solvers(request: Request, artefact: Artefact) -> list[Path]:
    """Residual against passes of every solver of the projection, from results/projection_curve.csv."""
    return _saved(draw_trajectory(solver_trajectory(pd.read_csv(CURVE))), request, artefact)


def trade(request: Request, artefact: Artefact) -> list[Path]:
    """Forget error against retain error, label by label."""
    gathered = _complete(request, artefact)
    return _saved(draw_trade_off(trade_off(gathered.records)), request, artefact, gathered)


def ranked(request: Request, artefact: Artefact) -> list[Path]:
    """Mean ranks by distance to Retrain."""
    gathered = _complete(request, artefact)
    return _saved(draw_ranks(ranks(gathered.records, artefact.columns)), request, artefact, gathered)


# -- Outputs ---------------------------------------------------------------------------------------------------------------


def maps(part: str) -> Callable[[Request, Artefact], list[Path]]:
    """Figures 2 and 3: t-SNE of the outputs of AdaProb, SCRUB and Retrain on the test set, or on the forget rows."""

    def make(request: Request, artefact: Artefact) -> list[Path]:
        records, source = _with_outputs(request, artefact)
        reading = reading_of(sweeps_of(request, artefact))
        chosen = _shown_records(records, {"AdaProb": "adaprob", "SCRUB": "scrub", "Retrain": "retrain"}, reading)
        first = next(iter(chosen.values()))
        outputs: dict[str, Outputs] = {name: source.outputs(str(own["model_key"])) for name, own in chosen.items()}
        own = records[records["seed"] == first["seed"]]
        evaluation = evaluation_in({str(name): value for name, value in first.items()}, own, source)
        found = embedding(outputs, "test" if part == "test" else "forget", evaluation.forget)
        title = f"{first['dataset']} ({first['architecture']})"
        labels = ", ".join(f"{name}: {own['label']}" for name, own in chosen.items())
        figure = draw_embedding(found, title, [labels, *facts(pd.DataFrame(chosen.values()))])
        return _saved(figure, request, artefact)

    return make


def trajectories(request: Request, artefact: Artefact) -> list[Path]:
    """One scalar of the cells' series against steps, label by label, at one seed: what a solver or a method reported."""
    records, source = _with_outputs(request, artefact)
    scalar, seed = request.scalar, shown_seed(records)
    own = records[records["seed"] == seed].sort_values("repeat", kind="stable")
    found = groups(own)
    if len(found) > 1:
        titles = "; ".join(group.title.replace("\n", ", ") for group in found)
        raise InputError(f"--only: a figure of series is of one group, got {titles}")
    lines = found[0].lines
    held = {line.name: source.series(str(line.records["model_key"].iloc[0])) for line in lines}
    shown = {name: series for name, series in held.items() if scalar in series} or held  # none has it: refused below
    step = "step of the solver" if scalar == SOLVERS_SCALAR else "epoch"
    without = [name for name in held if name not in shown]
    left_out = [f"without {scalar}: {', '.join(without)}"] if without else []
    caption = [f"{found[0].title.replace(chr(10), ', ')}; seed {seed}", *left_out, provenance(own).lines()[0]]
    curves = trajectory(shown, scalar, {line.name: line.method for line in lines}, step=step, caption=caption)
    return _saved(draw_trajectory(curves), request, replace(artefact, name=f"{artefact.name}-{scalar}"))


def _with_outputs(request: Request, artefact: Artefact) -> tuple[pd.DataFrame, Source]:
    return _complete(request, artefact).records, source_of(request.store)


def _shown_records(records: pd.DataFrame, methods: Mapping[str, str], reading: str | None) -> dict[str, pd.Series]:
    """A Record of each method at the notebooks' seed, or at the first that is there: of the compared reading, or the first."""
    seed = shown_seed(records)
    found = {}
    for name, method in methods.items():
        own = records[(records["method"] == method) & (records["seed"] == seed)]
        read = own[own["label"] == reading]
        if not len(own):
            raise InputError(f"{name}: no Record of method {method} and seed {seed}")
        found[name] = (read if len(read) else own).iloc[0]
    return found


def reported(request: Request, artefact: Artefact) -> list[Path]:
    """One HTML file of every Record of a sweep, or of the whole store, and of the searches among the files.

    Holes are marked, nothing is refused.
    """
    files = [path for path in request.sweeps if is_search_file(path)]
    sweeps = sweeps_of(replace(request, sweeps=tuple(path for path in request.sweeps if path not in files)), artefact)
    searches = load_searches(request.store, files) if files else []
    if sweeps:
        gathered = records_of(replace(request, partial=True), sweeps)
    else:
        gathered = Gathered(pd.DataFrame() if searches else all_records(request.store), [])
    names = [*(sweep.name for sweep in sweeps.values()), *(group.first.search.name for group in searches)]
    path = write_report(
        gathered.records,
        holes=[cell.title for cell in gathered.holes],
        title=", ".join(dict.fromkeys(names)) or Path(request.store).name,
        folder=request.out,
        reading=reading_of(sweeps),
        searches=searches,
        notes=[] if searches else _searches_in_store(request.store),
    )
    paths = [path]
    show([], paths)
    return paths


def _searches_in_store(location: str) -> list[str]:
    """A note that a store has searches, which only their files can show."""
    if location.endswith(FILES):
        return []
    studies = stored_studies(Store.open(location, create=False))
    if not studies:
        return []
    labels = ", ".join(dict.fromkeys(str(study["label"]) for study in studies))
    return [f"The store has studies of searches ({labels}); name their search files with --sweep to show them"]
