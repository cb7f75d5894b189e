"""What the commands on Records share: compare, report and figure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaprob_ray.cli._load import load_sweep
from adaprob_ray.cli._sweep import changed_method_lines, complete_sweep_file, store_option_with
from adaprob_ray.errors import NoStore

if TYPE_CHECKING:
    from adaprob_ray.reporting.records.selection import Selection
    from adaprob_ray.sweep.sweep import Sweep

records_option = store_option_with(
    "A store (folder or URI: s3://, gs:// or az://), or a .jsonl or .zip file of Records."
)
out_option = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="out",
    show_default=True,
    help="Folder for the files; created if absent.",
)
only_option = click.option(
    "--only", metavar="CONDITIONS", help="Select cells, as in 'method=scrub,seed<3'; without it, all cells."
)
partial_option = click.option("--partial", is_flag=True, help="Leave out missing Records, and name them.")


def record_parameters(function: Callable[..., None]) -> Callable[..., None]:
    """Add SWEEP..., --store, --out, --only and --partial to a command, which gets a Selection and the folder `out`."""

    @functools.wraps(function)
    def command(paths: tuple[str, ...], location: str, only: str | None, partial: bool, **options: Any) -> None:
        function(load_selection(paths, location, only, partial), **options)

    argument = click.argument("paths", metavar="SWEEP...", nargs=-1, required=True, shell_complete=complete_sweep_file)
    return argument(records_option(out_option(only_option(partial_option(command)))))


def load_selection(paths: tuple[str, ...], location: str, only: str | None, partial: bool) -> Selection:
    """The cells that a command is about. Prints a warning for each key under a former name, and for each changed method."""
    from adaprob_ray.reporting.records.selection import Selection

    sweeps = {path: load_sweep(path) for path in paths}
    return Selection(location, sweeps, only, partial, tuple(warn_of_changed_methods(sweeps, location)))


def warn_of_changed_methods(sweeps: Mapping[str, Sweep], location: str) -> list[str]:
    """Print and return a line for each sweep and method whose source has changed since its cells in a store were computed."""
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.reporting.records.load import FILES
    from adaprob_ray.runtime.method_source import read_changed_methods
    from adaprob_ray.store import Store

    if location.endswith(FILES):
        return []
    try:
        store = Store.open(location, create=False)
    except NoStore:  # said by whoever reads the Records
        return []
    lines = [
        line
        for path, sweep in sweeps.items()
        for line in changed_method_lines(read_changed_methods(sweep.cells, store, REGISTRY), path, location)
    ]
    for line in lines:
        click.echo(f"warning: {line}", err=True)
    return lines
