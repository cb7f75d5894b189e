"""The cells of a search, as executors draw them: each trial that ends may let further trials be asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from adaprob_ray.errors import CorruptArtefact, Failure, StoreError
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.planning import stored_states
from adaprob_ray.search.pruning import may_continue
from adaprob_ray.search.space import values_outside
from adaprob_ray.search.study import Study, Trial
from adaprob_ray.search.trial_cells import SeedCells, TrialCells
from adaprob_ray.store import CellLog, Store
from adaprob_ray.store.contents import in_threads
from adaprob_ray.store.trials import StoredTrials
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome
from adaprob_ray.sweep.plan import Plan

Facts = Mapping[str, Any]
DIVERGED = "diverged"


@dataclass
class StudyProgress:
    """A study and its trials so far. `seeds_planned`: for each trial, how many of its seeds have cells in the plan.

    `failure`: why no more trials are asked.
    """

    study: Study
    stored: StoredTrials
    trials: list[Trial] = field(default_factory=list)
    cells: list[TrialCells] = field(default_factory=list)
    seeds_planned: list[int] = field(default_factory=list)
    failure: Failure | None = None

    def running(self) -> list[int]:
        """Numbers of the trials without a result."""
        return [trial.number for trial in self.trials if trial.state == "running"]


class SearchSource(Plan):
    """A plan that grows: the cells of every trial that is stored or can be asked now.

    Args:
        studies: The studies, in the order of the file.
        store: Where trials and results are.
        leases: The observations of the run.
        trials: How many each study gets.
        ask: Whether new trials are asked and written; otherwise only those in the store are read.

    Raises:
        StoreError: If the storage fails.
        InputError: If a method declines to run at the settings of a trial.
    """

    def __init__(
        self,
        studies: Sequence[Study],
        store: Store,
        leases: Leases,
        *,
        trials: int,
        ask: bool = True,
    ) -> None:
        super().__init__({})
        self.studies = [StudyProgress(study, StoredTrials(store, study.key)) for study in studies]
        self.cached: set[str] = set()
        self._store, self._leases = store, leases
        self._count, self._ask = trials, ask
        self._facts: dict[str, Facts] = {}
        self._places: dict[str, list[tuple[StudyProgress, int, SeedCells]]] = {}
        logs = store.survey()
        for progress in self.studies:
            if ask:
                progress.stored.describe(progress.study.document)
            for params in progress.stored.read()[:trials]:
                self._add_trial(progress, params)
        self._plan_seeds(logs)
        self._read_facts(
            key for progress in self.studies for cells in progress.cells for key in _read_keys(cells.seeds)
        )
        self.advance(logs)

    # -- what executors tell -----------------------------------------------------------------------------------------------

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        """As `Plan.finished`; the trials that have their results then let others be asked."""
        super().finished(cell, outcome)
        self.advance()

    def observe(self, cell: Cell, state: Literal["done", "free"]) -> None:
        """As `Plan.observe`; the trials that have their results then let others be asked."""
        super().observe(cell, state)
        self.advance()

    @property
    def cells_to_come(self) -> int:
        """About how many cells the trials will add that have not been asked yet."""
        missing = sum(self._count - len(progress.trials) for progress in self.studies if progress.failure is None)
        return missing * 2 * max((len(p.study.search.section.seeds) for p in self.studies), default=0)

    def remark(self) -> str:
        """How many trials have ended."""
        ended = sum(trial.ended for progress in self.studies for trial in progress.trials)
        return f"{ended} of {self._count * len(self.studies)} trials"

    # -- trials ------------------------------------------------------------------------------------------------------------

    def advance(self, logs: Mapping[str, CellLog] | None = None) -> None:
        """Note the results that are in, and ask for every trial that may be asked."""
        changed = True
        while changed:
            changed = False
            for progress in self.studies:
                changed |= self._note_results(progress)
                changed |= self._ask_next(progress)
            if changed:
                self._plan_seeds(logs)

    def _note_results(self, progress: StudyProgress) -> bool:
        """Give trials their results; whether any has got one, or continues with its next seed."""
        changed = False
        for number in progress.running():
            trial = self._with_result(progress, number)
            if trial != progress.trials[number]:
                progress.trials[number] = trial
                changed = True
        return changed

    def _with_result(self, progress: StudyProgress, number: int) -> Trial:
        """A trial with what its cells say now."""
        trial, planned = progress.trials[number], progress.seeds_planned[number]
        seeds = progress.cells[number].seeds[:planned]
        failed = dict.fromkeys(key for read in _read_keys(seeds) for key in self._failed_upstream(read))
        # A reference that diverges says nothing about a trial.
        own = {key for seed in seeds for key in (seed.model, seed.scored)}
        others = [key for key in failed if self.failures[key].failure_class != DIVERGED or key not in own]
        if others:
            progress.failure = progress.failure or self.failures[others[0]]
            return replace(trial, state="failed")
        if failed:
            return replace(trial, state="diverged")
        keys = _read_keys(seeds)
        self._read_facts(keys)
        if not planned or not all(key in self._facts for key in keys):
            return trial
        facts = [self._facts_of(seed) for seed in seeds]
        # A column may have no value, such as a divergence from nothing.
        if missing := [name for each in facts for name in progress.study.missing_columns(*each)]:
            message = f"trial {number} has no value of {missing[0]}"
            progress.failure = progress.failure or Failure(failure_class="code", message=message)
            return replace(trial, state="failed")
        seed_values = tuple(progress.study.values([each]) for each in facts)
        if planned == len(progress.cells[number].seeds):
            return replace(trial, state="complete", values=progress.study.values(facts), seed_values=seed_values)
        visible = progress.trials[: progress.study.first_unseen(number)]
        if not all(item.ended for item in visible):
            return trial  # stored trials are read together, but each is judged after those that it may see
        trial = replace(trial, seed_values=seed_values)
        if may_continue(progress.study, trial, visible):
            return trial  # `_plan_seeds` adds its next seed
        return replace(trial, state="pruned", values=progress.study.values(facts))

    def _ask_next(self, progress: StudyProgress) -> bool:
        """Ask for the next trial if its predecessors' results are in; whether it was."""
        number = len(progress.trials)
        first_unseen = progress.study.first_unseen(number)
        if not self._ask or progress.failure is not None or number >= self._count:
            return False
        if not all(trial.ended for trial in progress.trials[:first_unseen]):
            return False
        asked = progress.study.ask(progress.trials)
        cells = progress.study.cells_of(asked)
        params = progress.stored.create(number, asked, list(cells.cells))
        self._add_trial(progress, params, cells if params == asked else None)
        return True

    def _add_trial(self, progress: StudyProgress, params: Mapping[str, Any], cells: TrialCells | None = None) -> None:
        study = progress.study
        if outside := values_outside(study.target.space, params):
            raise StoreError(
                f"trial {len(progress.trials)} of {study.target}, in the store under searches/{study.key}, does not fit this "
                f"search: {', '.join(outside)}; remove its file to sample it again"
            )
        params = {name: params[name] for name in study.target.space}  # JSON has sorted them
        progress.trials.append(Trial(number=len(progress.trials), params=params))
        progress.cells.append(cells or study.cells_of(params))
        progress.seeds_planned.append(0)
        for seed in progress.cells[-1].seeds:
            for key in {seed.model, seed.scored}:
                self._places.setdefault(key, []).append((progress, len(progress.trials) - 1, seed))

    def _plan_seeds(self, logs: Mapping[str, CellLog] | None) -> None:
        """Add the cells of trials that have none yet, and of trials that continue with another seed, lowest numbers first."""
        added: dict[str, Cell] = {}
        waiting = [
            (number, place, progress)
            for place, progress in enumerate(self.studies)
            for number in progress.running()
            if self._next_seeds(progress, number) > progress.seeds_planned[number]
        ]
        for number, _, progress in sorted(waiting, key=lambda item: item[:2]):
            progress.seeds_planned[number] = self._next_seeds(progress, number)
            added |= progress.cells[number].for_seeds(progress.seeds_planned[number])
        new = {key: cell for key, cell in added.items() if key not in self.cells}
        if not new:
            return
        logs = logs if logs is not None else {key: self._store.log(key) for key in new}
        # Training diverges in the same way each time: such a cell is not tried again.
        states = stored_states(new, logs, self._store, self._leases, (DIVERGED,))
        self.cached |= states["done"]
        self.extend(new, **states)

    def _next_seeds(self, progress: StudyProgress, number: int) -> int:
        """How many seeds of a running trial should have cells: all, or with pruning one more than have ended."""
        prune, total = progress.study.search.section.prune, len(progress.cells[number].seeds)
        return (
            total if prune is None else min(total, max(prune.min_seeds, len(progress.trials[number].seed_values) + 1))
        )

    def trials_of(self, key: str) -> list[tuple[Study, Trial, SeedCells]]:
        """The trials that a model or its evaluation belongs to: their study, and the seed."""
        return [(progress.study, progress.trials[number], seed) for progress, number, seed in self._places.get(key, ())]

    # -- results -----------------------------------------------------------------------------------------------------------

    def _failed_upstream(self, key: str) -> list[str]:
        """The cell itself if it failed, or the failed ones that block it."""
        state = self._state.get(key)
        if state == "failed":
            return [key]
        if state == "blocked":
            return [item for parent in self.cells[key].parents.values() for item in self._failed_upstream(parent)]
        return []

    def _facts_of(self, seed: SeedCells) -> tuple[Facts, Facts]:
        """The facts of a seed's model, and of Retrain where the rule reads it."""
        return self._facts[seed.scored], self._facts[seed.retrain] if seed.retrain is not None else {}

    def _read_facts(self, keys: Iterable[str]) -> None:
        """Read the facts of done cells that are not known yet. A cell whose commit is damaged is executed again."""
        unread = [key for key in dict.fromkeys(keys) if key not in self._facts and self._state.get(key) == "done"]
        if not unread:
            return
        for key, commit in zip(unread, in_threads(self._store.peek, unread), strict=True):
            if commit is not None:
                self._facts[key] = commit.facts
                continue
            if self._ask:
                with suppress(CorruptArtefact):
                    self._store.commit(key)  # revokes the commit
            self.cached.discard(key)
            self._requeue(key)

    def facts(self, keys: Sequence[str]) -> list[Facts]:
        """The facts of each cell; empty for one that is not done."""
        self._read_facts(keys)
        return [self._facts.get(key, {}) for key in keys]


def _read_keys(seeds: Iterable[SeedCells]) -> list[str]:
    """The cells that must be done before these seeds have values."""
    return [key for seed in seeds for key in seed.read]
