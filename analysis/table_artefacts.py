"""Tables: any sweep's, the paper's, its recipes and its claims."""

from __future__ import annotations

import contextlib
from pathlib import Path

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.costs import Speeds
from adaprob_ray.errors import InputError, NoStore, unknown_name
from adaprob_ray.reporting.records.load import LINES, all_records, group_of, read_lines
from adaprob_ray.reporting.records.metric_format import Column, column, metric_columns
from adaprob_ray.reporting.request import (
    RESULTS,
    Artefact,
    Request,
    console_of,
    holes_page,
    records_of,
    show,
    shown_seed,
    sweeps_of,
    tables_in,
)
from adaprob_ray.reporting.tables.costs import cost_numbers, costs_page, estimates
from adaprob_ray.reporting.tables.format import page
from adaprob_ray.reporting.tables.render import MARKDOWN_WIDTH, comma_separated, write
from analysis.paper.claims import claim_numbers, claim_tables, claims, claims_page
from analysis.paper.scrub_traces import groups_printed, trace_numbers, trace_page, traces
from analysis.paper.tables import judged_numbers, paper_page
from analysis.paper.training_recipes import recipe_lines, recipe_numbers, recipe_page
from analysis.paper.values import published, with_alternatives
from analysis.paper.verdicts import concerns, judgements


def compare(request: Request, artefact: Artefact) -> list[Path]:
    """Labels against metrics, for any sweep."""
    sweeps = sweeps_of(request, artefact)
    ((_, sweep),) = sweeps.items()
    columns = _chosen(metric_columns(sweep.file.metrics), request.metrics)
    gathered = records_of(request, sweeps)
    found = tables_in(gathered.records, sweeps, columns)
    holes = holes_page(gathered.holes)
    pages = [*(page(table, MARKDOWN_WIDTH) for table in found), *holes]
    paths = write(pages, comma_separated(found, sweep.name), f"compare-{sweep.name}", request.out)
    show([*(page(table, console_of().width) for table in found), *holes], paths)
    return paths


def _chosen(columns: list[Column], wanted: str | None) -> list[Column]:
    """The columns of the sweep, or those of them that were asked for."""
    if wanted is None:
        return columns
    known = [column.name for column in columns]
    names = [name.strip() for name in wanted.split(",")]
    faults = [f"--metrics: {unknown_name('column', name, known)}" for name in names if name not in known]
    if faults:
        raise InputError(*faults)
    return [column(name) for name in dict.fromkeys(names)]


def paper_table(request: Request, artefact: Artefact) -> list[Path]:
    """A table of the paper: its numbers, ours, and the verdict."""
    entries = published(artefact.published)
    sweeps = sweeps_of(request, artefact)
    gathered = records_of(request, sweeps, lambda cell: any(concerns(entry, group_of(cell)) for entry in entries))
    found = tables_in(gathered.records, sweeps, [column(name) for name in artefact.columns])
    everything = list(with_alternatives(entries))
    judged = [(table, judgement) for table in found for judgement in judgements(everything, table)]
    holes = holes_page(gathered.holes)
    pages = [*(paper_page(table, entries, MARKDOWN_WIDTH) for table in found), *holes]
    paths = write(pages, judged_numbers(judged), artefact.name, request.out)
    show([*(paper_page(table, entries, console_of().width) for table in found), *holes], paths)
    return paths


def recipes(request: Request, artefact: Artefact) -> list[Path]:
    """Tables 6 and 7, from sweep files alone."""
    lines = recipe_lines(artefact.published, sweeps_of(request, artefact).values())
    pages = [recipe_page(artefact.published, lines)]
    paths = write(pages, recipe_numbers(artefact.published, lines), artefact.name, request.out)
    show(pages, paths)
    return paths


def claimed(request: Request, artefact: Artefact) -> list[Path]:
    """The abstract's two claims."""
    sweeps = sweeps_of(request, artefact)
    gathered = records_of(request, sweeps)
    found = claim_tables(gathered.records, lambda records, name: tables_in(records, sweeps, [column(name)]))
    numbers = claim_numbers([(table, claim) for table in found for claim in claims(table)])
    pages = [*(claims_page(table, claims(table)) for table in found), *holes_page(gathered.holes)]
    paths = write(pages, numbers, "claims", request.out)
    show(pages, paths)
    return paths


def costed(request: Request, artefact: Artefact) -> list[Path]:
    """What sweeps cost, from the Records of the store, if it is there, and of results/."""
    sweeps = sweeps_of(request, artefact)  # first: it makes a user's own data sets known
    frames = [read_lines(path) for path in sorted(RESULTS.glob(f"*{LINES}"))]
    with contextlib.suppress(NoStore):
        frames.append(all_records(request.store))
    # A key may be of several machines: no Record is dropped.
    rows = [{str(name): value for name, value in row.items()} for frame in frames for row in frame.to_dict("records")]
    speeds = Speeds(rows, REGISTRY)
    found = estimates(sweeps.values(), speeds)
    pages = [costs_page(found, speeds.devices())]
    paths = write(pages, cost_numbers(found), "costs", request.out)
    show(pages, paths)
    return paths


def traced(request: Request, artefact: Artefact) -> list[Path]:
    """SCRUB epoch by epoch beside the notebooks'."""
    gathered = records_of(request, sweeps_of(request, artefact))
    if not len(gathered.records):
        raise InputError(f"{request.store}: holds no Record of {artefact.name}")
    found = traces(gathered.records, shown_seed(gathered.records))
    if not found:
        raise InputError(f"traces: the notebooks have none of these Records; they have {', '.join(groups_printed())}")
    pages = [*map(trace_page, found), *holes_page(gathered.holes)]
    paths = write(pages, trace_numbers(found), artefact.name, request.out)
    show(pages, paths)
    return paths
