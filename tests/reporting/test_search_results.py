"""What figures and tables of a search say, against values counted by hand; and the trials of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic_searches import ADAPROB, FINETUNE, PARETO, group, results, search_text, studies

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.reporting.search.figures.best_so_far import compute_best_so_far
from adaprob_ray.reporting.search.figures.history import trial_points
from adaprob_ray.reporting.search.figures.importance import compute_importance
from adaprob_ray.reporting.search.figures.method_ranks import compute_method_ranks
from adaprob_ray.reporting.search.figures.pareto_front import front_steps
from adaprob_ray.reporting.search.figures.slices import compute_slice
from adaprob_ray.reporting.search.figures.value_axis import value_axis
from adaprob_ray.reporting.search.studies import (
    STRIP_WORDS,
    StudyResults,
    caption,
    caption_of,
    group_studies,
    load_searches,
)
from adaprob_ray.reporting.search.tables.best_table import best_page, best_rows
from adaprob_ray.reporting.search.tables.trials_table import trial_lines, trial_pages, trial_rows
from adaprob_ray.runtime.search import studies_of
from adaprob_ray.search.search_file import SearchFile
from adaprob_ray.search.study import Study
from adaprob_ray.search.trial_cells import trial_cells
from adaprob_ray.store import Store
from adaprob_ray.store.names import RECORD
from adaprob_ray.store.studies import stored_studies
from adaprob_ray.store.trials import StoredTrials


def replicates(values: dict[int, list[Any]], passes: dict[int, list[int]], **settings: Any) -> list[StudyResults]:
    """Studies of adaprob, one for each search seed."""
    return [results(studies(seed=seed, **settings)[0], own, passes=passes[seed]) for seed, own in values.items()]


# -- best so far -------------------------------------------------------------------------------------------------------


def test_the_best_so_far_never_gets_worse_and_leaves_out_trials_without_all_seeds() -> None:
    study = studies()[0]
    (actual,) = group_studies([results(study, [9.0, 8.0, None, 1.0, 7.0], passes=[10, 20, 0, 5, 30], pruned=[3])])
    curves = compute_best_so_far(actual)
    (trials,), (passes,) = curves.against_trials, curves.against_passes
    assert (trials.budget, trials.median) == ([1, 2, 3, 4, 5], [9, 8, 8, 8, 7])
    assert (passes.budget, passes.median) == ([10, 30, 35, 65], [9, 8, 8, 7])
    assert not trials.has_band


def test_the_band_is_over_search_seeds_and_ends_with_the_shortest() -> None:
    values = {1: [4.0, 2.0, 1.0], 2: [6.0, 5.0], 3: [5.0, 5.0, 3.0]}
    (actual,) = group_studies(replicates(values, {1: [10, 10, 10], 2: [20, 20], 3: [5, 30, 30]}))
    curves = compute_best_so_far(actual)
    (trials,), (passes,) = curves.against_trials, curves.against_passes
    assert (trials.budget, trials.low, trials.median, trials.high) == ([1, 2], [4, 2], [5, 5], [6, 5])
    # From 20 passes, which the first trial of seed 2 takes, to 30, which are all that seed 1 has spent.
    assert (passes.budget, passes.low, passes.high) == ([20, 30], [2, 1], [6, 6])


def test_trials_beyond_the_margin_are_worth_nothing() -> None:
    actual = group([103.0, 8.0, 101.0], [120.0, 110.0, 104.0], rule="validation")
    curves = compute_best_so_far(actual)
    assert [curve.median for curve in curves.against_trials] == [[None, 8, 8], [None, None, None]]
    axis = curves.axis
    assert axis.edge is not None
    assert 8 < axis.edge < axis.at(None) < axis.high < 100
    assert [point.value for point in trial_points(actual.studies["adaprob"][0])] == [None, 8.0, None]
    assert "adaprob: 2 beyond the margin; finetune: 3 beyond the margin" in caption(actual)
    assert STRIP_WORDS in caption_of([actual], strip=True)
    oracle = group([103.0, 8.0], [9.0, 9.0])
    assert compute_best_so_far(oracle).against_trials[0].median == [103, 8]
    assert STRIP_WORDS not in caption_of([oracle], strip=True)


def test_a_value_to_maximize_has_its_best_and_its_strip_the_other_way_round() -> None:
    objective = "\n  objective: {forget_error_percent: maximize}"
    actual = group([1.0, None, 3.0, 2.0], [5.0, 6.0, 4.0, 4.0], objective=objective)
    curves = compute_best_so_far(actual)
    assert [curve.median for curve in curves.against_trials] == [[1, 1, 3, 3], [5, 6, 6, 6]]
    axis = value_axis([1.0, None], sign=-1.0)
    assert axis.edge is not None
    assert axis.low < axis.at(None) < axis.edge < 1


# -- ranks -------------------------------------------------------------------------------------------------------------


def test_ranks_are_by_the_best_so_far_and_equal_values_share_them() -> None:
    ranks = compute_method_ranks([group(ADAPROB, FINETUNE)])
    assert ranks is not None
    assert ranks.against_trials == {"adaprob": [1.5, 2, 2, 2, 2, 2], "finetune": [1.5, 1, 1, 1, 1, 1]}
    assert (ranks.passes[0], ranks.passes[-1]) == (100, 600)
    assert ranks.against_passes["finetune"][-1] == 1


def test_ranks_against_passes_favour_whoever_needs_fewer() -> None:
    adaprob, finetune = studies()
    actual = group_studies([results(adaprob, [5.0, 2.0], passes=10), results(finetune, [4.0, 1.0], passes=30)])
    ranks = compute_method_ranks(actual)
    assert ranks is not None
    assert ranks.passes == []  # adaprob's two trials are over before finetune's first
    actual = group_studies(
        [results(adaprob, [5.0, 2.0, 2.0, 2.0], passes=10), results(finetune, [4.0, 1.0], passes=30)]
    )
    ranks = compute_method_ranks(actual)
    assert ranks is not None
    assert ranks.against_trials["adaprob"] == [2, 2]
    assert ranks.against_passes["adaprob"] == [1] * len(ranks.passes)


def test_one_method_has_no_rank() -> None:
    study = studies()[0]
    assert compute_method_ranks(group_studies([results(study, [1.0, 2.0])])) is None


# -- parameters --------------------------------------------------------------------------------------------------------


def test_a_slice_has_every_trial_that_ended_and_marks_the_chosen_value() -> None:
    actual = group(ADAPROB, FINETUNE)
    runs = actual.studies["adaprob"]
    lam, reading = compute_slice("lam", runs), compute_slice("reading", runs)
    assert (lam.is_log, lam.ends, len(lam.points)) == (True, (0.1, 10.0), 6)
    assert lam.chosen == [runs[0].trials[5].params["lam"]]
    assert reading.options == ["eq1", "script"]
    assert reading.chosen == [1.0]
    assert [point.is_default for _, point in lam.points] == [True, *[False] * 5]
    assert [point.state for _, point in lam.points].count("diverged") == 1
    assert compute_slice("epochs", actual.studies["finetune"]).is_integer


def test_the_parameter_that_decides_is_the_important_one() -> None:
    study = studies()[0]
    trials = results(study, [0.0] * 40).trials
    values = [0.0 if trial.params["reading"] == "script" else 50.0 for trial in trials]
    (actual,) = group_studies([results(study, [value + at / 100 for at, value in enumerate(values)])])
    importance = compute_importance(actual, "adaprob")
    assert importance is not None
    assert next(iter(importance.shares)) == "reading"
    assert sum(shares[0] for shares in importance.shares.values()) == pytest.approx(1)
    assert compute_importance(group(ADAPROB, FINETUNE), "adaprob") is None  # six trials are too few


# -- several objectives ------------------------------------------------------------------------------------------------


def test_the_front_is_a_staircase_of_the_trials_that_nothing_dominates() -> None:
    actual = group([(10.0, 5.0), (20.0, 6.0), (15.0, 7.0), (30.0, 9.0)], [(1.0, 1.0)], objective=PARETO)
    best = actual.studies["adaprob"][0].best
    assert [trial.number for trial in best] == [0, 1, 3]
    # The first objective is maximized: from its best to that of the second.
    assert front_steps(best, 0, 1, actual.signs) == [(30, 9), (20, 9), (20, 6), (10, 6), (10, 5)]
    assert [row["best_trial"] for row in best_rows([actual])] == [0, 1, 3, 0]


# -- tables ------------------------------------------------------------------------------------------------------------


def test_the_best_table_says_default_best_difference_cost_and_rule() -> None:
    actual = group(ADAPROB, [9.0, 12.0])
    adaprob, finetune = best_rows([actual])
    wanted = {"rule": "oracle", "trials": 6, "complete": 5, "diverged": 1, "passes": 600, "best_trial": 5}
    assert adaprob | wanted == adaprob
    assert (adaprob["default.oracle"], adaprob["best.oracle"], adaprob["difference.oracle"]) == (9, 5, -4)
    assert adaprob["params.lam"] == actual.studies["adaprob"][0].trials[5].params["lam"]
    assert (finetune["best_trial"], finetune["difference.oracle"]) == (0, 0)
    page = best_page(actual)
    assert page.blocks[0].body[0] == ["adaprob", "oracle", "9", "5", "−4", "#5", "6 (1 diverged)", "600"]
    assert any(line.startswith("rule oracle: mean gap to Retrain") for line in page.notes)
    assert "UNEQUAL budgets of 2 to 6 trials for each method" in " ".join(page.notes)


def test_a_study_without_a_complete_trial_has_a_line_without_a_best() -> None:
    actual = group([None, None], [1.0])
    assert best_page(actual).blocks[0].body[0] == [
        "adaprob",
        "oracle",
        "diverged",
        "–",
        "–",
        "–",
        "2 (2 diverged)",
        "200",
    ]
    assert best_rows([actual])[0]["best_trial"] is None


def test_every_trial_is_in_the_table_with_the_values_of_its_seeds() -> None:
    adaprob, finetune = studies()
    actual = group_studies([results(adaprob, ADAPROB, pruned=[1]), results(finetune, FINETUNE)])
    frame = trial_rows(actual)
    assert len(frame) == 12
    assert list(frame["state"][:3]) == ["complete", "pruned", "diverged"]
    pruned = frame.iloc[1]
    assert (pruned["value.oracle"], pruned["seed11.oracle"]) == (8, 8)
    assert pruned.isna()[["seed12.oracle", "params.lr"]].all()
    assert set(frame["rule"]) == {"oracle"}
    first, second = trial_pages(actual)
    assert [line[1] for line in first.blocks[0].body[:3]] == ["complete", "pruned", "diverged"]
    assert first.blocks[0].header == [
        "trial",
        "state",
        "mean gap to Retrain (pp)",
        "seed 11",
        "seed 12",
        "passes",
        "reading",
        "lam",
    ]
    assert first.blocks[0].body[5][0] == "5 *"
    assert all(line.startswith("rule oracle") for page in (first, second) for line in page.notes[:1])
    beyond = trial_lines(group([105.0, 3.0], [1.0], rule="validation").studies["adaprob"][0])[1]
    assert [line[2] for line in beyond] == ["beyond margin", "3"]


# -- what may be compared ----------------------------------------------------------------------------------------------


def test_files_of_one_search_differ_in_its_seed_alone() -> None:
    first = results(studies(seed=1)[0], [1.0])
    with pytest.raises(InputError, match=r"must have different search\.seed, got \[1, 1\]"):
        group_studies([first, first])
    other = SearchFile.parse(search_text(seed=2).replace("lag: 3", "lag: 4"), REGISTRY)
    with pytest.raises(InputError, match=r"must differ in search\.seed only, got other lag"):
        group_studies([first, results(studies_of(other, REGISTRY)[0], [1.0])])
    assert len(group_studies([first, results(studies(rule="validation")[0], [1.0])])) == 2  # two rules: two groups


@pytest.mark.parametrize("rule", ["oracle", "validation"])
def test_every_rule_is_explained(rule: str) -> None:
    text = search_text(rule).replace("{kind: selective, class: 3, count: 25}", "{kind: class, class: 3}")
    search = SearchFile.parse(text, REGISTRY)
    (actual,) = group_studies([results(Study.create(search, target, REGISTRY), [1.0]) for target in search.targets])
    first, *_ = caption(actual)
    assert first.startswith(f"rule {rule}_class: mean ")
    assert first.endswith("; values: mean over model seeds 11, 12")
    assert ("other classes at most 1 pp above" in first) == (rule == "validation")


# -- a store -----------------------------------------------------------------------------------------------------------


def test_trials_are_read_from_a_store_with_their_passes(tmp_path: Path) -> None:
    """Cells are committed by hand: a model of seed s has 10 s forward and s backward examples, Retrain errors of 0."""
    file = tmp_path / "search.yaml"
    file.write_text(search_text())
    search, store = SearchFile.load(file, REGISTRY), Store.open(tmp_path / "store")
    for study in studies_of(search, REGISTRY):
        stored = StoredTrials(store, study.key)
        stored.describe(study.document)
        for number, error in enumerate((30.0, 12.0)):
            params = stored.create(number, dict(results(study, [0.0, 0.0]).trials[number].params))
            commit(store, trial_cells(search, study.target, params, REGISTRY), error)
    (actual,) = load_searches(str(tmp_path / "store"), [str(file)])
    (adaprob,) = actual.studies["adaprob"]
    assert [trial.values for trial in adaprob.trials] == [(30.0,), (12.0,)]
    assert adaprob.passes == (11 * (11 + 12),) * 2
    assert [study["label"] for study in stored_studies(store)] == sorted(
        ["adaprob", "finetune"], key=lambda label: actual.studies[label][0].study.key
    )


def commit(store: Store, cells: Any, error: float) -> None:
    """Commit all cells of a trial that are not done."""
    for cell in cells.cells.values():
        attempt = store.begin(cell.key, cell.identity, owner="test", run="first")
        if attempt is None:
            continue
        if cell.stage == "evaluate":
            attempt.write(RECORD, f'{{"key": "{cell.key}"}}'.encode())
        of_retrain = cell.label == "retrain"
        errors = ("forget_error_percent", "retain_error_percent", "test_error_percent")
        facts = dict.fromkeys(errors, 0.0 if of_retrain else error)
        seed = cell.settings.seed
        attempt.commit({**facts, "forward_examples": 10 * seed, "backward_examples": seed})


def test_a_store_without_trials_is_named(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(search_text())
    Store.open(tmp_path / "store")
    with pytest.raises(InputError, match=r"must have trials of .*search\.yaml, got none; run adaprob-ray search first"):
        load_searches(str(tmp_path / "store"), [str(file)])
