"""What `plan` says in addition to the counts of cells: labels and their settings, expected hours, what is computed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaprob_ray.runtime.expected_seconds import ExpectedSeconds
    from adaprob_ray.runtime.rerun import Rerun
    from adaprob_ray.sweep.cell import Cell
    from adaprob_ray.sweep.plan import Plan
    from adaprob_ray.sweep.registry import Registry

LABELS_SHOWN = 30  # more would hide the line on what is to be executed; `plan --json` lists every cell
MAX_SETTINGS_WIDTH = 90


def label_lines(plan: Plan, registry: Registry) -> list[str]:
    """One line for each label and each of its settings: the settings that differ from the defaults, and how many are done."""
    totals, done = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for key, cell in plan.cells.items():
        if cell.stage == "evaluate":
            row = (_label(cell), ", ".join(_changed_settings(cell, registry)))
            totals[row] += 1
            done[row] += plan.state(key) == "done"
    if not totals:
        return []
    rows = [
        (label, _shortened(settings), f"{done[label, settings]} of {count} done")
        for (label, settings), count in totals.items()
    ]
    widths = [max(len(row[column]) for row in rows[:LABELS_SHOWN]) for column in range(2)]
    lines = [f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows[:LABELS_SHOWN]]
    if len(rows) > LABELS_SHOWN:
        lines.append(f"  and {len(rows) - LABELS_SHOWN} more")
    return ["evaluated, with settings other than the defaults:", *lines]


def _label(cell: Cell) -> str:
    return cell.label if cell.label == cell.method else f"{cell.label} ({cell.method})"


def _changed_settings(cell: Cell, registry: Registry) -> list[str]:
    """Those that differ from the defaults, and before them those that differ within the label."""
    from adaprob_ray.describe import format_value
    from adaprob_ray.settings import as_mapping, flatten

    defaults = flatten(as_mapping(registry.methods[cell.method]()))
    hyper: dict[str, Any] = flatten(getattr(cell.settings, "hyper", {}))
    changed = [f"{name}={format_value(value)}" for name, value in hyper.items() if value != defaults.get(name)]
    return list(dict.fromkeys([*cell.distinguishing_settings, *changed]))


def _shortened(settings: str) -> str:
    return settings if len(settings) <= MAX_SETTINGS_WIDTH else f"{settings[: MAX_SETTINGS_WIDTH - 1]}…"


def hours(expected: ExpectedSeconds) -> float | None:
    """Hours of the cells one after another; None where no cell in the store shows how fast a machine is."""
    return sum(expected.seconds.values()) / 3600 if expected.devices else None


def hours_line(expected: ExpectedSeconds) -> str:
    """How long the cells take one after another, as far as the store shows how fast they are."""
    total = hours(expected)
    if total is None:
        return "expected time: not known, because no comparable cell in this store is done yet"
    text = f"{total:.1f} h" if total >= 1 else f"{total * 60:.0f} min" if total * 60 >= 1 else f"{total * 3600:.0f} s"
    devices = "; ".join(device.words() for device in expected.devices)
    return f"expected time: about {text}, one cell after another (measured on {devices})"


def rerun_lines(rerun: Rerun, cells: Mapping[str, Cell]) -> list[str]:
    """What --rerun computes again, by stage, and how many cells outside this plan depend on it."""
    stages = Counter(cells[key].stage for key in cells if key in rerun.done)
    counts = ", ".join(f"{count} {stage}" for stage, count in stages.items())
    lines = [f"to compute again: {len(rerun.done)} finished cells{f' ({counts})' if counts else ''}"]
    if rerun.done_elsewhere:
        lines.append(
            f"  {len(rerun.done_elsewhere)} other finished cells in this store depend on them; the next run of their sweep "
            "computes these again"
        )
    return lines
