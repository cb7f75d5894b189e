"""A plan against a store: which cells are done there, and which another run holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypedDict

from adaprob_ray.errors import Failure, InputError
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.request_checks import request_faults
from adaprob_ray.store import CellLog, Commit, Store
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.registry import Registry


def plan_against(
    cells: Mapping[str, Cell],
    store: Store | None,
    leases: Leases | None = None,
    *,
    skip_failed: Collection[str] = (),
    weights: Mapping[str, float] | None = None,
    recompute: Collection[str] = (),
) -> Plan:
    """The plan of `cells` with what the store has. Reads one listing; without a store nothing is done.

    Args:
        cells: by key, parents before children.
        store: where their results are; None if there is none yet.
        leases: the observations of the run so far; by default new ones.
        skip_failed: failure classes. Cells whose last failure is of one of them count as failed instead of ready.
        weights: by key, how long each cell takes, in any unit; see `Plan`.
        recompute: keys of cells that count as not done, because a run is to compute them again.

    Returns:
        The plan.
    """
    if store is None:
        return Plan(cells, weights=weights)
    logs = {key: log for key, log in store.survey().items() if key not in recompute}
    return Plan(cells, weights=weights, **stored_states(cells, logs, store, leases or Leases(store), skip_failed))


class StoredStates(TypedDict):
    """Arguments of `Plan` and `Plan.extend` that say what the store has."""

    done: set[str]
    leased: set[str]
    past_failures: dict[str, int]
    skip_failures: dict[str, Failure]


def stored_states(
    cells: Mapping[str, Cell],
    all_logs: Mapping[str, CellLog],
    store: Store,
    leases: Leases,
    skip_failed: Collection[str] = (),
) -> StoredStates:
    """What the store has of `cells`, from the logs of a listing; other arguments as of `plan_against`."""
    logs = {key: log for key, log in all_logs.items() if key in cells}
    done = {key for key, log in logs.items() if log.done is not None}
    done -= lacking_weights(cells, done, store.peek)
    leased = {key for key, log in logs.items() if key not in done and leases.is_live(key, log)}
    failed = {key: max(log.failed) for key, log in logs.items() if key not in done and failed_last(log)}
    skipped = {}
    for key, number in failed.items() if skip_failed else ():
        failure = store.failure(key, number)
        if failure is not None and failure.failure_class in skip_failed:
            skipped[key] = failure
    return StoredStates(done=done, leased=leased, past_failures=failed, skip_failures=skipped)


def failed_last(log: CellLog) -> bool:
    """Whether an attempt failed and none has succeeded since, not even one that was revoked."""
    return max(log.failed, default=0) > max(log.commits, default=0)


def lacking_weights(cells: Mapping[str, Cell], done: set[str], peek: Callable[[str], Commit | None]) -> set[str]:
    """Completed unlearn cells whose weights an earlier sweep dropped, where this one keeps them.

    `peek` gives the commit of a completed cell: `Store.peek`, or a lookup among commits that were read before.
    """
    # Other stages leave the same artefacts in every sweep, so that only these commits need to be read.
    candidates = [key for key in done if cells[key].stage == "unlearn" and cells[key].keep == "weights"]
    return {key for key in candidates if (commit := peek(key)) is None or WEIGHTS not in commit.files}


def invalidate_incomplete(cells: Mapping[str, Cell], store: Store) -> list[str]:
    """Before a run: revoke completed attempts whose files are missing or truncated, or that lack weights needed now.

    Returns:
        One line for each: the cell and the reason.
    """
    lines = [f"{cells[error.key].title}: {error}" for error in store.check_sizes(cells)]
    logs = store.survey()
    done = {key for key in cells if key in logs and logs[key].done is not None}
    for key in sorted(lacking_weights(cells, done, store.peek)):
        number = logs[key].done
        assert number is not None
        reason = "its weights are needed now and were not kept"
        store.revoke(key, number, reason)
        lines.append(f"{cells[key].title}: {reason}")
    return lines


def check_data(plan: Plan, data_root: Path, registry: Registry) -> None:
    """Check the files that unfinished cells will read.

    Raises:
        InputError: one line for each data set that is missing or corrupt, and for each request that names forgotten samples.
    """
    if faults := data_faults(plan, data_root, registry):
        raise InputError(*faults)
    check_requests(plan, data_root, registry)


def check_requests(plan: Plan, data_root: Path, registry: Registry) -> None:
    """Check that no request of a sequence names forgotten samples. Raises InputError, one line for each that does."""
    unfinished = [cell for key, cell in plan.cells.items() if plan.state(key) != "done"]
    if faults := request_faults(unfinished, data_root, registry):
        raise InputError(*faults)


def data_faults(plan: Plan, data_root: Path, registry: Registry) -> list[str]:
    """One line for each data set, or file of weights, that unfinished cells will read and that is missing or corrupt."""
    unfinished = [cell for key, cell in plan.cells.items() if plan.state(key) != "done"]
    names = sorted({cell.settings.dataset.name for cell in unfinished if registry.stages[cell.stage].reads_dataset})
    faults = [fault for name in names if (fault := registry.datasets[name].verify(data_root))]
    files = sorted({cell.weights_file for cell in unfinished if cell.weights_file})
    faults += [
        f"original.weights: {file} is not there, and the store does not have its weights"
        for file in files
        if not Path(file).is_file()
    ]
    return list(dict.fromkeys(faults))
