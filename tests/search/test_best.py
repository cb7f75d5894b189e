"""The best trials, and the sweep file that freezes them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
import yaml
from search_world import SEARCH, ended, in_order, parse
from small_world import with_value

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.search.best import best_trials, frozen_sweep
from adaprob_ray.search.search_file import SearchFile
from adaprob_ray.search.space import settings_of
from adaprob_ray.search.study import Study, Trial
from adaprob_ray.sweep.sweep import Sweep

TWO = with_value(SEARCH, "search.objective", {"forget_error_percent": "maximize", "test_error_percent": "minimize"})


def searched(document: dict[str, Any] | Any, count: int = 6) -> tuple[SearchFile, list[tuple[Study, list[Trial]]]]:
    """The studies of a file, each with trials of which number 3 is the best."""
    search = parse(document)
    studies = []
    for target in search.targets:
        study = Study.create(search, target, REGISTRY)
        width = len(search.section.objective) or 1
        trials = in_order(study, count, lambda params: (5.0,) * width)  # noqa: B023  # called at once
        trials[3] = ended(3, trials[3].params, (1.0,) * width)
        studies.append((study, trials))
    return search, studies


def study(document: Any = SEARCH) -> Study:
    search = parse(document)
    return Study.create(search, search.targets[0], REGISTRY)


def test_the_best_is_the_first_of_the_lowest() -> None:
    values: list[tuple[float, ...] | None] = [(3.0,), (1.0,), None, (1.0,), (2.0,)]
    trials = [ended(number, {}, value) for number, value in enumerate(values)]
    assert [trial.number for trial in best_trials(study(), trials)] == [1]


def test_pruned_and_running_trials_are_never_the_best() -> None:
    trials = [
        Trial(number=0, params={}, state="pruned", values=(0.0,)),
        ended(1, {}, None),
        ended(2, {}, (4.0,)),
        Trial(number=3, params={}),
        Trial(number=4, params={}, state="failed"),
    ]
    assert [trial.number for trial in best_trials(study(), trials)] == [2]
    assert best_trials(study(), [trials[0], trials[1], trials[3]]) == []


def test_the_highest_is_the_best_where_the_objective_is_maximized() -> None:
    upward = study(with_value(SEARCH, "search.objective", {"forget_error_percent": "maximize"}))
    trials = [ended(number, {}, (value,)) for number, value in enumerate([3.0, 7.0, 5.0])]
    assert [trial.number for trial in best_trials(upward, trials)] == [1]


def test_of_several_objectives_the_pareto_front() -> None:
    points = [(5.0, 5.0), (9.0, 9.0), (1.0, 1.0), (5.0, 6.0), (4.0, 5.0), (5.0, 5.0), (9.0, 8.0)]
    trials = [ended(number, {}, point) for number, point in enumerate(points)]
    # Forget error as high, test error as low as possible; 0 and 5 are equal, 6 is better than 1.
    assert [trial.number for trial in best_trials(study(TWO), trials)] == [0, 2, 5, 6]


# -- freezing ------------------------------------------------------------------------------------------------------------


def frozen(document: Any, chosen: int | None = None) -> tuple[str, Sweep]:
    search, studies = searched(document)
    text = frozen_sweep(search, studies, chosen)
    return text, Sweep.parse(text, REGISTRY)


def hyper_of(sweep: Sweep, label: str) -> list[dict[str, Any]]:
    return [
        dict(cell.settings.hyper)  # type: ignore[attr-defined]
        for cell in sweep.cells.values()
        if cell.stage == "evaluate" and cell.label == label
    ]


def test_the_frozen_sweep_runs_the_best_and_the_default_on_the_report_seeds() -> None:
    search, studies = searched(SEARCH)
    _, sweep = frozen(SEARCH)
    assert sweep.name == "small_frozen"
    labels = {f"{name}{suffix}" for name in ("finetune", "scrub", "adaprob") for suffix in ("", "_default")}
    assert set(sweep.file.methods) == labels | {"retrain"}
    for item, trials in studies:
        label = item.target.label
        best, default = hyper_of(sweep, label), hyper_of(sweep, f"{label}_default")
        assert len(best) == len(default) == 2
        settings = settings_of(item.target.space, trials[3].params)
        assert all(hyper.items() >= settings.items() for hyper in best)
        assert default[0] == default[1]
        assert default[0] != best[0]
    seeds = {cell.settings.seed for cell in sweep.cells.values()}
    assert seeds == {1, 2}
    assert not seeds & set(search.section.seeds)


def test_fixed_fields_are_in_both() -> None:
    _, sweep = frozen(with_value(SEARCH, "methods.finetune", {"momentum": 0.5}))
    for label in ("finetune", "finetune_default"):
        assert {hyper["momentum"] for hyper in hyper_of(sweep, label)} == {0.5}


def test_provenance_is_in_comments() -> None:
    search, studies = searched(SEARCH)
    text = frozen_sweep(search, studies, None)
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for item, trials in studies:
        assert item.key in comments
        assert f"{item.target}: trial 3 of {len(trials)}, rule oracle, oracle 1 (default settings: 5)" in comments
    for word in (
        "on seeds 11, 12",
        "search seed 1",
        "lag 4",
        "20 trials",
        version("optuna"),
        version("torch"),
        "Sampler tpe",
    ):
        assert word in comments
    assert "search" not in yaml.safe_load(text)


def test_a_trial_can_be_chosen() -> None:
    _, studies = searched(SEARCH)
    text, sweep = frozen(SEARCH, chosen=2)
    assert "trial 2 of 6" in text
    settings = settings_of(studies[0][0].target.space, studies[0][1][2].params)
    assert all(hyper.items() >= settings.items() for hyper in hyper_of(sweep, "finetune"))


@pytest.mark.parametrize("chosen", [6, 100])
def test_a_trial_that_is_not_there(chosen: int) -> None:
    with pytest.raises(InputError, match=f"must be a complete trial of .*, got {chosen} "):
        frozen(SEARCH, chosen)


def test_a_front_of_several_trials_needs_a_choice() -> None:
    search, studies = searched(TWO)
    trials = studies[0][1]
    trials[0], trials[4] = ended(0, trials[0].params, (9.0, 9.0)), ended(4, trials[4].params, (5.0, 0.5))
    trials[3] = ended(3, trials[3].params, (6.0, 0.7))
    with pytest.raises(InputError, match=r"--trial: must be one of 3 trials on the Pareto front of .* \(0, 3, 4\)"):
        frozen_sweep(search, studies, None)
    assert Sweep.parse(frozen_sweep(search, studies, 4), REGISTRY)


def test_nothing_to_freeze() -> None:
    search, studies = searched(SEARCH)
    with pytest.raises(InputError, match="must have a complete trial, got none"):
        frozen_sweep(search, [(item, []) for item, _ in studies], None)


def test_each_grid_point_has_settings_of_its_own() -> None:
    grid = {
        "dataset": ["digits", {"name": "digits", "test_pool": "paper"}],
        "architecture": [{"name": "allcnn", "filters": 0.02}, {"name": "allcnn", "filters": 0.03}],
        "forget": [{"kind": "selective", "class": 3, "count": 25}, {"kind": "class", "class": 3}],
        "seed": [1, 2],
    }
    document = with_value(with_value(SEARCH, "grid", grid), "methods", {"retrain": {}, "finetune": {}})
    search, studies = searched(document)
    assert len({item.key for item, _ in studies}) == len(studies) == 8
    for place, (_, trials) in enumerate(studies):
        trials[3] = ended(3, {"lr": 0.01 + 0.01 * place, "epochs": 1 + place}, (1.0,))
    sweep = Sweep.parse(frozen_sweep(search, studies, None), REGISTRY)
    chosen = {
        (cell.settings.dataset.test_pool, cell.settings.architecture.filters, str(cell.forget)): cell.settings.hyper[
            "epochs"
        ]  # type: ignore[attr-defined]
        for cell in sweep.cells.values()
        if cell.stage == "evaluate" and cell.label == "finetune"
    }
    expected = {
        (item.target.point.dataset.test_pool, item.target.point.architecture.filters, str(item.target.point.forget)): 1
        + place
        for place, (item, _) in enumerate(studies)
    }
    assert chosen == expected


def test_options_and_lists_survive_the_file() -> None:
    options = {"short": {"milestones": [2]}, "none": {"milestones": []}}
    document = with_value(SEARCH, "search.space.scrub", {"decay": {"choice": options}, "lr": {"log": [1e-7, 1e-6]}})
    search, studies = searched(document)
    place = [item.target.label for item, _ in studies].index("scrub")
    item, trials = studies[place]
    trials[3] = ended(3, {"decay": "none", "lr": 1.2345678901234567e-07}, (1.0,))
    hyper = hyper_of(Sweep.parse(frozen_sweep(search, studies, None), REGISTRY), "scrub")
    assert all(entry["milestones"] == () and entry["lr"] == 1.2345678901234567e-07 for entry in hyper)
    assert item.target.label == "scrub"
