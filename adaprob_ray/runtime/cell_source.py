"""The source that executors draw cells from. A Plan is one; a search that decides on cells as it goes can be another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

from adaprob_ray.errors import Failure
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome
from adaprob_ray.sweep.plan import State


@runtime_checkable
class CellSource(Protocol):
    """Cells by key, their states, and what executors, leases and progress tell it about them."""

    @property
    def cells(self) -> Mapping[str, Cell]:
        """All cells, by key."""

    @property
    def failures(self) -> Mapping[str, Failure]:
        """The failure of each cell that failed in this run, by key."""

    @property
    def executed(self) -> Sequence[tuple[str, float]]:
        """Key and seconds of each cell that this run executed, in order."""

    @property
    def cells_to_come(self) -> int:
        """How many more cells are expected, beyond those of `cells`: a search decides on them as it goes."""

    def remark(self) -> str:
        """What else to say about the progress, such as the number of trials; may be empty."""

    def state(self, key: str) -> State:
        """The state of one cell."""

    def counts(self) -> Mapping[State, int]:
        """How many cells are in each state."""

    def ready(self) -> Sequence[Cell]:
        """Cells that can start now, those that should start first in front."""

    def running(self) -> Sequence[Cell]:
        """Cells that were started and have not finished."""

    def leased(self) -> Sequence[Cell]:
        """Cells that another run holds."""

    def exhausted(self) -> bool:
        """Whether nothing is running, can start, or can become able to start."""

    def started(self, cell: Cell) -> None:
        """A ready cell is being executed."""

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        """A cell that was started has ended."""

    def observe(self, cell: Cell, state: Literal["done", "free"]) -> None:
        """A leased cell is done, or no longer held."""
