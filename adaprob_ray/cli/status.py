"""The command status."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from adaprob_ray.cli._exit_codes import DONE, FAILED, UNFINISHED
from adaprob_ray.cli._load import load_cells, open_store
from adaprob_ray.cli._status_lines import status_lines
from adaprob_ray.cli._sweep import changed_method_lines, json_option, sweep_parameters
from adaprob_ray.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from adaprob_ray.runtime.status_report import StatusReport
    from adaprob_ray.sweep.cell import Cell
    from adaprob_ray.sweep.registry import Registry
    from adaprob_ray.sweep.sweep import Sweep

EXIT_CODES = {"done": DONE, "failed": FAILED, "unfinished": UNFINISHED}
# Between two refreshes: on a terminal, and where the output goes to a file, which should not fill up.
TERMINAL_SECONDS, FILE_SECONDS = 5.0, 60.0

# Shows a report and remarks on it.
Show = Callable[["StatusReport", list[str]], None]


@click.command()
@sweep_parameters
@click.option("--watch", is_flag=True, help="Refresh until all cells are done. Ctrl-C ends the display only.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help=f"Time between two refreshes; by default {TERMINAL_SECONDS:g} on a terminal, {FILE_SECONDS:g} elsewhere.",
)
@click.option(
    "--exit-code", "as_exit_code", is_flag=True, help="Exit with 0, 1 or 3, depending on the state (see above)."
)
@json_option
def status(
    path: str,
    location: str,
    only: str | None,
    watch: bool,
    interval: float | None,
    as_exit_code: bool,
    as_json: bool,
) -> int:
    """Show the progress and the failures of a sweep.

    SWEEP is a sweep file (YAML), or a search file, whose trials so far are shown. Only the store is read, so any machine
    that can reach it can run this. Nothing is written.
    With --watch --json, each refresh is one line.

    \b
    Exit codes with --exit-code:
      0  all cells are done
      1  nothing runs; all that is left failed, or is blocked by a failure
      3  cells run or could run
    """
    from rich.console import Console

    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.search.search_file import is_search_file

    sweep, cells = load_cells(path, only, trials_in=location)
    console = Console(highlight=False)
    is_live = watch and not as_json and console.is_terminal
    command = shlex.join(["adaprob-ray", "run", path, "--store", location, *(["--only", only] if only else [])])
    # A search has no --rerun, which the warning names.
    read = _reader(cells, location, None if is_search_file(path) else REGISTRY)
    report = read()
    display = _json_lines(sweep, location) if as_json else _display(sweep, console, location, is_live=is_live)
    with display as show:
        show(report, _remarks(report, command, path, location))
        with contextlib.suppress(KeyboardInterrupt):
            while watch and report.result != "done":
                time.sleep(interval or (TERMINAL_SECONDS if is_live else FILE_SECONDS))
                try:
                    report = read()
                    remarks = _remarks(report, command, path, location)
                except StoreError as error:  # for a moment, or for as long as the network is down
                    remarks = [f"not refreshed: {error}"]
                show(report, remarks)
    return EXIT_CODES[report.result] if as_exit_code else DONE


def _reader(cells: Mapping[str, Cell], location: str, registry: Registry | None) -> Callable[[], StatusReport]:
    """Reads the present state, also of a store that a run has yet to create."""
    from adaprob_ray.runtime.status_reader import StatusReader
    from adaprob_ray.runtime.status_report import empty_report

    reader: StatusReader | None = None

    def read() -> StatusReport:
        nonlocal reader
        if reader is None:
            store = open_store(location)
            if store is None:
                return empty_report(cells)
            reader = StatusReader(cells, store, registry)
        return reader.read()

    return read


def _remarks(report: StatusReport, command: str, path: str, location: str) -> list[str]:
    remarks = changed_method_lines(report.changed_methods, path, location)
    if not report.running and report.result != "done":
        remarks.append(f"nothing is running; start or resume with: {command}")
    return remarks


def _curves(location: str, sweep: str) -> str | None:
    """The command that shows the sweep's curves; None where there is nothing to show, as on a machine without a copy."""
    from adaprob_ray.runtime.tensorboard_layout import tensorboard_command, tensorboard_folder

    folder = tensorboard_folder(location, sweep)
    return tensorboard_command(folder) if folder.is_dir() else None


@contextlib.contextmanager
def _json_lines(sweep: Sweep, location: str) -> Iterator[Show]:
    def show(report: StatusReport, remarks: list[str]) -> None:
        curves = _curves(location, sweep.name)
        click.echo(json.dumps({**_document(sweep, report), "remarks": remarks, "tensorboard": curves}))

    yield show


@contextlib.contextmanager
def _display(sweep: Sweep, console: Console, location: str, *, is_live: bool) -> Iterator[Show]:
    """Shows a report in place of the last one on a terminal, and elsewhere one after another with the time."""
    from rich.live import Live
    from rich.text import Text

    live = Live(console=console, auto_refresh=False) if is_live else None
    shown = 0

    def show(report: StatusReport, remarks: list[str]) -> None:
        nonlocal shown
        build = partial(
            status_lines,
            report,
            headline=f"{sweep.name}: {report.count('done')} of {report.count()} cells done in {location}",
            remarks=remarks,
            skipped=[str(line) for line in sweep.skipped],
            curves=_curves(location, sweep.name),
            width=console.width if console.is_terminal else None,
        )
        lines = build()
        if live is not None:
            if len(lines) >= console.height:
                lines = build(compact=True)
            live.update(Text("\n").join([*lines, Text(f"{datetime.now():%H:%M:%S}", style="dim")]), refresh=True)
            return
        if shown:
            click.echo(f"\n{datetime.now():%Y-%m-%d %H:%M:%S}")
        shown += 1
        for line in lines:
            # Not console.print for a file or a pipe: rich exits with 1 if its reader is gone.
            if console.is_terminal:
                console.print(line)
            else:
                click.echo(line.plain)

    with live or contextlib.nullcontext():
        yield show


def _document(sweep: Sweep, report: StatusReport) -> dict[str, Any]:
    """The report as JSON. `counts` are the states as `run` would find them, which tries failed cells once more."""
    return {
        "sweep": sweep.name,
        "cells": report.count(),
        "counts": report.counts,
        "failures": {
            cell.key: {"title": cell.title, "state": cell.state, **cell.failure.document()} for cell in report.failures
        },
        "skipped": [str(line) for line in sweep.skipped],
        "result": report.result,
        "stages": report.stages,
        "cells_per_minute": report.cells_per_minute,
        "seconds_left": report.seconds_left,
        "running": [asdict(cell) for cell in report.running],
        "devices": [asdict(device) for device in report.devices],
    }
