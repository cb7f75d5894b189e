"""How long cells are expected to take, from the seconds of others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from adaprob_ray.sweep.cell import Cell


def cell_kind(cell: Cell) -> tuple[str, str, str]:
    """Cells of one kind take about as long as each other."""
    return cell.stage, cell.method, str(cell.settings.dataset)


def remaining_seconds(unfinished: Mapping[Cell, float], executed: Iterable[tuple[Cell, float]]) -> float | None:
    """The seconds that unfinished cells take, one after another.

    Args:
        unfinished: How much of each cell is left, from 0 to 1.
        executed: Cells that have ended, with their seconds.

    Returns:
        The sum over the cells of the mean of their kind. A kind of which no cell has ended takes the mean of its stage,
        else of all cells in proportion to their priority. None if no cell has ended.
    """
    seconds: dict[object, list[float]] = defaultdict(list)
    scaled: list[float] = []
    for cell, spent in executed:
        seconds[cell_kind(cell)].append(spent)
        seconds[cell.stage].append(spent)
        scaled.append(spent / cell.priority)
    if not scaled:
        return None
    means = {name: sum(samples) / len(samples) for name, samples in seconds.items()}
    unit = sum(scaled) / len(scaled)
    return sum(
        share * means.get(cell_kind(cell), means.get(cell.stage, cell.priority * unit))
        for cell, share in unfinished.items()
    )
