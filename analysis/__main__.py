"""`python -m analysis ARTEFACT`: tables, figures and documents from Records alone.

Exit codes: 0 printed and written; 1 the store could not be read; 2 bad input, a missing or a corrupt Record among it: then
nothing is printed or written but one line for each fault.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from adaprob_ray.errors import AdaprobError, InputError
from adaprob_ray.reporting.request import Artefact, Request
from adaprob_ray.streams import make_streams_lasting
from analysis.figure_artefacts import SOLVERS_SCALAR
from analysis.registry import ARTEFACTS

DONE, FAILED, BAD_INPUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and turn errors into exit codes."""
    make_streams_lasting()
    options = _parser().parse_args(arguments)
    artefact = ARTEFACTS[options.artefact]
    try:
        artefact.make(_request(options), artefact)
    except InputError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        return BAD_INPUT
    except (AdaprobError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis", description="Tables, figures and documents, from Records alone."
    )
    commands = parser.add_subparsers(required=True, metavar="ARTEFACT", dest="artefact")
    store = os.environ.get("ADAPROB_STORE") or "./store"
    for name, artefact in ARTEFACTS.items():
        command = commands.add_parser(name, help=artefact.about, description=artefact.about)
        if name == "rescore":
            command.add_argument("file", help="a Python file with one function of an Evaluation")
            command.add_argument("--outputs", metavar="ARCHIVE", help="results/NAME.zip; without it those of the store")
        if name == "verify":
            command.add_argument("--write", action="store_true", help="write tables that differ anew")
            continue
        command.add_argument(
            "--store",
            default=store,
            help=f"folder or s3://, gs://, az:// URI, or a .jsonl file of Records (ADAPROB_STORE; {store})",
        )
        command.add_argument("--out", default="out", help="folder for the files (./out); made if absent")
        if name != "rescore":
            _add_sweep_arguments(command, name, artefact)
    return parser


def _add_sweep_arguments(command: argparse.ArgumentParser, name: str, artefact: Artefact) -> None:
    files = ", ".join(f"sweeps/{sweep}.yaml" for sweep in artefact.sweeps)
    one = name in ("compare", "archive")
    about = f"the sweep file (YAML) whose Records are wanted{f' ({files})' if files else ''}"
    if name == "search":
        about = "the search file (YAML) whose trials are wanted; several may differ in search.seed alone"
    if name == "report":
        about += "; search files get pages of their trials"
    command.add_argument("--sweep", nargs=1 if one else "+", required=one, default=(), help=about)
    if name in ("costs", "search"):
        return
    command.add_argument("--only", metavar="CONDITIONS", help="only cells like 'dataset=cifar5,seed<3'")
    command.add_argument("--partial", action="store_true", help="mark what is missing, and go on")
    if name == "trajectories":
        about = "what to draw (projection_residual), by its name in TensorBoard after the stage: loss, retain_error_percent, …"
        command.add_argument("--scalar", metavar="NAME", default=SOLVERS_SCALAR, help=about)
    if name == "compare":
        command.add_argument("--metrics", metavar="COLUMN,COLUMN", help="only these columns, in this order")


def _request(options: argparse.Namespace) -> Request:
    given = {name: value for name, value in vars(options).items() if name != "artefact"}
    out, sweeps = Path(given.pop("out", "out")).expanduser(), tuple(given.pop("sweep", ()))
    return Request(**{"store": "", **given, "out": out, "sweeps": sweeps})


if __name__ == "__main__":
    sys.exit(main())
