"""The command compare."""

from __future__ import annotations

from pathlib import Path

import click

from adaprob_ray.cli._records import load_selection, only_option, out_option, partial_option, records_option
from adaprob_ray.cli._sweep import complete_sweep_file


@click.command()
@click.argument("path", metavar="SWEEP", shell_complete=complete_sweep_file)
@records_option
@out_option
@only_option
@partial_option
@click.option("--metrics", metavar="COLUMN,COLUMN", help="Only these columns, in this order.")
@click.option("--against", metavar="LABEL", default="retrain", help="The label that the others are compared with.")
def compare(
    path: str, location: str, out: Path, only: str | None, partial: bool, metrics: str | None, against: str
) -> None:
    """Print and write tables of a sweep's labels and metrics.

    SWEEP is a sweep file (YAML). Values have 95 % intervals over seeds; differences from Retrain, or from the label of
    --against, are tested. The tables are written as Markdown, LaTeX and CSV, to compare-NAME.*. With --only, the rows of
    original, retrain and retrain_independent stay, and the files are compare-NAME-selection.*; with --against, they are
    compare-NAME-against-LABEL.*.
    """
    from adaprob_ray.reporting.tables.compare import build_comparison
    from adaprob_ray.reporting.tables.output import show

    selection = load_selection((path,), location, only, partial).with_references(against)
    show(build_comparison(selection, out, metrics=metrics, against=against))
