"""Requests one after another: cells, keys, faults and texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_world import BASE, WORLD, Scrub, expand, keys, with_value

from adaprob_ray.data.split import request_positions
from adaprob_ray.errors import InputError
from adaprob_ray.sizes import Sizes
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.forget_request import ForgetRequest, forget_words, sequence_length
from adaprob_ray.sweep.select import select_cells, with_parents
from adaprob_ray.sweep.sweep import Sweep

FIRST, SECOND, THIRD = (
    {"kind": "selective", "class": 1, "count": 5},
    {"kind": "selective", "class": 0, "count": 7},
    {"indices": [3, 1]},
)
ONE = with_value(BASE, "grid.forget", FIRST)
TWO = with_value(BASE, "grid.forget", {"sequence": [FIRST, SECOND]})
THREE = with_value(BASE, "grid.forget", {"sequence": [FIRST, SECOND, THIRD]})


def of(cells: Mapping[str, Cell], stage: str, step: int, **values: Any) -> list[Cell]:
    """The cells of a stage at one step, from 1, with these settings."""
    return [
        cell
        for cell in cells.values()
        if cell.stage == stage
        and cell.forget is not None
        and len(cell.forget.after) == step - 1
        and all(getattr(cell.settings, name) == value for name, value in values.items())
    ]


def test_the_cells_of_a_step_are_those_of_the_shorter_sequence() -> None:
    one, two, three = (expand(document).keys() for document in (ONE, TWO, THREE))
    assert one < two < three
    assert expand(with_value(BASE, "grid.forget", {"sequence": [FIRST]})).keys() == one
    assert expand(with_value(BASE, "grid.forget", [FIRST, {"sequence": [dict(FIRST), SECOND]}])).keys() == two
    other_order = expand(with_value(BASE, "grid.forget", {"sequence": [SECOND, FIRST]}))
    assert not (keys(other_order, "unlearn", "evaluate") & two)


def test_each_step_starts_from_the_model_of_the_step_before() -> None:
    cells = expand(with_value(with_value(THREE, "repeats", 2), "methods.scrub", {"lr": [0.1, 0.2]}))
    for step in (2, 3):
        assert len(of(cells, "unlearn", step)) == 2 * 2 * 2, "settings, repeats and seeds"
        for cell in of(cells, "unlearn", step):
            before = cells[cell.parents["previous"]]
            assert before in of(cells, "unlearn", step - 1)
            for name in ("hyper", "repeat", "seed"):
                assert getattr(before.settings, name) == getattr(cell.settings, name)
            assert before.parents["original"] == cell.parents["original"]
            assert before.forget == cell.forget.previous  # type: ignore[union-attr]
    assert all("previous" not in cell.parents for cell in of(cells, "unlearn", 1))


def test_models_that_a_step_starts_from_keep_their_weights() -> None:
    cells = expand(THREE)
    assert {cell.keep for step in (1, 2) for cell in of(cells, "unlearn", step)} == {"weights"}
    assert {cell.keep for cell in of(cells, "unlearn", 3)} == {"outputs"}
    assert {cell.keep for cell in of(expand(ONE), "unlearn", 1)} == {"outputs"}


def test_original_and_retrained_models_of_a_step() -> None:
    cells = expand(TWO)
    originals = {cell.key for cell in cells.values() if cell.stage == "train" and cell.label == "original"}
    assert len(originals) == 2, "one for each seed"
    (evaluated,) = of(cells, "evaluate", 2, label="scrub", seed=1)
    assert evaluated.parents["original"] in originals
    retrained = cells[evaluated.parents["retrain"]]
    assert retrained.forget == evaluated.forget
    assert retrained.parents == {}, "from the start"


def test_one_group_of_records_for_each_step() -> None:
    texts = list(dict.fromkeys(str(cell.forget) for cell in expand(THREE).values() if cell.stage == "evaluate"))
    last = str(ForgetRequest.from_document(THIRD))
    assert texts == ["5of1", "5of1+7of0", f"5of1+7of0+{last}"]
    assert forget_words(texts[1], samples="samples ") == "request 2: 7 samples of class 0, after 5 samples of class 1"
    for step in ForgetRequest.steps(THREE["grid"]["forget"]):
        assert ForgetRequest.from_record(step.record_columns()) == step
        assert ForgetRequest.from_document(step.document()) == step


def test_long_sequences_have_short_texts() -> None:
    steps = ForgetRequest.steps({"sequence": [{"kind": "selective", "class": c, "count": 100} for c in range(40)]})
    texts = list(map(str, steps))
    assert len(set(texts)) == 40
    assert max(map(len, texts)) < 100
    assert {sequence_length(text, texts) for text in texts} == {1}, "which sequence a digest is of is not known"
    assert forget_words(texts[39]).startswith("request 40: 100 of class 39, after 39 others (")


def test_a_method_that_declines_a_step_is_left_out_of_the_later_ones() -> None:
    class Picky(Scrub):
        def skip(self, sizes: Sizes, architecture: Any) -> str | None:
            return f"takes at most 6 samples, got {sizes.forget}" if sizes.forget > 6 else None

    registry = replace(WORLD, methods={**WORLD.methods, "picky": Picky})
    sweep = Sweep.parse(yaml.safe_dump(with_value(THREE, "methods.picky", {})), registry)
    steps = [
        len(cell.forget.after) + 1
        for cell in sweep.cells.values()
        if cell.stage == "unlearn" and cell.method == "picky"
    ]  # type: ignore[union-attr]
    assert steps == [1, 1], "one for each seed"
    second, third = (line for line in map(str, sweep.skipped))
    assert second.endswith("5of1+7of0: takes at most 6 samples, got 7")
    assert third.endswith("has no model for the request before, 5of1+7of0, with these settings")


def test_sizes_of_a_step() -> None:
    cells = expand(THREE)
    (unlearned,) = of(cells, "unlearn", 3, seed=1)
    sizes = WORLD.sizes(unlearned.settings, unlearned.settings.recipe, unlearned.forget)  # type: ignore[attr-defined]
    assert (sizes.forget, sizes.retain) == (2, 50 - 5 - 7 - 2)
    (retrained,) = of(cells, "train", 3, seed=1, method="retrain")
    sizes = WORLD.sizes(retrained.settings, retrained.settings.recipe, retrained.forget)  # type: ignore[attr-defined]
    assert (sizes.forget, sizes.retain) == (14, 36)


def test_only_selects_a_step_with_those_before() -> None:
    cells = expand(THREE)
    (wanted,) = of(cells, "unlearn", 2, seed=1)
    selected = select_cells(cells, "stage=unlearn,forget=5of1+7of0,seed=1")
    assert selected.keys() == with_parents(cells, [wanted.key]).keys()
    assert [len(cell.forget.after) for cell in selected.values() if cell.stage == "unlearn"] == [0, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ([], "must be {sequence: list of at least one request}"),
        (FIRST, "must be {sequence: list of at least one request}"),
        ([FIRST, {"kind": "selective", "class": 1, "count": 3}], "request 2 must name .* got 3 samples of class 1 in both"),
        ([FIRST, SECOND, {"kind": "class", "class": 1}], "request 3 must name .* got class 1 in both"),
        ([{"indices": [4, 2, 9]}, {"indices": [9, 3, 4]}], "request 2 must name .* got 4, 9 in both"),
        ([FIRST, {"sequence": [SECOND]}], "request 2: must be a single request, got a sequence"),
        ([FIRST, {"kind": "class", "class": 9}], "request 2: dots: class must be 0 to 1, got 9"),
        ([{"kind": "class", "class": 0}, {"kind": "class", "class": 1}], "forgetting 50 samples in 2 requests leaves nothing"),
    ],
)  # fmt: skip
def test_faults_of_sequences(sequence: Any, message: str) -> None:
    with pytest.raises(InputError) as stop:
        expand(with_value(BASE, "grid.forget", {"sequence": sequence}))
    assert re.search(message, str(stop.value))


def test_files_of_indices_in_a_sequence(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[1, 3]", encoding="utf-8")
    document = with_value(BASE, "grid.forget", {"sequence": [FIRST, SECOND, {"indices": "rows.json"}]})
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    assert Sweep.load(tmp_path / "sweep.yaml", WORLD).cells.keys() == expand(THREE).keys()


def test_positions_of_a_step_and_of_those_before() -> None:
    labels = np.array([0, 1, 0, 1, 2, 2, 2, 1])
    first, second, third = ForgetRequest.steps(
        {"sequence": [{"kind": "class", "class": 1}, {"indices": [4, 0]}, {"indices": [7]}]}
    )
    assert [sorted(rows) for rows in request_positions(labels, first, 2)] == [[1, 3, 7], []]
    rows, before = request_positions(labels, second, 2)
    assert (list(rows), sorted(before)) == ([0, 4], [1, 3, 7])
    with pytest.raises(
        InputError, match="request 3 must name samples that are not forgotten yet, but request 1 already forgets 7"
    ):
        request_positions(labels, third, 2)
    with pytest.raises(InputError, match="must leave samples to retain, got all 2 in 2 requests"):
        request_positions(labels[:2], ForgetRequest.steps({"sequence": [{"indices": [0]}, {"indices": [1]}]})[1], 1)
