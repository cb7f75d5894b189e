"""The command explain."""

from __future__ import annotations

import click

from adaprob_ray.cli._load import load_plan
from adaprob_ray.cli._sweep import echo_skipped, sweep_parameters
from adaprob_ray.errors import InputError, unknown_name


@click.command()
@sweep_parameters
@click.argument("prefix", metavar="[CELL]", required=False)
def explain(path: str, location: str, only: str | None, prefix: str | None) -> None:
    """Explain the state of cells and what is in their keys.

    SWEEP is a sweep file (YAML); CELL is a cell's key or title, or the beginning of one. Without CELL, one line explains
    each cell that is not done. Nothing is written.
    """
    from adaprob_ray.runtime.explain import explain

    sweep, plan, store = load_plan(path, location, only)
    if prefix:
        cells = [cell for key, cell in plan.cells.items() if key.startswith(prefix) or cell.title.startswith(prefix)]
        if not cells:
            raise InputError(unknown_name("cell", prefix, [cell.title for cell in plan.cells.values()]))
    else:
        cells = [cell for key, cell in plan.cells.items() if plan.state(key) != "done"]
        if not cells:
            click.echo("all cells are done")
        echo_skipped(sweep)
    for cell in cells:
        click.echo("\n".join(explain(plan, cell, store, whole=bool(prefix))))
