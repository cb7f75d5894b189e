"""What the commands on a sweep file share: their parameters, and lines about a plan."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from adaprob_ray.errors import RETRIES_BY_FAILURE_CLASS, InputError

if TYPE_CHECKING:
    from adaprob_ray.runtime.machine_resources import Limits
    from adaprob_ray.sweep.plan import Plan
    from adaprob_ray.sweep.sweep import Sweep

Function = TypeVar("Function", bound=Callable[..., Any])


def complete_sweep_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """YAML files that begin with `incomplete`, and the folders to look further in."""
    files, folders = (sorted(glob.glob(glob.escape(incomplete) + pattern)) for pattern in ("*.yaml", "*/"))
    if not files:
        return [CompletionItem(incomplete, type="dir")]
    return [CompletionItem(path) for path in files + folders]


only_option = click.option(
    "--only",
    metavar="CONDITIONS",
    help="Select cells, as in 'method=scrub,lr=0.1,seed<3', with all cells they depend on.",
)


def store_option_with(help: str) -> Callable[[Function], Function]:
    """The option --store; `help` says what it takes."""
    return click.option(
        "--store",
        "location",
        metavar="LOCATION",
        default="./store",
        envvar="ADAPROB_STORE",
        show_default=True,
        show_envvar=True,
        help=help,
    )


store_option = store_option_with("A folder, or a URI: s3://, gs:// or az://.")


def sweep_parameters(function: Function) -> Function:
    """Add SWEEP, --store and --only to a command."""
    argument = click.argument("path", metavar="SWEEP", shell_complete=complete_sweep_file)
    return argument(store_option(only_option(function)))


def executor_options(function: Function) -> Function:
    """Add --executor, --address, --cpus and --gpus to a command."""
    executor = click.option(
        "--executor",
        type=click.Choice(["ray", "local"]),
        default="ray",
        show_default=True,
        help="Run cells on Ray, or one at a time in this process.",
    )
    address = click.option(
        "--address", metavar="ADDRESS", help="Ray cluster to use. Without it, a private local Ray is started."
    )
    cpus = click.option(
        "--cpus",
        type=click.IntRange(min=1),
        metavar="N",
        help="Use at most N CPUs of this machine (default: all allotted).",
    )
    gpus = click.option(
        "--gpus",
        type=click.IntRange(min=0),
        metavar="N",
        help="Use at most N GPUs of this machine (default: all visible).",
    )
    return executor(address(cpus(gpus(function))))


def parse_limits(executor: str, address: str | None, cpus: int | None, gpus: int | None) -> Limits:
    """What the run may use of this machine. Raises InputError if limits are given for a cluster."""
    from adaprob_ray.runtime.machine_resources import Limits

    if executor == "ray" and address is not None:
        limits = [name for name, value in (("--cpus", cpus), ("--gpus", gpus)) if value is not None]
        if limits:
            raise InputError(
                f"{', '.join(limits)}: must be given without --address: `ray start` says what a node of a cluster has"
            )
    return Limits(cpus, gpus)


def tensorboard_options(function: Function) -> Function:
    """Add --tensorboard, --epoch-metrics and --tsne to a command."""
    enabled = click.option(
        "--tensorboard/--no-tensorboard", default=True, help="Whether to write files for TensorBoard."
    )
    epoch_metrics = click.option(
        "--epoch-metrics/--no-epoch-metrics",
        default=True,
        help="Whether to write the errors on a small sample to TensorBoard after each epoch of unlearning.",
    )
    tsne = click.option("--tsne", is_flag=True, help="Add a t-SNE plot of each model's outputs to TensorBoard.")
    return enabled(epoch_metrics(tsne(function)))


def failure_classes(ctx: click.Context, param: click.Parameter, value: str | None) -> frozenset[str]:
    """The failure classes of a list with commas. Raises InputError for an unknown one."""
    names = [name.strip() for name in value.split(",")] if value is not None else []
    known = ", ".join(RETRIES_BY_FAILURE_CLASS)
    if unknown := [name for name in names if name not in RETRIES_BY_FAILURE_CLASS]:
        raise InputError(
            *(f"--skip-failed: must be failure classes, got {name!r} (known: {known})" for name in unknown)
        )
    return frozenset(names)


rerun_option = click.option(
    "--rerun",
    metavar="CONDITIONS",
    help="Compute these cells again, as in 'label=mine' (conditions as of --only), and all that depends on them, done or not.",
)
skip_failed_option = click.option(
    "--skip-failed",
    metavar="CLASSES",
    callback=failure_classes,
    help="Leave alone cells whose last failure is of one of these classes, as in 'diverged,code', and what depends on them.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def echo_stages(plan: Plan) -> None:
    """One line for each stage: the number of cells in each state."""
    for stage in dict.fromkeys(cell.stage for cell in plan.cells.values()):
        states = [plan.state(key) for key, cell in plan.cells.items() if cell.stage == stage]
        counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        click.echo(f"  {stage:<9} {len(states):>6}  {counts}")


def echo_failed_before(plan: Plan, *, err: bool = False) -> None:
    """One line for each cell that failed in an earlier run and that --skip-failed leaves alone."""
    for key, cell in plan.cells.items():
        if key in plan.skipped:
            click.echo(f"failed before, skipped: {cell.title}: {plan.failures[key]}", err=err)


def echo_changed_methods(changed: Mapping[str, int], path: str, location: str) -> None:
    """One warning for each method whose source has changed since its cells were computed."""
    for line in changed_method_lines(changed, path, location):
        click.echo(f"warning: {line}", err=True)


def changed_method_lines(changed: Mapping[str, int], path: str, location: str) -> list[str]:
    """One line for each method whose source has changed; `changed`: the number of its cells."""
    from adaprob_ray.runtime.method_source import change_line

    command = shlex.join(["adaprob-ray", "run", path, "--store", location])
    return [change_line(method, count, command) for method, count in changed.items()]


def echo_skipped(sweep: Sweep) -> None:
    """One line about the original if its weights are in a file, and one for each label that its method declines."""
    if sweep.original_sha256 is not None and sweep.file.original is not None:
        click.echo(f"original: weights of {sweep.file.original.weights}, sha256 {sweep.original_sha256}")
    for line in sweep.skipped:
        click.echo(f"skipped: {line}")
