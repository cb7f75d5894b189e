"""The command run."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from adaprob_ray.cli._exit_codes import DONE, FAILED
from adaprob_ray.cli._interrupt import interruptible
from adaprob_ray.cli._load import data_root, load_plan
from adaprob_ray.cli._plan_lines import rerun_lines
from adaprob_ray.cli._resume import RESUME_WITHOUT
from adaprob_ray.cli._sweep import (
    echo_changed_methods,
    echo_failed_before,
    echo_skipped,
    executor_options,
    parse_limits,
    rerun_option,
    skip_failed_option,
    sweep_parameters,
    tensorboard_options,
)

if TYPE_CHECKING:
    from adaprob_ray.store import Store
    from adaprob_ray.sweep.plan import Plan


@click.command()
@sweep_parameters
@executor_options
@rerun_option
@skip_failed_option
@tensorboard_options
def run(
    path: str,
    location: str,
    only: str | None,
    executor: str,
    address: str | None,
    cpus: int | None,
    gpus: int | None,
    rerun: str | None,
    skip_failed: frozenset[str],
    tensorboard: bool,
    epoch_metrics: bool,
    tsne: bool,
) -> int:
    """Run the cells of a sweep that are not done yet.

    SWEEP is a sweep file (YAML). To resume an interrupted run, repeat its command.
    """
    from adaprob_ray.runtime import ray_environment
    from adaprob_ray.runtime.cluster_address import check_address
    from adaprob_ray.runtime.installation import check_installation

    click.get_current_context().with_resource(interruptible())
    check_installation()
    limits = parse_limits(executor, address, cpus, gpus)
    if executor == "ray" and address is not None:
        ray_environment.prepare(address)
        check_address(address)  # first, because it takes a second and leaves nothing behind
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime import launch
    from adaprob_ray.runtime.machine_resources import check_limits
    from adaprob_ray.runtime.method_source import read_changed_methods
    from adaprob_ray.runtime.planning import check_data
    from adaprob_ray.runtime.tensorboard_driver import TensorBoardOptions
    from adaprob_ray.runtime.tensorboard_layout import tensorboard_command
    from adaprob_ray.store import Store

    sweep, plan, _ = load_plan(path, location, only, skip_failed=skip_failed, rerun=rerun)
    # The data are checked before the store is created, so that bad input leaves nothing behind.
    check_data(plan, data_root(), REGISTRY)
    check_limits(plan, limits, address if executor == "ray" else None)
    store = Store.open(location)
    digest = hashlib.sha256(sweep.text.encode()).hexdigest()[:8]
    store.put_text(f"sweeps/{sweep.name}-{digest}.yaml", sweep.text)
    if rerun is not None:
        revoke_for_rerun(plan, store, rerun)
    echo_changed_methods(read_changed_methods(plan.cells, store, REGISTRY), path, location)
    result = launch.run(
        plan.cells,
        store,
        sweep=sweep.name,
        data_root=data_root(),
        executor=executor,
        address=address,
        limits=limits,
        warn=lambda line: click.echo(f"warning: {line}", err=True),
        skip_failed=skip_failed,
        sweep_cells=sweep.cells,
        tensorboard=TensorBoardOptions(enabled=tensorboard, epoch_metrics=epoch_metrics, tsne=tsne),
    )
    plan, folder = result.plan, result.tensorboard_dir
    for line in result.recomputed:
        click.echo(f"recomputed: {line}")
    echo_skipped(sweep)
    click.echo(f"{len(plan.executed)} cells executed, {plan.counts()['done']} of {len(plan.cells)} done")
    compare = shlex.join(["adaprob-ray", "compare", path, "--store", store.location])
    click.echo(f"records:     {store.location}  (to compare methods: {compare})")
    if tensorboard and folder.is_dir():
        click.echo(f"tensorboard: {folder}  (to see curves: {tensorboard_command(folder)})")
    return echo_problems(plan, ["adaprob-ray", "explain", path, "--store", location])


def revoke_for_rerun(plan: Plan, store: Store, conditions: str) -> None:
    """Revoke what --rerun names, and say so. From here on, the command that resumes is the one without --rerun."""
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime.rerun import Rerun
    from adaprob_ray.sweep.select import select_to_recompute

    again = Rerun.find(store, select_to_recompute(plan.cells, conditions), REGISTRY)
    again.revoke(
        store,
        f"--rerun {conditions}",
        on_wait=lambda count: click.echo(
            f"watching {count} cells for up to 30 s: does another run hold them?", err=True
        ),
    )
    click.get_current_context().meta[RESUME_WITHOUT] = "--rerun"
    for line in rerun_lines(again, plan.cells):
        click.echo(line)


def echo_problems(plan: Plan, explain: Sequence[str]) -> int:
    """One line for each cell that failed or is blocked; below a failure, the command that shows its traceback.

    `explain`: that command without the cell. Returns the exit code.
    """
    echo_failed_before(plan, err=True)
    code = FAILED if plan.skipped else DONE
    for key, cell in plan.cells.items():
        if plan.state(key) == "failed" and key not in plan.skipped:
            click.echo(f"failed: {cell.title}: {plan.failures[key]}", err=True)
            click.echo(f"  traceback: {shlex.join([*explain, cell.title])}", err=True)
            code = FAILED
        elif plan.state(key) == "blocked":
            click.echo(f"blocked: {cell.title}: by {', '.join(plan.blocked_by(key))}", err=True)
            code = FAILED
    return code
