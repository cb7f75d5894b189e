"""The command unlearn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaprob_ray.cli._exit_codes import DONE, FAILED, INTERRUPTED
from adaprob_ray.cli._unlearn_options import given_inputs, input_options, method_settings

if TYPE_CHECKING:
    from adaprob_ray.unlearning.prepare import Plan


@click.command()
@input_options(required=True)
@click.option(
    "--method", default="adaprob", show_default=True, help="See `adaprob-ray list methods`; or package.module:Class."
)
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A setting of the method; repeatable.")
@click.option(
    "--tune", type=click.IntRange(min=2), metavar="N", help="First tune with N trials on the validation data."
)
@click.option(
    "--batch-norm",
    type=click.Choice(["frozen", "train", "recompute"]),
    help="Running statistics: keep, update, or average them at the end.  [default: depends on the method]",
)
@click.option(
    "--max-drop", type=float, default=2.0, show_default=True, help="Percentage points by which the error may rise."
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Precision of the training passes.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:0.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder.")
def unlearn(out: Path, **options: Any) -> int:
    """Unlearn samples from a model of your own.

    Writes the new weights, in the format and with the keys of the old ones, and a record of what was done and measured, to
    the folder --out. `adaprob-ray audit` recomputes the record. Exit code: 0 if the weights changed, 1 if they
    did not or the loss diverged.

    \b
    Example:
      adaprob-ray unlearn --model net.py:make --weights net.pt --data cifar10 --forget rows.txt --out forgotten
    """
    try:
        return _unlearn(out, options)
    except KeyboardInterrupt:
        click.echo(f"\nInterrupted. Nothing was written to {out}.", err=True)
        return INTERRUPTED


def _unlearn(out: Path, options: dict[str, Any]) -> int:
    start = time.perf_counter()
    settings = method_settings(options["assignments"], options["method"])
    fields = given_inputs(options)
    from adaprob_ray.cli._unlearn_summary import input_lines, result_lines
    from adaprob_ray.runtime.allocator import reuse_freed_memory
    from adaprob_ray.unlearning.api import Unlearned
    from adaprob_ray.unlearning.inputs import Inputs, load_inputs
    from adaprob_ray.unlearning.lower_rates import can_lower_rate, execute_within_limit
    from adaprob_ray.unlearning.prepare import make_method, select_device
    from adaprob_ray.unlearning.run import execute
    from adaprob_ray.unlearning.save import check_folder, save

    check_folder(out)
    make_method(options["method"], settings, None)
    select_device(options["device"])
    reuse_freed_memory()
    relative_inputs = Inputs(**fields, folder=str(Path.cwd()))
    inputs = relative_inputs.absolute()
    loaded = load_inputs(inputs, options["seed"])
    names = ("method", "batch_norm", "max_drop", "precision", "device", "seed")
    plan = loaded.prepared(settings=settings, **{name: options[name] for name in names})
    for line in input_lines(relative_inputs, loaded, plan):
        click.echo(line)
    reading = time.perf_counter() - start
    search: dict[str, float] = {}
    if options["tune"] is not None:
        plan = _tuned(plan, options["tune"], settings)
        search["search"] = time.perf_counter() - start - reading
    run_plan = execute_within_limit if can_lower_rate(plan, settings) else execute
    network, run = run_plan(plan)
    run = replace(run, seconds={**search, **run.seconds})
    result = Unlearned(network.write_to(loaded.model), run)
    digest = None if loaded.weights is None else loaded.weights.sha256
    document = {**inputs.document(), "weights_sha256": digest}
    paths = save(result, out, weights=loaded.new_weights(result.model), inputs=document)
    for line in result_lines(run, {"start and reading": reading, **run.seconds}, paths, out):
        click.echo(line)
    if run.distance == 0:
        click.echo("error: nothing was unlearned: the weights are those of the original model", err=True)
        return FAILED
    return DONE


def _tuned(plan: Plan, count: int, fixed: dict[str, Any]) -> Plan:
    """The plan with the best of `count` settings. Prints a line for each trial."""
    from adaprob_ray.unlearning.tune import Trial, tune

    trials: list[Trial] = []

    def show(trial: Trial) -> None:
        trials.append(trial)
        click.echo(f"trial {len(trials)} of {count}: {trial.words} ({_words(trial.settings)})")

    tuned = tune(plan, count, fixed, show)
    best = [trial.settings for trial in trials].index(tuned.tuning["settings"])
    click.echo(f"chosen: trial {best + 1}, with the smallest value ({_words(trials[best].settings)})")
    return tuned


def _words(settings: Mapping[str, Any]) -> str:
    from adaprob_ray.cli._unlearn_summary import setting

    return ", ".join(f"{name}={setting(value)}" for name, value in settings.items())
