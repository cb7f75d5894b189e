"""Tables 6 and 7: the paper's lines, the notebooks', and what our own sweep files resolve to."""

from __future__ import annotations

import csv
from collections import defaultdict

import pytest

from adaprob_ray.reporting.records.load import load_sweep
from analysis.paper import training_recipes as recipes
from analysis.paper.training_recipes import RecipeSetting, recipe_lines, recipe_numbers, recipe_page
from analysis.registry import NOTEBOOKS, SWEEPS


@pytest.fixture(scope="module")
def lines() -> dict[str, list[RecipeSetting]]:
    sweeps = [load_sweep(SWEEPS / f"{name}.yaml") for name in NOTEBOOKS]
    return {table: recipe_lines(table, sweeps) for table in ("6", "7")}


def test_our_training_is_the_papers_and_the_notebooks(lines: dict[str, list[RecipeSetting]]) -> None:
    assert len(lines["7"]) == 8 * 6
    for line in lines["7"]:
        theirs, ours = (text.partition(" (") for text in (line.notebooks, line.ours))
        assert float(line.paper) in {float(value) for value in ours[0].split(", ")}, line
        assert float(line.paper) == float(theirs[0]), line
        if line.setting == "weight_decay":
            assert theirs[2] == ours[2] != ""


def test_the_two_filters_of_pretraining_are_not_those_of_the_notebooks(lines: dict[str, list[RecipeSetting]]) -> None:
    actual = defaultdict(dict)
    for line in lines["6"]:
        actual[line.name][line.setting] = line
    assert (actual["ALLCNN"]["filter"].paper, actual["ALLCNN"]["filter"].notebooks) == ("0.4", "1")
    assert actual["ALLCNN"]["filter"].ours == "1"
    assert actual["ResNet"]["filter"].ours == actual["ResNet"]["filter"].notebooks == "0.4, 1"
    assert {line.ours for line in lines["6"] if line.setting == "learning_rate"} == {"0.1"}


@pytest.mark.parametrize("table", ["6", "7"])
def test_page_and_csv_hold_every_line(lines: dict[str, list[RecipeSetting]], table: str) -> None:
    (block,) = recipe_page(table, lines[table]).blocks
    assert len(block.body) == 3 * len({line.name for line in lines[table]})
    rows = list(csv.DictReader(recipe_numbers(table, lines[table]).splitlines()))
    assert [(row["name"], row["setting"], row["ours"]) for row in rows] == [
        (line.name, line.setting, line.ours) for line in lines[table]
    ]


@pytest.mark.parametrize(
    ("paper", "notebooks", "ours", "whose"),
    [
        ("0.4", "1", "1", recipes.FROM_NOTEBOOKS),
        ("3", "3", "1, 2, 3", recipes.FROM_PAPER),
        ("5e-4", "0.0005 (optimiser)", "0.0005 (optimiser)", recipes.FROM_PAPER),
        ("0.1", "0.1, 0.1 (0.05 in a notebook)", "0.2", recipes.FROM_NEITHER),
        ("0.1", "–", "–", recipes.FROM_NEITHER),
    ],
)
def test_whose_setting_ours_is(paper: str, notebooks: str, ours: str, whose: str) -> None:
    assert recipes.RecipeSetting("some", "lr", paper, notebooks, ours).whose == whose
