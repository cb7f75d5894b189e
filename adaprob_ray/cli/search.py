"""The command search."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaprob_ray.cli._exit_codes import DONE, FAILED
from adaprob_ray.cli._interrupt import interruptible
from adaprob_ray.cli._load import data_root, load_datasets
from adaprob_ray.cli._sweep import (
    complete_sweep_file,
    executor_options,
    json_option,
    parse_limits,
    store_option,
    tensorboard_options,
)

if TYPE_CHECKING:
    from adaprob_ray.runtime.machine_resources import Limits
    from adaprob_ray.runtime.search import SearchResult
    from adaprob_ray.runtime.search_source import SearchSource, StudyProgress
    from adaprob_ray.runtime.tensorboard_driver import TensorBoardOptions
    from adaprob_ray.search.search_file import SearchFile
    from adaprob_ray.search.study import Study, Trial


@click.command()
@click.argument("path", metavar="SEARCH", shell_complete=complete_sweep_file)
@store_option
@executor_options
@click.option("--show", is_flag=True, help="Show the results that the store has; run nothing.")
@click.option("--verify", is_flag=True, help="Check that the sampler proposes the stored trials again; run nothing.")
@click.option("--freeze", metavar="FILE", help="Write the best settings into a sweep file; run nothing.")
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="With --freeze: take this trial, not the best.")
@click.option(
    "--export", metavar="FILE.db", help="Write all studies to an SQLite file for optuna-dashboard; run nothing."
)
@tensorboard_options
@json_option
def search(
    path: str,
    location: str,
    executor: str,
    address: str | None,
    cpus: int | None,
    gpus: int | None,
    show: bool,
    verify: bool,
    freeze: str | None,
    trial: int | None,
    export: str | None,
    tensorboard: bool,
    epoch_metrics: bool,
    tsne: bool,
    as_json: bool,
) -> int:
    """Search hyperparameters with Optuna.

    Every method gets the same number of trials.

    SEARCH is a search file: a sweep file with a section `search`. Its trials depend on the file alone, not on how many run
    at once or in which order they end. To resume an interrupted search, or to add trials, repeat the command.
    """
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.errors import InputError
    from adaprob_ray.runtime.tensorboard_driver import TensorBoardOptions
    from adaprob_ray.search.search_file import SearchFile

    if trial is not None and freeze is None:
        raise InputError("--trial: has no effect without --freeze")
    load_datasets()
    file = SearchFile.load(path, REGISTRY)
    if show or verify or freeze is not None or export is not None:
        return _read(file, path, location, verify=verify, freeze=freeze, trial=trial, export=export, as_json=as_json)
    options = TensorBoardOptions(enabled=tensorboard, epoch_metrics=epoch_metrics, tsne=tsne)
    result = _run(file, location, executor, address, parse_limits(executor, address, cpus, gpus), options)
    _report(file, result.source, as_json=as_json)
    if not as_json:
        folder = result.tensorboard_dir
        _echo_next_steps(path, location, folder if tensorboard and folder.is_dir() else None)
    return FAILED if any(progress.failure for progress in result.source.studies) else DONE


def _run(
    file: SearchFile,
    location: str,
    executor: str,
    address: str | None,
    limits: Limits,
    tensorboard: TensorBoardOptions,
) -> SearchResult:
    """Run the search, with the same checks as `run`."""
    from adaprob_ray.runtime import ray_environment
    from adaprob_ray.runtime.cluster_address import check_address
    from adaprob_ray.runtime.installation import check_installation

    check_installation()
    click.get_current_context().with_resource(interruptible())
    if executor == "ray" and address is not None:
        ray_environment.prepare(address)
        check_address(address)
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime.search import check_search, run_search
    from adaprob_ray.store import Store

    check_search(file, data_root(), REGISTRY, limits, address if executor == "ray" else None)
    store = Store.open(location)
    result = run_search(
        file,
        store,
        data_root=data_root(),
        executor=executor,
        address=address,
        limits=limits,
        warn=lambda line: click.echo(f"warning: {line}", err=True),
        tensorboard=tensorboard,
    )
    for line in result.recomputed:
        click.echo(f"recomputed: {line}", err=True)
    return result


def _read(
    file: SearchFile,
    path: str,
    location: str,
    *,
    verify: bool,
    freeze: str | None,
    trial: int | None,
    export: str | None,
    as_json: bool,
) -> int:
    """What is done with the trials that the store has."""
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.runtime.search import read_search
    from adaprob_ray.runtime.search_results import export_studies, verify_trials
    from adaprob_ray.search.best import frozen_sweep
    from adaprob_ray.store import Store

    source = read_search(file, Store.open(location, create=False), REGISTRY)
    code = DONE
    if export is not None:
        export_studies(source, Path(export))
        click.echo(f"written: {export}  (to look at it: optuna-dashboard sqlite:///{export})")
    if freeze is not None:
        text = frozen_sweep(file, [(progress.study, progress.trials) for progress in source.studies], trial)
        _write_new(Path(freeze), text)
        click.echo(f"written: {freeze}  (to run it: {shlex.join(['adaprob-ray', 'run', freeze, '--store', location])})")
    if verify:
        lines = verify_trials(source)
        for line in lines:
            click.echo(f"differs: {line}", err=True)
        count = sum(len(progress.trials) for progress in source.studies)
        click.echo(f"{count} trials verified, {len(lines)} differ")
        code = FAILED if lines else DONE
    if export is None and freeze is None and not verify:
        _report(file, source, as_json=as_json)
    return code


def _write_new(path: Path, text: str) -> None:
    from adaprob_ray.errors import InputError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path}: exists already; give another name or remove it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}") from error


def _report(file: SearchFile, source: SearchSource, *, as_json: bool) -> None:
    """What became of each study."""
    if as_json:
        from adaprob_ray.runtime.search_results import trial_rows

        trials = [row for progress in source.studies for row in trial_rows(source, progress)]
        click.echo(json.dumps({"search": file.name, "trials": trials}))
        return
    section = file.section
    seeds = ", ".join(map(str, section.seeds))
    click.echo(f"{file.name}: {len(source.studies)} studies of {section.trials} trials, seeds {seeds}")
    for progress in source.studies:
        for line in study_lines(progress, section.trials):
            click.echo(line)
    executed = len(source.executed)
    click.echo(f"{executed} cells executed, {len(source.cached)} cached")


def study_lines(progress: StudyProgress, wanted: int) -> list[str]:
    """A study's trials by state, the first trial and the best ones."""
    from adaprob_ray.search.best import best_trials

    study, trials = progress.study, progress.trials
    states = [trial.state for trial in trials]
    others = "".join(
        f", {states.count(state)} {state}"
        for state in ("pruned", "diverged", "failed", "running")
        if states.count(state)
    )
    lines = [f"{study.target} (rule {study.target.rule.name}): {states.count('complete')} of {wanted} trials{others}"]
    if progress.failure is not None:
        lines.append(f"  stopped: {progress.failure}")
    if trials and trials[0].state == "complete" and study.starts_at_default:
        lines.append(_trial_line("default", study, trials[0]))
    lines += [_trial_line("best", study, trial) for trial in best_trials(study, trials)]
    return lines


def _trial_line(word: str, study: Study, trial: Trial) -> str:
    values = ", ".join(f"{name} {value:.4g}" for name, value in zip(study.objectives, trial.values or (), strict=True))
    values += " (beyond the margin)" if study.is_beyond_margin(trial) else ""
    params = "  ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
    return f"  {word:<7} #{trial.number:<4} {values}  {params}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _echo_next_steps(path: str, location: str, tensorboard_dir: Path | None) -> None:
    from adaprob_ray.runtime.tensorboard_layout import tensorboard_command

    search = ["adaprob-ray", "search", path, "--store", location]
    frozen = f"{Path(path).stem}_frozen.yaml"
    click.echo(f"to freeze the best settings: {shlex.join([*search, '--freeze', frozen])}")
    report = ["adaprob-ray", "report", path, "--store", location]
    click.echo(f"to see tables and figures:   {shlex.join(report)}")
    if tensorboard_dir is not None:
        click.echo(f"to see curves:               {tensorboard_command(tensorboard_dir)}")
