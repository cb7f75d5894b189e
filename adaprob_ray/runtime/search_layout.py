"""The runs of TensorBoard that a search's cells write to.

FORGET/LABEL/trial00012/seed11                 the unlearned model of one seed of a trial, and what it is scored by
original/seed11, pretrain, FORGET/retrain/…    trainings that trials share
DATASET-ARCHITECTURE/…                         in front of all of these where a search has several
"""

from __future__ import annotations

from adaprob_ray.runtime.search_source import SearchSource
from adaprob_ray.runtime.tensorboard_layout import RunLayout, TensorBoardRun
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import CellSettings, ForgetRequest
from adaprob_ray.sweep.checks import GridPoint

# Stages whose cells several trials share.
TRAINED = ("pretrain", "import", "train")


class SearchLayout:
    """The runs of a search's cells, of trials that are asked later too. A model of several trials is shown in each.

    Args:
        source: The trials.
    """

    def __init__(self, source: SearchSource) -> None:
        self._source = source
        studies = [progress.study for progress in source.studies]
        cells = {key: cell for study in studies for key, cell in study.base.cells.items()}
        self._references = RunLayout({key: cell for key, cell in cells.items() if cell.stage in TRAINED})
        points = {(s.target.point.dataset, s.target.point.architecture) for s in studies}
        self._has_prefix = len(points) > 1

    def runs(self, cell: Cell) -> tuple[TensorBoardRun, ...]:
        """The runs that a cell writes to."""
        if cell.stage in TRAINED and cell.forget is None:
            return self._references.runs(cell)
        runs = []
        for study, trial, seed in self._source.trials_of(cell.key):
            hparams = {"label": study.target.label, "trial": trial.number, "seed": seed.seed, **trial.params}
            label, point = study.target.label, study.target.point
            folder = f"{self._prefix(point, point.forget)}{label}/trial{trial.number:05d}/seed{seed.seed}"
            runs.append(TensorBoardRun(folder, hparams, ends=cell.key == seed.scored))
        if runs:
            return tuple(runs)
        return (TensorBoardRun(f"{self._prefix(cell.settings, cell.forget)}{cell.label}/seed{cell.settings.seed}"),)

    def _prefix(self, point: GridPoint | CellSettings, forget: ForgetRequest | None) -> str:
        names = f"{point.dataset}-{point.architecture.title}/" if self._has_prefix else ""
        return f"{names}{forget}/"
