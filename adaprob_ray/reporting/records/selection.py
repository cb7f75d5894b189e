"""Which Records a table or figure is made from: a store or a file of Records, sweep files, and conditions on their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.load import Gathered, gather, load_sweep
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

SHOWN_SEED = 3  # of the authors' notebooks at small scale


@dataclass(frozen=True)
class Selection:
    """The evaluate cells of some sweep files and the place of their Records.

    Attributes:
        location: A store, or a .jsonl or .zip file of Records.
        sweeps: Path of a sweep file → the sweep.
        only: Conditions on cells, such as `dataset=cifar5,seed<3`.
        partial: Whether missing Records are allowed.
        warnings: What a reader should know about the cells, such as that the source of a method has changed since.
        references: Whether `only` keeps original, retrain and retrain_independent of the groups and seeds that it selects.
    """

    location: str
    sweeps: Mapping[str, Sweep] = field(default_factory=dict)
    only: str | None = None
    partial: bool = False
    warnings: tuple[str, ...] = ()
    references: bool = False

    @classmethod
    def load(cls, location: str, paths: Iterable[str], *, only: str | None = None, partial: bool = False) -> Selection:
        """Load the sweep files. Raises InputError."""
        return cls(location, {path: load_sweep(path) for path in paths}, only, partial)

    @property
    def sweep(self) -> Sweep:
        """The only sweep."""
        (sweep,) = self.sweeps.values()
        return sweep

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(label for sweep in self.sweeps.values() for label in sweep.file.methods))

    @property
    def primary_label(self) -> str | None:
        labels = (sweep.file.primary_label for sweep in self.sweeps.values())
        return next((label for label in labels if label), None)

    def with_references(self) -> Selection:
        """The same, with the reference rows of what `only` selects."""
        return replace(self, references=True)

    def gather(self, wanted: Callable[[Cell], bool] = lambda cell: True) -> Gathered:
        """The Records of the wanted cells. Raises InputError if some are missing and `partial` is False."""
        return gather(
            self.location,
            self.sweeps,
            conditions=self.only,
            wanted=wanted,
            partial=self.partial,
            references=self.references,
        )

    def gather_some(self, name: str) -> Gathered:
        """The Records for the table or figure `name`. Raises InputError if there are none, even if `partial`."""
        gathered = self.gather()
        if not len(gathered.records):
            raise InputError(f"{self.location}: holds no Record of {name}")
        return gathered


def shown_seed(records: pd.DataFrame) -> int:
    """The seed of figures that show one model: that of the notebooks, or the first."""
    seeds = sorted(set(map(int, records["seed"])))
    return SHOWN_SEED if SHOWN_SEED in seeds else seeds[0]
