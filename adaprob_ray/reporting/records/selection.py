"""Which Records a table or figure is made from: a store or a file of Records, sweep files, and conditions on their cells."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from adaprob_ray.errors import CorruptArtefact, InputError, NoStore
from adaprob_ray.reporting.records.load import FILES, first_of, group_of, load_sweep, readable
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.method_choices import REFERENCES
from adaprob_ray.sweep.select import conditions_for, select_cells
from adaprob_ray.sweep.sweep import Sweep

SHOWN_SEED = 3  # of the authors' notebooks at small scale


@dataclass(frozen=True)
class SelectedRecords:
    """Records in the order of their sweep files, and the evaluate cells that have none."""

    records: pd.DataFrame
    missing: list[Cell]


@dataclass(frozen=True)
class Selection:
    """The evaluate cells of some sweep files and the place of their Records.

    Attributes:
        location: A store, or a .jsonl or .zip file of Records.
        sweeps: Path of a sweep file → the sweep.
        only: Conditions on cells, such as `dataset=cifar5,seed<3`.
        partial: Whether missing Records are allowed.
        warnings: What a reader should know about the cells, such as that the source of a method has changed since.
        references: Labels that `only` keeps for the groups and seeds that it selects.
    """

    location: str
    sweeps: Mapping[str, Sweep] = field(default_factory=dict)
    only: str | None = None
    partial: bool = False
    warnings: tuple[str, ...] = ()
    references: tuple[str, ...] = ()

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

    def with_references(self, *labels: str) -> Selection:
        """The same, with the reference rows of what `only` selects."""
        return replace(self, references=tuple(dict.fromkeys([*REFERENCES, *labels])))

    def gather(self, wanted: Callable[[Cell], bool] = lambda cell: True) -> SelectedRecords:
        """The Records of the selected evaluate cells that are wanted. A location without a store has none.

        Reading a corrupt Record revokes its attempt, so that a run recomputes it.

        Raises:
            InputError: Some are missing or corrupt, and `partial` is False: for each sweep the command that computes them, and
                the titles of some.
        """
        frames, lines, no_store = list[pd.DataFrame](), list[str](), list[str]()
        without: dict[str, Cell] = {}
        for path, sweep in self.sweeps.items():
            selected = sweep.cells if self.only is None else select_cells(sweep.cells, self.only)
            cells = _with_references(sweep.cells, selected, self.references) if self.references else selected
            chosen = {key: cell for key, cell in cells.items() if cell.stage == "evaluate" and wanted(cell)}
            try:
                records, corrupt = readable(self.location, sweep)
            except NoStore as error:
                records, corrupt, no_store = pd.DataFrame(), {}, list(error.faults)
            if len(records):
                places = {key: place for place, key in enumerate(chosen)}
                records = records[records["key"].isin(places)].sort_values("key", key=lambda keys: keys.map(places))
            available = set(records["key"]) if len(records) else set()
            missing = {key: cell for key, cell in chosen.items() if key not in available}
            frames += [records] if len(records) else []
            without |= missing
            if missing:
                lines += self._missing_lines(path, list(missing.values()), corrupt, len(chosen), selected)
        if lines and not self.partial:
            raise InputError(*no_store, *lines)  # without a store the path may be mistyped
        records = pd.concat(frames, ignore_index=True).drop_duplicates("key") if frames else pd.DataFrame()
        return SelectedRecords(records, list(without.values()))

    def _missing_lines(
        self,
        path: str,
        missing: Sequence[Cell],
        corrupt: Mapping[str, CorruptArtefact],
        total: int,
        selected: Mapping[str, Cell],
    ) -> list[str]:
        """The command that computes the missing Records and as few others as conditions can tell, then some of them.

        Those that are corrupt come before the others.
        """
        # The conditions that were given do not hold for a reference that they did not select.
        by_conditions = all(cell.key in selected for cell in missing)
        cells, given = (selected, self.only) if by_conditions else (self.sweeps[path].cells, None)
        conditions = ",".join(filter(None, (given, conditions_for(missing, cells.values()))))
        options = ["--only", conditions] if conditions else []
        store = "./store" if self.location.endswith(FILES) else self.location
        command = shlex.join(["adaprob-ray", "run", path, "--store", store, *options])
        titles = []
        for cell in sorted(missing, key=lambda cell: cell.key not in corrupt):
            error = corrupt.get(cell.key)
            reason = f" ({error.name} {error.reason}; attempt {error.number} is revoked)" if error else ""
            titles.append(f"{cell.title}{reason}")
        first = f"{len(missing)} of {total} Records are missing; compute them with:  {command}"
        return [first, *(f"missing: {title}" for title in first_of(titles))]

    def gather_some(self, name: str) -> SelectedRecords:
        """The Records for the table or figure `name`. Raises InputError if there are none, even if `partial`."""
        gathered = self.gather()
        if not len(gathered.records):
            raise InputError(f"{self.location}: must have Records of {name}, got none")
        return gathered


def _with_references(cells: Mapping[str, Cell], selected: Mapping[str, Cell], labels: Sequence[str]) -> dict[str, Cell]:
    """The selected cells and the evaluate cells of references of their groups and seeds, in the order of `cells`."""
    pairs = {_group_and_seed(cell) for cell in selected.values() if cell.stage == "evaluate"}
    return {
        key: cell
        for key, cell in cells.items()
        if key in selected or (cell.stage == "evaluate" and cell.label in labels and _group_and_seed(cell) in pairs)
    }


def _group_and_seed(cell: Cell) -> tuple[Any, ...]:
    return (*group_of(cell).values(), cell.settings.seed)


def shown_seed(records: pd.DataFrame) -> int:
    """The seed of figures that show one model: that of the notebooks, or the first."""
    seeds = sorted(set(map(int, records["seed"])))
    return SHOWN_SEED if SHOWN_SEED in seeds else seeds[0]
