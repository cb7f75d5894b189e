"""Why a cell is in its state, and what its key is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adaprob_ray.settings import flatten
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell, canonical
from adaprob_ray.sweep.plan import Plan


def explain(plan: Plan, cell: Cell, store: Store | None, *, whole: bool) -> list[str]:
    """Lines about one cell: its state and the reason; with `whole` also its key, attempts and closest completed cell."""
    lines = [f"{cell.title}: {plan.state(cell.key)}{_reason(plan, cell)}"]
    if not whole:
        return lines
    lines.append(f"  key {cell.key} is a hash of:")
    lines += [f"    {name} = {value}" for name, value in sorted(_flat_json(cell.identity).items())]
    if store is not None:
        lines += _attempts(store, cell)
        if plan.state(cell.key) != "done":
            lines += _closest(store, cell)
    return lines


def _reason(plan: Plan, cell: Cell) -> str:
    state = plan.state(cell.key)
    if state == "blocked":
        return f" by {', '.join(plan.blocked_by(cell.key))}"
    if state == "waiting":
        waits = [plan.cells[k].title for k in dict.fromkeys(cell.parents.values()) if plan.state(k) != "done"]
        return f" for {', '.join(waits)}"
    if cell.key in plan.past_failures:
        return " (failed before; a run tries again)"
    return ""


def _attempts(store: Store, cell: Cell) -> list[str]:
    log = store.log(cell.key)
    lines = []
    for number in sorted(log.leases):
        ends = {"succeeded": log.commits, "failed": log.failed, "released": log.released, "revoked": log.revoked}
        events = [event for event, numbers in ends.items() if number in numbers]
        lines.append(f"  attempt {number}: {', '.join(events) or 'running or dead'}")
        if number in log.failed and (failure := store.failure(cell.key, number)) is not None:
            lines.append(f"    {failure}")
            lines += [f"    | {line}" for line in failure.traceback.splitlines()]
    return lines


def _closest(store: Store, cell: Cell) -> list[str]:
    """The completed cell of the same stage that differs in the fewest fields, and those fields."""
    mine = _flat_json(cell.identity)
    best: tuple[int, str, dict[str, Any]] | None = None
    for key, log in store.survey().items():
        other = store.cell(key) if log.done is not None and key != cell.key else None
        if other is None or other["stage"] != cell.stage:
            continue
        theirs = _flat_json(other)
        different = sum(mine.get(name) != theirs.get(name) for name in mine.keys() | theirs.keys())
        if best is None or different < best[0]:
            best = different, key, theirs
    if best is None:
        return []
    lines = [f"  closest completed cell {best[1]} differs in:"]
    for name in sorted(mine.keys() | best[2].keys()):
        if mine.get(name) != best[2].get(name):
            lines.append(f"    {name}: {mine.get(name)} here, {best[2].get(name)} there")
    return lines


def _flat_json(identity: Mapping[str, Any]) -> dict[str, str]:
    """The fields of an identity under dotted names, as JSON."""
    return {name: canonical(value) for name, value in flatten(identity).items()}
