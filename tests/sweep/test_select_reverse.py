"""Conditions for given cells, and what --rerun selects: the same grammar as --only, in the other direction."""

from __future__ import annotations

import pytest

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.select import conditions_for, select_cells, select_to_recompute
from adaprob_ray.sweep.sweep import Sweep

CELLS = Sweep.parse(
    """\
name: reverse
grid:
  dataset: digits
  architecture: allcnn
  forget: [{kind: class, class: 3}, {kind: selective, class: 3, count: 25}]
  seed: [1, 2, 3]
train: {recipe: large}
methods:
  mine: {method: finetune, epochs: 2}
  other: {method: finetune, epochs: 2}
  adaprob: {lam: [0.5, 1.0]}
metrics: [errors]
""",
    REGISTRY,
).cells
EVALUATIONS = [cell for cell in CELLS.values() if cell.stage == "evaluate"]


def evaluations(conditions: str) -> list[Cell]:
    return [cell for cell in select_cells(CELLS, conditions).values() if cell.stage == "evaluate"]


@pytest.mark.parametrize(
    "conditions",
    [
        "label=mine",
        "label=mine,forget=class",
        "method=finetune,seed=2",
        "method=finetune,seed>=2",
        "seed<=2",
        "label=adaprob,lam=0.5",
        "forget=selective,seed=3",
        "label=retrain_independent",
    ],
)
def test_the_conditions_select_just_the_cells_that_they_are_made_for(conditions: str) -> None:
    wanted = evaluations(conditions)
    assert 0 < len(wanted) < len(EVALUATIONS)
    again = conditions_for(wanted, CELLS.values())
    assert evaluations(again) == wanted, again


def test_all_cells_and_none_need_no_condition() -> None:
    assert conditions_for(EVALUATIONS, CELLS.values()) == ""
    assert conditions_for([], CELLS.values()) == ""


def test_where_no_condition_tells_them_apart_others_are_selected_too_and_none_is_left_out() -> None:
    wanted = [EVALUATIONS[0], EVALUATIONS[-1]]
    conditions = conditions_for(wanted, CELLS.values())
    assert set(wanted) <= set(evaluations(conditions) if conditions else EVALUATIONS)


def counts(conditions: str) -> dict[str, int]:
    stages = [cell.stage for cell in select_to_recompute(CELLS, conditions).values()]
    return {stage: stages.count(stage) for stage in dict.fromkeys(stages)}


def test_models_of_a_label_are_recomputed_with_all_evaluations_of_them() -> None:
    """Labels mine and other share their models: six of them, each evaluated under both labels."""
    assert counts("label=mine") == {"unlearn": 6, "evaluate": 12}
    assert counts("method=finetune,seed=1,forget=class") == {"unlearn": 1, "evaluate": 2}
    assert counts("lam=0.5") == {"unlearn": 6, "evaluate": 6}
    assert counts("stage=evaluate,label=mine") == {"evaluate": 6}
    assert counts("stage=unlearn,method=finetune,seed<2") == {"unlearn": 2, "evaluate": 4}


def test_an_original_takes_everything_that_was_unlearned_from_it_along() -> None:
    """With it the methods' models and all evaluations of its seed, but no retrained model."""
    again = select_to_recompute(CELLS, "stage=train,method=original,seed=1")
    seed_1 = {key for key, cell in CELLS.items() if cell.settings.seed == 1}
    retrained = {key for key, cell in CELLS.items() if cell.stage == "train" and cell.method != "original"}
    assert again.keys() == seed_1 - retrained
