"""The command report."""

from __future__ import annotations

from pathlib import Path

import click

from adaprob_ray.cli._load import load_sweep
from adaprob_ray.cli._records import only_option, out_option, records_option, warn_of_changed_methods
from adaprob_ray.cli._sweep import complete_sweep_file


@click.command()
@click.argument("paths", metavar="[SWEEP...]", nargs=-1, shell_complete=complete_sweep_file)
@records_option
@out_option
@only_option
def report(paths: tuple[str, ...], location: str, out: Path, only: str | None) -> None:
    """Write one HTML file of all Records, to search, sort and print.

    With sweep files it shows their Records, and the trials of search files; without any, every Record of the store. It needs
    neither a server nor a network.
    """
    from adaprob_ray.reporting.store_report import build_report
    from adaprob_ray.reporting.tables.output import show
    from adaprob_ray.search.search_file import is_search_file

    sweeps = {path: load_sweep(path) for path in paths if not is_search_file(path)}
    warnings = warn_of_changed_methods(sweeps, location)
    show(build_report(location, paths, out, only=only, warnings=warnings))
