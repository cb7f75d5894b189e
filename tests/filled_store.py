"""Stores that hold the cells of a real sweep with invented artefacts: nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from store_contract import CrashingObjects

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.store import Store
from adaprob_ray.store.names import RECORD, WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

TEXT = """\
name: {name}
grid:
  dataset: digits
  architecture: {{name: allcnn, filters: 0.02}}
  forget: {{kind: selective, class: 3, count: 25}}
  seed: {seeds}
train: {{recipe: large, epochs: 1}}
methods:
  finetune: {{epochs: 1}}
metrics: [errors]
"""
SMALL, BOTH = TEXT.format(name="small", seeds=[1]), TEXT.format(name="both", seeds=[1, 2])


def cells_of(text: str) -> Mapping[str, Cell]:
    return Sweep.parse(text, REGISTRY).cells


def files_of(cell: Cell) -> dict[str, bytes]:
    """What the cell leaves: two files, of which one is in a folder."""
    name = RECORD if cell.stage == "evaluate" else WEIGHTS
    content = f'{{"key": "{cell.key}", "lineage": "{cell.key}"}}'.encode()
    return {name: content, "more/series.json": content * 3}


def fill(store: Store, cells: Iterable[Cell]) -> None:
    """Commit each cell that is not done."""
    for cell in cells:
        attempt = store.begin(cell.key, cell.identity, owner="test", run="first")
        if attempt is None:
            continue
        for name, data in files_of(cell).items():
            attempt.write(name, data)
        attempt.commit({"seconds": 1.5, "title": cell.title})


def find_cell(cells: Mapping[str, Cell], stage: str, method: str, seed: int = 1) -> Cell:
    (cell,) = (c for c in cells.values() if (c.stage, c.method, c.settings.seed) == (stage, method, seed))
    return cell


class MortalObjects(CrashingObjects):
    """Dies at a chosen put, create or delete."""

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._step(super().delete, [path])
