"""What a sweep that asks for relearning expands to, and what it may not ask for."""

from __future__ import annotations

from typing import Any

import pytest
from small_world import BASE, WORLD, expand, keys, with_bumped_revision, with_value

from adaprob_ray.errors import InputError
from adaprob_ray.settings import as_mapping
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.select import select_cells

WITH_RELEARN = {**BASE, "metrics": [*BASE["metrics"], "relearn"], "keep": {"unlearn": "weights"}}


def of(cells: dict[str, Cell], stage: str) -> list[Cell]:
    return [cell for cell in cells.values() if cell.stage == stage]


def faults(document: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        expand(document)
    return caught.value.faults


def test_one_relearn_cell_for_each_model_and_forget_request_and_none_unasked() -> None:
    document = with_value(
        WITH_RELEARN, "grid.forget", [{"kind": "class", "class": 0}, {"kind": "selective", "class": 1, "count": 5}]
    )
    document = with_value(document, "methods", {"scrub": {}, "twin": {"method": "scrub"}, "adaprob": {}})
    document = with_value(document, "repeats", 2)
    cells = expand(document)
    # Seeds x requests x (3 references, 2 methods x 2 repeats); the twin shares scrub's models, and their relearning.
    assert len(of(cells, "relearn")) == 2 * 2 * (3 + 2 * 2)
    assert len(of(cells, "evaluate")) == 2 * 2 * (3 + 3 * 2)
    assert len({(c.parents["model"], str(c.settings.forget)) for c in of(cells, "relearn")}) == 28
    unasked = expand(with_value(document, "metrics", ["errors"]))
    assert not of(unasked, "relearn")
    assert len(cells) == len(unasked) + 28


def test_models_are_the_same_whether_relearning_is_asked_for_or_not() -> None:
    without, with_it = expand(BASE), expand(WITH_RELEARN)
    model_stages = ("pretrain", "train", "unlearn")
    assert keys(without, *model_stages) == keys(with_it, *model_stages)
    assert keys(without, "evaluate").isdisjoint(keys(with_it, "evaluate"))


def test_an_evaluation_waits_for_the_relearning_of_its_model() -> None:
    cells = expand(WITH_RELEARN)
    position = {key: number for number, key in enumerate(cells)}
    for cell in of(cells, "evaluate"):
        relearned = cells[cell.parents["relearn"]]
        assert relearned.stage == "relearn"
        assert relearned.parents == {"model": cell.parents["model"], "original": cell.parents["original"]}
        for name in ("method", "dataset", "architecture", "forget", "seed", "repeat", "precision"):
            assert getattr(relearned.settings, name) == getattr(cell.settings, name)
        assert relearned.keep == "outputs"
        assert position[relearned.parents["model"]] < position[relearned.key] < position[cell.key]


def test_an_evaluation_is_not_ready_before_the_relearning() -> None:
    cells = expand(WITH_RELEARN)
    plan = Plan(cells, done=cells.keys() - keys(cells, "relearn", "evaluate"))
    assert {cell.key for cell in plan.ready()} == keys(cells, "relearn")
    late = of(cells, "relearn")[0]
    plan = Plan(cells, done=cells.keys() - {late.key} - keys(cells, "evaluate"))
    waiting = {cell.key for cell in of(cells, "evaluate") if plan.state(cell.key) == "waiting"}
    assert waiting == {cell.key for cell in of(cells, "evaluate") if cell.parents["relearn"] == late.key}
    assert waiting


def test_only_finds_relearn_cells_and_what_they_need() -> None:
    selection = select_cells(expand(WITH_RELEARN), "stage=relearn,method=scrub,seed=1")
    assert [cell.stage for cell in selection.values()] == ["train", "unlearn", "relearn"]


def test_resources_name_the_stage() -> None:
    for cell in expand(with_value(WITH_RELEARN, "resources", {"relearn": {"cpu": 3}})).values():
        assert cell.resources.cpu == (3 if cell.stage == "relearn" else 1)


# -- settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, 0.01),
        ({"train": {"recipe": "small"}}, 0.1),
        ({"train": {"recipe": "small"}, "relearn": {"lr": 0.5}}, 0.5),
        ({"train": {"recipe": "pretrain"}, "relearn": {"lr": 0.3}}, 0.3),
        ({"train": {}}, 0.01),
    ],
)
def test_the_rate_is_that_of_the_recipe_unless_written(changes: dict[str, Any], rate: float) -> None:
    settings = [cell.settings.relearn for cell in of(expand({**WITH_RELEARN, **changes}), "relearn")]
    assert settings
    assert all(as_mapping(options) == {"lr": rate, "epochs": 100} for options in settings)


def test_a_setting_of_relearning_moves_only_relearning_and_what_is_below() -> None:
    before, after = expand(WITH_RELEARN), expand(with_value(WITH_RELEARN, "relearn", {"lr": 0.5}))
    for stage in tuple(WORLD.stages):
        assert (keys(before, stage) == keys(after, stage)) is (stage not in ("relearn", "evaluate")), stage
    assert expand(with_value(WITH_RELEARN, "relearn", {"lr": 0.01, "epochs": 100})).keys() == before.keys()


@pytest.mark.parametrize(
    ("kind", "name", "moved"),
    [
        ("stages", "relearn", {"relearn", "evaluate"}),
        ("metrics", "relearn", {"evaluate"}),
        ("stages", "unlearn", {"unlearn", "relearn", "evaluate"}),
        ("stages", "train", {"train", "unlearn", "relearn", "evaluate"}),
    ],
)
def test_a_revision_moves_what_it_makes(kind: str, name: str, moved: set[str]) -> None:
    before, after = expand(WITH_RELEARN), expand(WITH_RELEARN, with_bumped_revision(kind, name))
    removed_stages = {cell.stage for key, cell in before.items() if key not in after}
    assert removed_stages == moved


def test_the_revision_of_relearning_moves_nothing_where_it_is_not_asked_for() -> None:
    for kind in ("stages", "metrics"):
        assert expand(BASE, with_bumped_revision(kind, "relearn")).keys() == expand(BASE).keys()


# -- refusals -----------------------------------------------------------------------------------------------------------


def test_dropped_weights_are_a_fault_among_others() -> None:
    document = with_value(with_value(WITH_RELEARN, "keep", {}), "methods.scrub.lr", -1.0)
    refused, rate = faults(document)
    assert "write keep: {unlearn: weights}" in refused
    assert "methods.scrub: lr" in rate
    under_where = [{"where": {}, "with": {"method": "adaprob"}}]
    (refused,) = faults({**WITH_RELEARN, "keep": {}, "methods": {"mine": under_where}})
    assert "write keep: {unlearn: weights}" in refused


def test_where_nothing_is_unlearned_no_weights_are_asked_for() -> None:
    cells = expand(
        {**WITH_RELEARN, "keep": {}, "methods": {"original": {}, "plain": {"method": "retrain", "variant": "plain"}}}
    )
    assert len(of(cells, "relearn")) == 2 * 4


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({**BASE, "relearn": {"lr": 0.1}}, "relearn: has no effect unless metrics lists relearn"),
        ({**WITH_RELEARN, "relearn": {"rate": 0.1}}, "relearn: unknown key 'rate'"),
        (
            {**WITH_RELEARN, "relearn": {"lr": "1e-3"}},
            "relearn.lr: must be written 0.001 (a number) or '1e-3' (text), got 1e-3, which YAML 1.1 reads as text",
        ),
        ({**WITH_RELEARN, "relearn": {"epochs": 0}}, "relearn: epochs: must be an integer of at least 1, got 0"),
        ({**WITH_RELEARN, "train": {"recipe": "pretrain"}}, "relearn: lr: must be written for recipe 'pretrain'"),
        ({**WITH_RELEARN, "train": {"recipe": "huge"}}, "train: unknown recipe 'huge'"),
        ({**WITH_RELEARN, "relearn": 3}, "relearn: "),
    ],
)
def test_what_is_wrong_is_one_line(document: dict[str, Any], words: str) -> None:
    (fault,) = faults(document)
    assert words in fault


def test_the_world_knows_the_recipes_of_relearning() -> None:
    assert set(WORLD.metric_stages["relearn"].defaults) <= set(WORLD.recipes)
