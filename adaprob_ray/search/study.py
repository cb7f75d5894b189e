"""Optuna studies as pure functions of what the store holds: asking for a trial keeps no state.

    ask n:   results of trials 0 … n−W     complete
             parameters of n−W+1 … n−1     running, finished or not (the sampler spreads points away from them)
             sampler seeded by (search seed, n)

W is the file's `lag`. How many trials run at once and in which order they end changes nothing, as long as trial n is asked
after trial n−W has its result. Trial 0 has the method's default settings where these lie in the space.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from adaprob_ray.search.rules import PENALTY
from adaprob_ray.search.search_file import SearchFile, Target
from adaprob_ray.search.space import Alternatives, Parameter, default_values, first_values, space_document
from adaprob_ray.search.trial_cells import TrialCells, other_trial_cells, trial_cells
from adaprob_ray.settings import Choice, Int, Log
from adaprob_ray.sweep.cell import KEY_LENGTH, canonical
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.user_code.source import source_revisions

if TYPE_CHECKING:
    import optuna

Direction = Literal["minimize", "maximize"]
State = Literal["running", "complete", "pruned", "diverged", "failed"]
# Options of Optuna's samplers, in the study's key. Those whose defaults Optuna 5 changed are written out.
SAMPLER_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "tpe": {"multivariate": True, "constant_liar": True, "group": False, "n_startup_trials": 10, "n_ei_candidates": 24},
    "random": {},
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a study.

    params: by name.
    values: one for each objective, None while it runs and where it diverged or failed. A pruned trial has the mean of the
        seeds that ran.
    seed_values: the values of each seed that has ended, in the order of the seeds.
    """

    number: int
    params: Mapping[str, Any]
    state: State = "running"
    values: tuple[float, ...] | None = None
    seed_values: tuple[tuple[float, ...], ...] = ()

    @property
    def ended(self) -> bool:
        """Whether later trials may use its result."""
        return self.state in ("complete", "pruned", "diverged")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What one study is. Its key names it in the store.

    scored: Keys of the cells that one fixed trial is scored by; they stand for all that is run.
    base: All cells of that trial, from which those of the others are derived.
    """

    search: SearchFile
    target: Target
    scored: tuple[str, ...]
    base: TrialCells = field(repr=False)

    @classmethod
    def create(cls, search: SearchFile, target: Target, registry: Registry) -> Study:
        """The study of one target. Raises InputError if the method declines to run there."""
        values = default_values(target.method, target.fixed, target.space) or first_values(target.space)
        # Metrics that the values do not depend on may be added to the file without a new study.
        columns = search.section.objective or target.rule.columns
        metrics = [name for name in search.file.metrics if set(registry.metrics[name].columns) & set(columns)]
        cells = trial_cells(search, target, values, registry, metrics=metrics or ["errors"])
        return cls(
            search=search,
            target=target,
            scored=tuple(key for seed in cells.seeds for key in seed.read),
            base=trial_cells(search, target, values, registry),
        )

    def cells_of(self, params: Mapping[str, Any]) -> TrialCells:
        """The cells of a trial with these parameters."""
        return other_trial_cells(self.base, self.target, params)

    def _sources(self) -> dict[str, Any]:
        """Digests of the modules of other packages that a trial's result depends on; nothing where it names none."""
        point = self.target.point
        names = (self.target.method_name, point.dataset.name, point.architecture.name, *self.search.file.metrics)
        sources = source_revisions(*names)
        return {"sources": sources} if sources else {}

    @cached_property
    def document(self) -> dict[str, Any]:
        """All that a trial's parameters and results depend on, as JSON. The number of trials is not among it."""
        section, target = self.search.section, self.target
        return {
            "label": target.label,
            "method": target.method_name,
            "fixed": dict(target.fixed),
            "space": space_document(target.space),
            "point": {
                "dataset": str(target.point.dataset),
                "test_pool": target.point.dataset.test_pool,
                "architecture": target.point.architecture.title,
                "filters": target.point.architecture.filters,
                "forget": target.point.forget.document(),
            },
            "rule": [target.rule.name, target.rule.revision],
            **self._sources(),
            "margin": section.margin,
            "objective": [list(item) for item in section.objective.items()],
            "seeds": section.seeds,
            "seed": section.seed,
            "lag": section.lag,
            "prune": None if section.prune is None else section.prune.p,
            "sampler": {"name": section.sampler, **SAMPLER_OPTIONS[section.sampler]},
            "optuna": version("optuna"),
            "scored": list(self.scored),
        }

    @cached_property
    def key(self) -> str:
        """A hash of `document`."""
        return hashlib.sha256(canonical(self.document).encode()).hexdigest()[:KEY_LENGTH]

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the values of a trial: Record columns, or the rule's own."""
        return tuple(self.search.section.objective) or (self.target.rule.name,)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """`minimize` or `maximize`, for each objective."""
        return tuple(self.search.section.objective.values()) or ("minimize",)

    def first_unseen(self, number: int) -> int:
        """The first trial whose result asking for trial `number` must not see: the trials before it must have ended."""
        return max(0, number - self.search.section.lag + 1)

    def values(self, seeds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> tuple[float, ...]:
        """The values of some seeds of a trial, each given by the facts of its cells: of the model, and of Retrain."""
        if columns := self.search.section.objective:
            return tuple(sum(float(model[column]) for model, _ in seeds) / len(seeds) for column in columns)
        return (self.target.rule.value(seeds, self.search.section.margin),)

    def is_beyond_margin(self, trial: Trial) -> bool:
        """Whether the rule would not take this trial: its errors are too far above the original's."""
        has_margin = self.target.rule.limited and not self.search.section.objective
        return bool(has_margin) and trial.values is not None and trial.values[0] >= PENALTY

    def missing_columns(self, model: Mapping[str, float], retrain: Mapping[str, float]) -> list[str]:
        """Columns that `values` needs and these facts of a seed lack."""
        rule = self.target.rule
        columns = tuple(self.search.section.objective) or rule.columns
        needs_retrain = rule.needs_retrain and not self.search.section.objective
        return [name for name in columns if name not in model or (needs_retrain and name not in retrain)]

    # -- asking ------------------------------------------------------------------------------------------------------------

    def ask(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """The parameters of the trial that follows `trials`.

        Args:
            trials: All trials so far. Of the last `lag` − 1 only the parameters are used; the others must have ended.

        Returns:
            The parameters by name.
        """
        number = len(trials)
        if number == 0 and self._default is not None:
            return self._default
        digest = hashlib.sha256(f"{self.search.section.seed}:{number}".encode()).digest()
        study = self._empty_study(seed=int.from_bytes(digest[:4], "big"))
        visible = trials[: self.first_unseen(number)]
        assert all(trial.ended for trial in visible), "a trial is asked before the results that it depends on"
        pending = [Trial(number=t.number, params=t.params) for t in trials[len(visible) :]]
        study.add_trials(self._frozen_trials([*visible, *pending]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", _experimental_warning())
            return dict(study.ask(self.distributions).params)

    @property
    def starts_at_default(self) -> bool:
        """Whether trial 0 has the method's default settings."""
        return self._default is not None

    @cached_property
    def _default(self) -> dict[str, Any] | None:
        return default_values(self.target.method, self.target.fixed, self.target.space)

    @cached_property
    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """The space, as Optuna has it."""
        return {name: _distribution(parameter) for name, parameter in self.target.space.items()}

    def optuna_study(self, trials: Sequence[Trial]) -> optuna.Study:
        """An Optuna study in memory with these trials."""
        study = self._empty_study(seed=self.search.section.seed)
        study.add_trials(self._frozen_trials(trials))
        for name, value in self.attributes().items():
            study.set_user_attr(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", _experimental_warning())
            study.set_metric_names(list(self.objectives))
        return study

    def attributes(self) -> dict[str, Any]:
        """What a reader of the study should know."""
        return {"search": self.search.name, "key": self.key, **self.document}

    def _empty_study(self, *, seed: int) -> optuna.Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        options = SAMPLER_OPTIONS[self.search.section.sampler]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", _experimental_warning())
            samplers = optuna.samplers
            kinds = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}
            sampler = kinds[self.search.section.sampler](seed=seed, **options)
        return optuna.create_study(
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
            directions=list(self.directions),
            study_name=f"{self.search.name}/{self.target}",
        )

    def _frozen_trials(self, trials: Sequence[Trial]) -> list[optuna.trial.FrozenTrial]:
        """Trials as Optuna has them. A diverged one gets the worst values among these, and fails where there are none."""
        from optuna.trial import TrialState

        from adaprob_ray.search.shared_trial import shared_trial

        worst = worst_values(trials, self.directions)
        frozen: list[optuna.trial.FrozenTrial] = []
        for trial in trials:
            values, state = trial.values, TrialState.RUNNING
            if trial.state == "failed":
                state = TrialState.FAIL
            elif trial.ended:
                values = values if values is not None else worst
                state = TrialState.FAIL if values is None else TrialState.COMPLETE
            frozen.append(
                shared_trial(
                    state=state,
                    params=trial.params,
                    distributions=self.distributions,
                    values=values if state == TrialState.COMPLETE else None,
                    user_attrs={"state": trial.state, "seed_values": [list(item) for item in trial.seed_values]},
                )
            )
        return frozen


def worst_values(trials: Sequence[Trial], directions: Sequence[str]) -> tuple[float, ...] | None:
    """For each objective the worst value of the trials that have one; None if none has."""
    complete = [trial.values for trial in trials if trial.ended and trial.values is not None]
    if not complete:
        return None
    columns = zip(*complete, strict=True)
    return tuple(
        max(column) if direction == "minimize" else min(column)
        for column, direction in zip(columns, directions, strict=True)
    )


def _distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, Alternatives):
        return CategoricalDistribution(list(parameter.options))
    if isinstance(parameter, Choice):
        return CategoricalDistribution(list(parameter.values))
    if isinstance(parameter, Int):
        return IntDistribution(parameter.low, parameter.high)
    return FloatDistribution(parameter.low, parameter.high, log=isinstance(parameter, Log))


def _experimental_warning() -> type[Warning]:
    from optuna.exceptions import ExperimentalWarning

    return ExperimentalWarning
