"""The cells of a plan that were ready at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from adaprob_ray.sweep.cell import Cell


class ReadyCells(Sequence[Cell]):
    """The cells that were ready at one moment, in order. Each is looked up when it is asked for: there may be 100,000.

    Args:
        places: Places of the ready cells in `order`, ascending.
        order: All cells of the plan in the order in which they start.
    """

    def __init__(self, places: Sequence[int], order: Sequence[Cell]) -> None:
        self._places, self._order = places, order

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Cell]:
        return (self._order[place] for place in self._places)

    @overload
    def __getitem__(self, index: int) -> Cell: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cell]: ...
    def __getitem__(self, index: int | slice) -> Cell | list[Cell]:
        if isinstance(index, slice):
            return [self._order[place] for place in self._places[index]]
        return self._order[self._places[index]]
