"""Stored Outputs: archived, scored by a stranger's metric, and README, docs and results/ verified against them."""

from __future__ import annotations

from pathlib import Path

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.load import ARCHIVE, LINES, all_records
from adaprob_ray.reporting.request import Artefact, Request, console_of, holes_page, records_of, show, sweeps_of
from adaprob_ray.reporting.rescore import load_metric, record_lines, rescore, source_of, write_archive
from adaprob_ray.reporting.tables.render import write_whole
from analysis.verify.pages import verify


def archive(request: Request, artefact: Artefact) -> list[Path]:
    """Records and Outputs of one sweep in one file: NAME.jsonl and NAME.zip."""
    ((_, sweep),) = sweeps_of(request, artefact).items()
    gathered, source = records_of(request, {request.sweeps[0]: sweep}), source_of(request.store)
    if not len(gathered.records):
        raise InputError(f"{request.store}: holds no Record of {sweep.name}")
    request.out.mkdir(parents=True, exist_ok=True)
    # Outputs may be unreadable: the lines, from which tables are made, come after them.
    outputs = write_archive(gathered.records, source, request.out / f"{sweep.name}{ARCHIVE}")
    lines = write_whole(request.out / f"{sweep.name}{LINES}", record_lines(gathered.records))
    show(holes_page(gathered.holes), [lines, outputs])
    return [lines, outputs]


def rescored(request: Request, artefact: Artefact) -> list[Path]:
    """A stranger's metric over all Outputs of an archive, or of the Records in a store."""
    metric = load_metric(Path(request.file or ""))
    location = request.outputs or request.store
    source, records = source_of(location), all_records(location)
    if not len(records):
        raise InputError(f"{location}: holds no Record")
    scored = rescore(metric, records, source)
    request.out.mkdir(parents=True, exist_ok=True)
    path = write_whole(request.out / f"rescore-{metric.__name__}.csv", scored.to_csv(index=False))
    console = console_of()
    console.print(scored.drop(columns=["key"]).to_string(index=False), markup=False, soft_wrap=True)
    show([], [path])
    return [path]


def verified(request: Request, artefact: Artefact) -> list[Path]:
    """README, docs and results/ against the Records and Outputs in results/."""
    checked = verify(rewrite=request.write)
    if checked.faults:
        raise InputError(*checked.faults)
    words = f"{checked.tables} tables and {checked.numbers} numbers are what Records and Outputs in results/ say"
    console_of().print("\n".join([words, *(f"note: {note}" for note in checked.notes)]), markup=False, soft_wrap=True)
    return []
