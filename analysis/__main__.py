"""`python -m analysis compare --store STORE --sweep SWEEP.yaml`: labels against metrics, for any sweep.

Exit codes: 0 tables printed and written; 1 the store could not be read; 2 bad input, a missing or a corrupt Record among
it: then nothing is printed or written but one line for each fault.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from adaprob_ray.errors import AdaprobError, InputError, unknown_name
from analysis.columns import Column, column, metric_columns
from analysis.load import complete_records, load_sweep
from analysis.render import terminal, write
from analysis.tables import tables

DONE, FAILED, BAD_INPUT = 0, 1, 2
PIPE_WIDTH = 120  # characters, where there is no terminal to ask


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and turn errors into exit codes."""
    options = _parser().parse_args(arguments)
    try:
        _compare(options)
    except InputError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of a pipe went away
    except (AdaprobError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Tables from the Records of a sweep.")
    commands = parser.add_subparsers(required=True, metavar="ARTEFACT")
    about = "label x metric tables of any sweep, printed and written as Markdown and CSV"
    compare = commands.add_parser("compare", help=about, description=about)
    store = os.environ.get("ADAPROB_STORE", "./store")
    compare.add_argument("--store", default=store, help=f"folder or s3://, gs://, az:// URI (ADAPROB_STORE; {store})")
    compare.add_argument("--sweep", required=True, help="the sweep file (YAML) whose Records are wanted")
    compare.add_argument("--out", default="out", help="folder for compare-SWEEP.md and .csv (./out); made if absent")
    compare.add_argument("--metrics", metavar="COLUMN,COLUMN", help="only these columns, in this order")
    return parser


def _compare(options: argparse.Namespace) -> None:
    sweep = load_sweep(options.sweep)
    columns = _chosen(metric_columns(sweep.file.metrics), options.metrics)
    records = complete_records(options.store, sweep, options.sweep)
    found = tables(records, columns, sweep.file.methods)
    paths = write(found, sweep.name, Path(options.out).expanduser())
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    console.print(terminal(found, console.width))
    print("written: " + ", ".join(map(str, paths)))


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


if __name__ == "__main__":
    sys.exit(main())
