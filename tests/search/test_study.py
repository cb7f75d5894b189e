"""Asking for trials: the same for any concurrency and any order in which trials end, and from visible results only."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_world import SEARCH, Objective, bowl, ended, in_order, study_of
from small_world import with_value

from adaprob_ray.search import study as study_module
from adaprob_ray.search.study import SAMPLER_OPTIONS, Study, Trial, worst_values

COUNT, LAG = 24, 4
ASKED = {seed: in_order(study_of(with_value(SEARCH, "search.seed", seed)), COUNT) for seed in (1, 2)}


def params_of(trials: Sequence[Trial]) -> list[Mapping[str, Any]]:
    return [trial.params for trial in trials]


def concurrently(study: Study, concurrency: int, choose: Any, objective: Objective = bowl) -> list[Trial]:
    """Trials of which up to `concurrency` run at once; `choose` takes the one of the running that ends next."""
    trials: list[Trial] = []
    running: list[int] = []
    while len(trials) < COUNT or running:
        while len(trials) < COUNT and len(running) < concurrency:
            if not all(trial.ended for trial in trials[: study.first_unseen(len(trials))]):
                break
            trials.append(Trial(number=len(trials), params=study.ask(trials)))
            running.append(trials[-1].number)
        number = choose(running)
        running.remove(number)
        trials[number] = ended(number, trials[number].params, objective(trials[number].params))
    return trials


@settings(max_examples=20)
@given(concurrency=st.integers(1, 9), order=st.randoms(use_true_random=False))
def test_trials_depend_neither_on_concurrency_nor_on_the_order_in_which_they_end(
    concurrency: int, order: random.Random
) -> None:
    trials = concurrently(study_of(), concurrency, order.choice)
    assert params_of(trials) == params_of(ASKED[1])


def test_the_slowest_trial_ends_last_wherever_it_may() -> None:
    assert params_of(concurrently(study_of(), LAG, max)) == params_of(ASKED[1])


@pytest.mark.parametrize(
    "document", [with_value(SEARCH, "search.sampler", "random"), with_value(SEARCH, "search.lag", 1)]
)
def test_other_samplers_and_lags_too(document: dict[str, Any]) -> None:
    orders = [concurrently(study_of(document), 5, random.Random(seed).choice) for seed in (1, 2)]
    assert params_of(orders[0]) == params_of(orders[1])


OBJECTIVES = {"forget_error_percent": "maximize", "test_error_percent": "minimize"}
TWO = with_value(SEARCH, "search.objective", OBJECTIVES)


def two_values(params: Mapping[str, Any]) -> Sequence[float]:
    return bowl(params)[0], float(params["epochs"])


def test_several_objectives_too() -> None:
    orders = [concurrently(study_of(TWO), 5, random.Random(seed).choice, two_values) for seed in (1, 2)]
    assert params_of(orders[0]) == params_of(orders[1])


def test_another_search_seed_gives_other_trials_from_the_second_on() -> None:
    first, second = params_of(ASKED[1]), params_of(ASKED[2])
    assert first[0] == second[0], "the default settings"
    assert not any(a == b for a, b in zip(first[1:], second[1:], strict=True))


@pytest.mark.parametrize("number", [14, 20])
def test_only_results_before_the_lag_matter(number: int) -> None:
    study = study_of()
    trials = ASKED[1][:number]
    unseen = study.first_unseen(number)
    assert unseen == number - LAG + 1
    for place in range(unseen, number):
        others = list(trials)
        others[place] = ended(place, trials[place].params, (-100.0,))
        assert study.ask(others) == ASKED[1][number].params
        others[place] = Trial(number=place, params=trials[place].params)
        assert study.ask(others) == ASKED[1][number].params, "finished or not"
    for place in (0, unseen - 1):
        others = list(trials)
        others[place] = ended(place, trials[place].params, (-100.0,))
        assert study.ask(others) != ASKED[1][number].params


def test_the_parameters_of_pending_trials_matter() -> None:
    trials = ASKED[1][:20]
    moved = [*trials[:-1], Trial(number=19, params={"lr": 1e-4, "epochs": 10})]
    assert study_of().ask(moved) != ASKED[1][20].params


def test_a_trial_before_its_results_is_not_asked() -> None:
    trials = [*ASKED[1][:10], Trial(number=10, params=ASKED[1][10].params), *ASKED[1][11:14]]
    with pytest.raises(AssertionError, match="before the results"):
        study_of().ask(trials)


def test_asking_is_optuna_with_complete_and_running_trials() -> None:
    """Optuna's own trials, and a sampler that is seeded by (search seed, number)."""
    study, number = study_of(), 20
    seed = int.from_bytes(hashlib.sha256(b"1:20").digest()[:4], "big")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        plain = optuna.create_study(sampler=sampler)
        for trial in ASKED[1][:number]:
            is_visible = trial.number <= number - LAG
            plain.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.COMPLETE if is_visible else optuna.trial.TrialState.RUNNING,
                    params=dict(trial.params),
                    distributions=study.distributions,
                    values=list(trial.values or ()) if is_visible else None,
                )
            )
        assert dict(plain.ask(study.distributions).params) == ASKED[1][number].params


def test_options_whose_defaults_optuna_changed_are_written_out() -> None:
    assert SAMPLER_OPTIONS["tpe"].keys() >= {"multivariate", "constant_liar"}


def test_a_search_improves_on_its_start() -> None:
    best = min(bowl(trial.params)[0] for trial in in_order(study_of(), 40))
    assert best < bowl({"lr": 0.01, "epochs": 10})[0] / 4


# -- trial 0 -------------------------------------------------------------------------------------------------------------


def test_trial_0_has_the_default_settings() -> None:
    study = study_of()
    assert study.starts_at_default
    assert study.ask([]) == {"lr": 0.01, "epochs": 10}


def test_trial_0_is_asked_where_the_default_lies_outside() -> None:
    document = with_value(SEARCH, "search.space.finetune.epochs", {"int": [1, 3]})
    studies = [study_of(with_value(document, "search.seed", seed)) for seed in (1, 2)]
    assert not any(study.starts_at_default for study in studies)
    assert studies[0].ask([]) != studies[1].ask([])


# -- diverged ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("document", "worst"), [(SEARCH, 90.0), (with_value(SEARCH, "search.lag", 2), 95.0)])
def test_a_diverged_trial_counts_as_the_worst_that_is_visible(document: dict[str, Any], worst: float) -> None:
    """Trial 3 has the worst value, and trial 14 a worse one that only a short lag shows."""
    study = study_of(document)
    trials = [ended(t.number, t.params, t.values) for t in ASKED[1][:16]]
    trials[3] = ended(3, trials[3].params, (90.0,))
    trials[14] = ended(14, trials[14].params, (95.0,))
    diverged, valued = list(trials), list(trials)
    diverged[5] = ended(5, trials[5].params, None)
    valued[5] = ended(5, trials[5].params, (worst,))
    assert study.ask(diverged) == study.ask(valued)
    valued[5] = ended(5, trials[5].params, (-1.0,))
    assert study.ask(diverged) != study.ask(valued)


def test_a_search_of_which_everything_diverges_continues() -> None:
    study = study_of()
    trials: list[Trial] = []
    for number in range(14):
        trials.append(ended(number, study.ask(trials), None))
    assert len({str(trial.params) for trial in trials}) == 14


def test_worst_values_by_direction() -> None:
    trials = [
        ended(0, {}, (1.0, 5.0)),
        ended(1, {}, (3.0, 2.0)),
        ended(2, {}, None),
        Trial(number=3, params={}, state="pruned", values=(2.0, 9.0)),
        Trial(number=4, params={}),
    ]
    assert worst_values(trials, ("minimize", "maximize")) == (3.0, 2.0)
    assert worst_values(trials, ("maximize", "minimize")) == (1.0, 9.0)
    assert worst_values(trials[2:3], ("minimize", "minimize")) is None


# -- the key -------------------------------------------------------------------------------------------------------------

SPACE = {"lr": {"log": [1e-4, 1.0]}, "epochs": {"int": [1, 10]}}
READINGS = {"a": {"reference": "original", "totals": "pseudo"}, "b": {"reference": "pseudo", "totals": "pseudo"}}
ADAPROB = with_value(SEARCH, "search.space.adaprob", {"reading": {"choice": READINGS}, "lam": {"log": [0.1, 1.0]}})
CHANGES: dict[str, dict[str, Any]] = {
    "search seed": with_value(SEARCH, "search.seed", 2),
    "lag": with_value(SEARCH, "search.lag", 5),
    "rule": with_value(SEARCH, "search.rule", "validation"),
    "margin": with_value(SEARCH, "search.margin", 2.0),
    "sampler": with_value(SEARCH, "search.sampler", "random"),
    "seeds": with_value(SEARCH, "search.seeds", [11, 13]),
    "order of the seeds": with_value(SEARCH, "search.seeds", [12, 11]),
    "bound": with_value(SEARCH, "search.space.finetune.lr", {"log": [1e-4, 0.5]}),
    "scale": with_value(SEARCH, "search.space.finetune.lr", {"uniform": [1e-4, 1.0]}),
    "order of the parameters": with_value(SEARCH, "search.space.finetune", dict(reversed(SPACE.items()))),
    "fixed field": with_value(SEARCH, "methods.finetune", {"momentum": 0.5}),
    "objective": with_value(SEARCH, "search.objective", {"test_error_percent": "minimize"}),
    "pruning": with_value(SEARCH, "search.prune", {"p": 0.5}),
    "training": with_value(SEARCH, "train.epochs", 2),
    "precision": with_value(SEARCH, "precision", "bfloat16"),
    "forget request": with_value(SEARCH, "grid.forget.count", 24),
    "width": with_value(SEARCH, "grid.architecture.filters", 0.03),
    "variant of Retrain": with_value(SEARCH, "methods.retrain", {"variant": "plain"}),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_key_changes_with(case: str) -> None:
    assert study_of(CHANGES[case]).key != study_of().key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TWO, with_value(SEARCH, "search.objective", dict(reversed(OBJECTIVES.items())))),
        (ADAPROB, with_value(ADAPROB, "search.space.adaprob.reading.choice", dict(reversed(READINGS.items())))),
    ],
    ids=["objectives", "options"],
)
def test_the_key_changes_with_the_order_of(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert study_of(one, "adaprob").key != study_of(other, "adaprob").key


def test_the_key_changes_with_the_version_of_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    before = study_of().key
    monkeypatch.setattr(study_module, "version", lambda name: "5.9.9")
    assert study_of().key != before


@pytest.mark.parametrize(
    "document",
    [
        with_value(SEARCH, "search.trials", 40),
        with_value(SEARCH, "metrics", ["errors", "passes", "kl_to_retrain", "membership"]),
        with_value(SEARCH, "grid.seed", [1, 2, 3]),
        with_value(SEARCH, "name", "other"),
        with_value(SEARCH, "methods.neggrad_plus", {}),
        with_value(SEARCH, "search.space.scrub", {"lr": {"log": [0.1, 1.0]}}),
        with_value(SEARCH, "resources", {"unlearn": {"cpu": 2}}),
        with_value(SEARCH, "primary_label", "scrub"),
        with_value(SEARCH, "repeats", 3),
    ],
    ids=[
        "trials",
        "metric",
        "report seed",
        "name",
        "another label",
        "space of another label",
        "resources",
        "primary",
        "repeats",
    ],
)
def test_the_key_does_not_change_with(document: dict[str, Any]) -> None:
    assert study_of(document).key == study_of().key


# -- cells ---------------------------------------------------------------------------------------------------------------

RELEARNING = {
    **SEARCH,
    "metrics": ["errors", "relearn"],
    "keep": {"unlearn": "weights"},
    "relearn": {"lr": 0.1, "epochs": 3},
}


@pytest.mark.parametrize(
    ("document", "label"),
    [
        (SEARCH, "finetune"),
        (ADAPROB, "adaprob"),
        (with_value(SEARCH, "search.space.adaprob", {"lr": {"choice": ["auto", 0.01]}}), "adaprob"),
        (with_value(SEARCH, "search.rule", "validation"), "scrub"),
        (RELEARNING, "finetune"),
        (with_value(RELEARNING, "search.rule", "validation"), "finetune"),
        (with_value(with_value(SEARCH, "primary_label", "scrub"), "repeats", 2), "finetune"),
    ],
    ids=["oracle", "options", "auto-or-rate", "validation", "relearning", "relearning-validation", "primary-label"],
)
def test_the_cells_of_a_trial_are_those_of_a_sweep(document: dict[str, Any], label: str) -> None:
    """Derived from those of another trial, they are what a full expansion gives."""
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.search.trial_cells import trial_cells

    study = study_of(document, label)
    rng = random.Random(1)
    for trial in in_order(study, 5, lambda params: (rng.random(),)):
        derived = study.cells_of(trial.params)
        expanded = trial_cells(study.search, study.target, trial.params, REGISTRY)
        assert derived.seeds == expanded.seeds
        assert derived.cells == expanded.cells
        assert [seed.seed for seed in derived.seeds] == [11, 12]
        for key, cell in derived.cells.items():
            assert cell.key == key
            assert (cell.keep, cell.priority) == (expanded.cells[key].keep, expanded.cells[key].priority)
    if study.target.rule.name == "validation":
        assert not {cell.method for cell in derived.cells.values()} & {"retrain", "retrain_independent"}


def test_an_optuna_study_has_the_trials_and_what_became_of_them() -> None:
    study = study_of()
    trials = [*ASKED[1][:3], ended(3, ASKED[1][3].params, None), Trial(number=4, params=ASKED[1][4].params)]
    rebuilt_study = study.optuna_study(trials)
    assert [trial.user_attrs["state"] for trial in rebuilt_study.trials] == ["complete"] * 3 + ["diverged", "running"]
    assert rebuilt_study.trials[3].values == [max(bowl(trial.params)[0] for trial in trials[:3])]
    assert rebuilt_study.trials[4].state == optuna.trial.TrialState.RUNNING
    assert rebuilt_study.best_trial.params == min(trials[:3], key=lambda trial: bowl(trial.params)).params
    assert rebuilt_study.user_attrs["key"] == study.key
    assert rebuilt_study.metric_names == ["oracle"]
