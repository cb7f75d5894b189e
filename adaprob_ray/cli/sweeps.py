"""Commands on a sweep file: plan, run, status, explain."""

from __future__ import annotations

import glob
import hashlib
import json
import shlex
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from adaprob_ray.cli._exit_codes import DONE, FAILED
from adaprob_ray.cli._load import data_root, load_plan
from adaprob_ray.errors import InputError, unknown_name

if TYPE_CHECKING:
    from adaprob_ray.sweep.plan import Plan
    from adaprob_ray.sweep.sweep import Sweep

Function = TypeVar("Function", bound=Callable[..., Any])


def complete_sweep_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """YAML files that begin with `incomplete`, and the folders to look further in."""
    files, folders = (sorted(glob.glob(glob.escape(incomplete) + pattern)) for pattern in ("*.yaml", "*/"))
    if not files:
        return [CompletionItem(incomplete, type="dir")]
    return [CompletionItem(path) for path in files + folders]


def sweep_parameters(function: Function) -> Function:
    """Add SWEEP, --store and --only to a command."""
    only = click.option(
        "--only", metavar="CONDITIONS", help="Select cells, as in 'method=scrub,seed<3', with all cells they depend on."
    )
    store = click.option(
        "--store",
        "location",
        metavar="LOCATION",
        default="./store",
        envvar="ADAPROB_STORE",
        show_default=True,
        show_envvar=True,
        help="A folder, or a URI: s3://, gs:// or az://.",
    )
    return click.argument("path", metavar="SWEEP", shell_complete=complete_sweep_file)(store(only(function)))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@sweep_parameters
@json_option
def plan(path: str, location: str, only: str | None, as_json: bool) -> None:
    """Show what a sweep would run and how much it would write.

    SWEEP is a sweep file (YAML). Nothing is written.
    """
    from rich.filesize import decimal

    from adaprob_ray.catalogue import REGISTRY

    sweep, plan, _ = load_plan(path, location, only)
    states = {key: plan.state(key) for key in plan.cells}
    open_cells = [cell for key, cell in plan.cells.items() if states[key] not in ("done", "leased")]
    size = sum(REGISTRY.stages[cell.stage].artefact_bytes(cell, REGISTRY) for cell in open_cells)
    if as_json:
        cells = [{"key": k, "title": c.title, "stage": c.stage, "state": states[k]} for k, c in plan.cells.items()]
        document = {"sweep": sweep.name, "counts": plan.counts(), "bytes_to_write": size, "cells": cells}
        document["skipped"] = [str(line) for line in sweep.skipped]
        click.echo(json.dumps(document))
        return
    click.echo(f"{sweep.name}: {len(plan.cells)} cells in {location}")
    echo_stages(plan)
    echo_skipped(sweep)
    click.echo(f"to execute: {len(open_cells)} cells, about {decimal(int(size))} to write")


@click.command()
@sweep_parameters
@click.option(
    "--executor",
    type=click.Choice(["ray", "local"]),
    default="ray",
    show_default=True,
    help="Run cells on Ray, or one at a time in this process.",
)
@click.option("--address", metavar="ADDRESS", help="Ray cluster to use. Without it, a private local Ray is started.")
def run(path: str, location: str, only: str | None, executor: str, address: str | None) -> int:
    """Run the cells of a sweep that are not done yet.

    SWEEP is a sweep file (YAML). To resume an interrupted run, repeat its command.
    """
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime import launch
    from adaprob_ray.runtime.planning import check_data
    from adaprob_ray.store import Store

    # SIGTERM interrupts like Ctrl-C. It is not passed on as SIGINT, which shells ignore for background processes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sweep, plan, _ = load_plan(path, location, only)
    # The data are checked before the store is created, so that bad input leaves nothing behind.
    check_data(plan, data_root(), REGISTRY)
    store = Store.open(location)
    digest = hashlib.sha256(sweep.text.encode()).hexdigest()[:8]
    store.put_text(f"sweeps/{sweep.name}-{digest}.yaml", sweep.text)
    result = launch.run(plan.cells, store, sweep=sweep.name, data_root=data_root(), executor=executor, address=address)
    plan, tensorboard_dir = result.plan, result.tensorboard_dir
    for line in result.recomputed:
        click.echo(f"recomputed: {line}")
    echo_skipped(sweep)
    click.echo(f"{len(plan.executed)} cells executed, {plan.counts()['done']} of {len(plan.cells)} done")
    compare = shlex.join(["python", "-m", "analysis", "compare", "--store", store.location, "--sweep", path])
    curves = shlex.join(["tensorboard", "--logdir", str(tensorboard_dir)])
    click.echo(f"records:     {store.location}  (to compare methods: {compare})")
    click.echo(f"tensorboard: {tensorboard_dir}  (to see curves: {curves})")
    return echo_problems(plan)


@click.command()
@sweep_parameters
@json_option
def status(path: str, location: str, only: str | None, as_json: bool) -> None:
    """Show the progress of a sweep and its earlier failures.

    SWEEP is a sweep file (YAML). Nothing is written.
    """
    sweep, plan, store = load_plan(path, location, only)
    cells, counts = plan.cells, plan.counts()
    past = {key: store.failure(key) for key in sorted(plan.past_failures)} if store else {}
    failures = {key: failure for key, failure in past.items() if failure is not None}
    if as_json:
        reports = {key: {"title": cells[key].title, **failure.document()} for key, failure in failures.items()}
        document = {"sweep": sweep.name, "cells": len(cells), "counts": counts, "failures": reports}
        click.echo(json.dumps({**document, "skipped": [str(line) for line in sweep.skipped]}))
        return
    click.echo(f"{sweep.name}: {counts['done']} of {len(cells)} cells done in {location}")
    echo_stages(plan)
    echo_skipped(sweep)
    for key, failure in failures.items():
        click.echo(f"  failed before: {cells[key].title}: {failure}")


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


def echo_stages(plan: Plan) -> None:
    """One line for each stage: the number of cells in each state."""
    for stage in dict.fromkeys(cell.stage for cell in plan.cells.values()):
        states = [plan.state(key) for key, cell in plan.cells.items() if cell.stage == stage]
        counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        click.echo(f"  {stage:<9} {len(states):>6}  {counts}")


def echo_skipped(sweep: Sweep) -> None:
    """One line for each label that its method declines."""
    for line in sweep.skipped:
        click.echo(f"skipped: {line}")


def echo_problems(plan: Plan) -> int:
    """One line for each cell that failed or is blocked. Returns the exit code."""
    code = DONE
    for key, cell in plan.cells.items():
        if plan.state(key) == "failed":
            click.echo(f"failed: {cell.title}: {plan.failures[key]}", err=True)
            code = FAILED
        elif plan.state(key) == "blocked":
            click.echo(f"blocked: {cell.title}: by {', '.join(plan.blocked_by(key))}", err=True)
            code = FAILED
    return code
