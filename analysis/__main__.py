"""`python -m analysis ARTEFACT`: tables, figures and pages of the paper, from Records alone.

Exit codes: 0 printed and written; 1 the store could not be read; 2 bad input, a missing or a corrupt Record among it: then
nothing is printed or written but one line for each fault.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaprob_ray.errors import AdaprobError, InputError
from adaprob_ray.streams import make_streams_lasting
from analysis.registry import ARTEFACTS, SWEEPS, Artefact

if TYPE_CHECKING:
    from adaprob_ray.reporting.tables.output import Output

PROGRAM = "python -m analysis"
DONE, FAILED, BAD_INPUT = 0, 1, 2
ONE_SWEEP = ("compare", "archive")  # which need exactly one sweep file

STORE = click.Option(
    ["--store", "location"],
    metavar="LOCATION",
    default="./store",
    envvar="ADAPROB_STORE",
    show_default=True,
    show_envvar=True,
    help="A folder, an s3://, gs:// or az:// URI, or a .jsonl or .zip file of Records.",
)
OUT = click.Option(["--out"], metavar="FOLDER", default="out", show_default=True, help="For the files; made if absent.")
# Further options of some commands, by their name in Artefact.options.
OPTIONS = {
    "only": click.Option(["--only"], metavar="CONDITIONS", help="Only cells like 'dataset=cifar5,seed<3'."),
    "partial": click.Option(["--partial"], is_flag=True, help="Render incomplete results and mark missing Records."),
    "metrics": click.Option(["--metrics"], metavar="COLUMN,COLUMN", help="Only these columns, in this order."),
    "against": click.Option(
        ["--against"], metavar="LABEL", default="retrain", help="The label that the others are compared with."
    ),
    "scalar": click.Option(
        ["--scalar"],
        metavar="NAME",
        default="projection_residual",
        show_default=True,
        help="Scalar to draw, by its TensorBoard name without the stage: loss, retain_error_percent, …",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and turn errors into exit codes. Raises SystemExit where the command line itself is wrong."""
    make_streams_lasting()
    try:
        with commands().make_context(PROGRAM, list(sys.argv[1:] if arguments is None else arguments)) as context:
            context.command.invoke(context)
    except click.exceptions.Exit as stop:  # of --help
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except InputError as error:
        for fault in error.faults:
            click.echo(f"error: {fault}", err=True)
        return BAD_INPUT
    except (AdaprobError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        return FAILED
    return DONE


def commands() -> click.Group:
    """All commands, from the registry alone."""
    return _Group(
        commands={name: _command(artefact) for name, artefact in ARTEFACTS.items()},
        help="Tables, figures and pages of the paper, from Records alone.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the registry's order


def _command(artefact: Artefact) -> click.Command:
    def run(**options: Any) -> None:
        from adaprob_ray.reporting.tables.output import show

        show(_build(artefact, options))

    summary = artefact.summary
    return click.Command(artefact.name, callback=run, params=_parameters(artefact), help=summary, short_help=summary)


def _parameters(artefact: Artefact) -> list[click.Parameter]:
    if artefact.takes == "pages":
        return [click.Option(["--write"], is_flag=True, help="Rewrite tables that differ.")]
    if artefact.takes == "outputs":
        outputs = click.Option(["--outputs"], metavar="ARCHIVE", help="results/NAME.zip (default: those of the store).")
        return [click.Argument(["file"]), outputs, STORE, OUT]
    if artefact.name in ONE_SWEEP:
        sweep = click.Option(["--sweep", "paths"], metavar="FILE", required=True, help="The sweep file (YAML).")
        return [sweep, STORE, OUT, *(OPTIONS[name] for name in artefact.options)]
    files = ", ".join(f"sweeps/{sweep}.yaml" for sweep in artefact.sweeps)
    about = f"The sweep or search files (YAML) whose Records are shown{f' (default: {files})' if files else ''}."
    sweep = click.Option(["--sweep", "paths"], metavar="FILE...", multiple=True, help=about)
    # Without it, only the first file after --sweep would belong to it.
    more = click.Argument(["more"], metavar="[FILE...]", nargs=-1)
    return [sweep, more, STORE, OUT, *(OPTIONS[name] for name in artefact.options)]


def _build(artefact: Artefact, options: dict[str, Any]) -> Output:
    if artefact.takes == "pages":
        return artefact.build(rewrite=options["write"])
    location, out = options["location"], Path(options["out"]).expanduser()
    if artefact.takes == "outputs":
        return artefact.build(options["file"], options["outputs"] or location, out)
    keywords = artefact.keywords | {name: options[name] for name in ("metrics", "against", "scalar") if name in options}
    conditions = {name: options[name] for name in ("only", "partial") if name in options}
    paths = [options["paths"]] if artefact.name in ONE_SWEEP else [*options["paths"], *options["more"]]
    if artefact.takes == "files":
        conditions.pop("partial", None)  # what is missing is listed
        return artefact.build(location, paths, out, **keywords, **conditions)
    from adaprob_ray.reporting.records.selection import Selection

    paths = paths or [_short_path(SWEEPS / f"{name}.yaml") for name in artefact.sweeps]
    return artefact.build(Selection.load(location, paths, **conditions), out, **keywords)


def _short_path(path: Path) -> str:
    """Relative to the working directory if the file is below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


if __name__ == "__main__":
    sys.exit(main())
