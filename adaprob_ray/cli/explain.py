"""The command explain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaprob_ray.cli._load import data_root, load_datasets, load_plan
from adaprob_ray.cli._sweep import complete_sweep_file, echo_skipped, json_option, only_option, store_option
from adaprob_ray.errors import InputError, unknown_name

if TYPE_CHECKING:
    from adaprob_ray.runtime.descendants import Descendant


@click.command()
@click.argument("path", metavar="SWEEP", required=False, shell_complete=complete_sweep_file)
@store_option
@only_option
@click.option(
    "--descendants",
    metavar="KEY | DATASET:ROW",
    help="Instead of a sweep, explain what descends from a cell or a training image.",
)
@json_option
@click.argument("prefix", metavar="[CELL]", required=False)
@click.pass_context
def explain(
    ctx: click.Context,
    path: str | None,
    location: str,
    only: str | None,
    descendants: str | None,
    as_json: bool,
    prefix: str | None,
) -> None:
    """Explain the state and the descendants of cells.

    SWEEP is a sweep file (YAML); CELL is a cell's key or title, or the beginning of one. Without CELL, one line explains
    each cell that is not done. Nothing is written.

    With --descendants, and without SWEEP, the whole store is searched: for the cells that descend from the cell KEY (a key or
    title, or the beginning of one), or for the models that were trained on a training image and all that descends from them.
    ROW is the image's source number, as `adaprob-ray data indices` writes it.
    """
    if descendants is not None:
        if path is not None or only is not None:
            raise click.UsageError("--descendants searches the whole store: it takes neither SWEEP nor --only", ctx)
        echo_descendants(descendants, location, as_json=as_json)
        return
    if path is None:
        raise click.MissingParameter(ctx=ctx, param=ctx.command.params[0])
    if as_json:
        raise click.UsageError("--json needs --descendants", ctx)
    explain_sweep(path, location, only, prefix)


def explain_sweep(path: str, location: str, only: str | None, prefix: str | None) -> None:
    """Explain one cell of a sweep, or each that is not done."""
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


def echo_descendants(what: str, location: str, *, as_json: bool) -> None:
    """Print what descends from a cell or a training image."""
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime.descendants import find_descendants
    from adaprob_ray.store import Store
    from adaprob_ray.user_code.folders import look_in

    load_datasets()
    look_in(Path.cwd())
    store = Store.open(location, create=False)
    answer = find_descendants(store, what, REGISTRY, data_root())
    if as_json:
        click.echo(json.dumps({"descendants": what, "store": store.location, **answer.document()}))
        return
    count = sum(cell.descends for cell in answer.cells)
    click.echo(f"{what}: {count} of {answer.cells_read} cells in {store.location} descend from it")
    uses = [cell.use for cell in answer.cells if cell.use]
    if uses:
        imported = uses.count("imported")
        note = f"{imported} came from files and may have been trained on it, " if imported else ""
        unlearned = sum(use in ("retain", "forget", "retain and forget", "forgotten") for use in uses)
        click.echo(
            f"{uses.count('trained')} models were trained on it, {note}{unlearned} were unlearned from one of these, "
            f"{uses.count('left out')} were retrained without it"
        )
    for cell in answer.cells:
        click.echo(f"  {descendant_line(cell)}")
    if answer.unknown:
        click.echo(f"warning: nothing is known of {len(answer.unknown)} cells: {', '.join(answer.unknown)}", err=True)


def descendant_line(cell: Descendant) -> str:
    """One line: title, key, state, what is kept of its weights, and what it uses the image for."""
    uses = {
        "trained": "trained on it",
        "left out": "retrained without it",
        "retain": "unlearned; it is in the retain set",
        "forget": "unlearned; it is in the forget set",
        "retain and forget": "unlearned; it is in the retain set and in the forget set",
        "forgotten": "unlearned; an earlier request of the sequence already forgot it",
        "imported": "its weights came from a file; it may have been trained on it",
        "selection": "not trained on it; it helped to select the result",
        "none": "descends from a model that was trained on it",
        "unknown": "descends from a model that was trained on it; its use is unknown, because its data set has another "
        "revision or its method cannot be imported",
    }
    notes = ["done" if cell.done else "not done"]
    notes += ["weights kept"] * cell.weights + ["checkpoint kept"] * cell.checkpoints
    notes += [uses[cell.use]] if cell.use else []
    return f"{cell.title}  {cell.key}  {', '.join(notes)}"
