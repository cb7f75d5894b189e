"""What every artefact is given and shares: the request of the command line, its Records, and how pages are shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from adaprob_ray.reporting.records.load import Gathered, gather, load_sweep
from adaprob_ray.reporting.records.metric_format import Column
from adaprob_ray.reporting.tables.format import Page
from adaprob_ray.reporting.tables.model import Table, tables
from adaprob_ray.reporting.tables.render import terminal
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

ROOT = Path(__file__).resolve().parents[2]
SWEEPS, RESULTS = ROOT / "sweeps", ROOT / "results"
SHOWN_SEED = 3
PIPE_WIDTH = 120  # characters, where there is no terminal to ask


@dataclass(frozen=True)
class Request:
    """What the command line gives an artefact: where Records are, where files go, and what is asked for."""

    store: str
    out: Path
    sweeps: tuple[str, ...] = ()
    only: str | None = None
    partial: bool = False
    metrics: str | None = None
    file: str | None = None  # of rescore: a Python file
    outputs: str | None = None  # of rescore: an archive of Outputs
    scalar: str = ""  # of trajectories
    write: bool = False  # of verify: tables that differ are written anew


@dataclass(frozen=True)
class Artefact:
    """`sweeps`: files under sweeps/ that hold its cells, unless the request names others. `make` returns the files written."""

    name: str
    about: str
    make: Callable[[Request, Artefact], list[Path]]
    sweeps: tuple[str, ...] = ()
    published: str = ""  # the table of the paper
    columns: tuple[str, ...] = ()  # Record columns, those of the paper first


def sweeps_of(request: Request, artefact: Artefact) -> dict[str, Sweep]:
    """The sweep files of an artefact, by the path that a command can be given."""
    paths = request.sweeps or tuple(_shown(SWEEPS / f"{name}.yaml") for name in artefact.sweeps)
    return {path: load_sweep(path) for path in paths}


def _shown(path: Path) -> str:
    """Relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def records_of(
    request: Request, sweeps: Mapping[str, Sweep], wanted: Callable[[Cell], bool] = lambda cell: True
) -> Gathered:
    return gather(request.store, sweeps, conditions=request.only, wanted=wanted, partial=request.partial)


def labels_of(sweeps: Mapping[str, Sweep]) -> list[str]:
    return list(dict.fromkeys(label for sweep in sweeps.values() for label in sweep.file.methods))


def reading_of(sweeps: Mapping[str, Sweep]) -> str | None:
    return next((sweep.file.primary_label for sweep in sweeps.values() if sweep.file.primary_label), None)


def tables_in(records: pd.DataFrame, sweeps: Mapping[str, Sweep], columns: Sequence[Column]) -> list[Table]:
    """A table for each group; none where there is no Record, which has no columns either."""
    if not len(records):
        return []
    return tables(records, columns, labels_of(sweeps), reading_of(sweeps))


def shown_seed(records: pd.DataFrame) -> int:
    """The notebooks' seed of small scale, of which figures 2 and 3 and traces are; the first where it is not there."""
    seeds = sorted(set(map(int, records["seed"])))
    return SHOWN_SEED if SHOWN_SEED in seeds else seeds[0]


def holes_page(holes: Sequence[Cell]) -> list[Page]:
    """What is missing, where a table is printed all the same."""
    if not holes:
        return []
    return [Page(f"partial: {len(holes)} Records are missing", [], [cell.title for cell in holes])]


def show(pages: Sequence[Page], paths: Sequence[Path]) -> None:
    console = console_of()
    console.print(terminal(pages))
    if paths:
        console.print("written: " + ", ".join(map(str, paths)), soft_wrap=True, markup=False)


def console_of() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console
