"""Requests that name training samples by their indices: keys, faults, and files of indices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_world import BASE, WORLD, expand, with_value

from adaprob_ray.data.split import forget_positions
from adaprob_ray.errors import InputError
from adaprob_ray.sweep.forget_request import ForgetRequest, forget_words
from adaprob_ray.sweep.select import select_cells
from adaprob_ray.sweep.sweep import Sweep

ROWS = [31, 4, 15, 9, 26]
LIST = with_value(BASE, "grid.forget", {"indices": ROWS})


def write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def faults_of(forget: Any, folder: Path = Path()) -> str:
    with pytest.raises(InputError) as stop:
        Sweep.parse(yaml.safe_dump(with_value(BASE, "grid.forget", forget)), WORLD, folder)
    return str(stop.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.json", json.dumps(ROWS)),
        ("other_name.json", json.dumps(ROWS[::-1])),
        ("rows.txt", "# asked for in May\n26\n9\n15\n4\n31\n"),
    ],
)
def test_keys_depend_on_the_rows_and_not_on_their_order_or_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    document = with_value(BASE, "grid.forget", {"indices": name})
    cells = Sweep.load(write(tmp_path / "sweep.yaml", document), WORLD).cells
    assert cells.keys() == expand(LIST).keys()
    assert cells.keys() != expand(with_value(BASE, "grid.forget", {"indices": [*ROWS, 5]})).keys()


def test_the_text_of_a_sweep_has_the_indices_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS), encoding="utf-8")
    file = write(tmp_path / "sweep.yaml", with_value(BASE, "grid.forget", [{"indices": "rows.json"}]))
    sweep = Sweep.load(file, WORLD)
    (tmp_path / "rows.json").unlink()
    assert Sweep.parse(sweep.text, WORLD, Path("nowhere")).cells.keys() == sweep.cells.keys()
    text = yaml.safe_dump(LIST)
    assert Sweep.parse(text, WORLD).text == text, "a file that names no other stays as it is"


def test_settings_that_depend_on_a_file_of_indices(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS), encoding="utf-8")
    document = with_value(BASE, "grid.forget", [{"indices": ROWS}, {"indices": [1, 2]}])
    entries = [
        {"where": {"forget": {"indices": "rows.json"}}, "with": {"lr": 0.5}},
        {"where": {"forget": {"indices": [2, 1]}}, "with": {"lr": 0.25}},
    ]
    sweep = Sweep.load(write(tmp_path / "sweep.yaml", with_value(document, "methods.scrub", entries)), WORLD)
    rates = {str(cell.forget): cell.settings.hyper["lr"] for cell in sweep.cells.values() if cell.stage == "unlearn"}  # type: ignore[attr-defined]
    texts = [str(ForgetRequest.from_document({"indices": rows})) for rows in (ROWS, [1, 2])]
    assert rates == dict(zip(texts, (0.5, 0.25), strict=True))


@pytest.mark.parametrize(
    ("forget", "message"),
    [
        ({"indices": []}, "indices: must be a file, or a list of at least one index, got []"),
        ({"indices": None}, "indices: must be a file, or a list of at least one index, got None"),
        ({"indices": [3, 1, 3]}, "indices: must name each sample once, got 3 more than once"),
        ({"indices": [3, 50]}, "indices: must be 0 to 49 (the training images of dots), got 50"),
        ({"indices": [-1]}, "indices: must be 0 to 49 (the training images of dots), got -1"),
        ({"indices": [3, 1.5, True]}, "indices: must be integers, got 1.5, True"),
        ({"indices": list(range(50))}, "dots: forgetting all 50 training images leaves nothing to retain"),
        ({"indices": [3], "count": 1}, "{indices: FILE or list} or {sequence: list of these}, got"),
        ([{"indices": [1, 2]}, {"indices": [2, 1]}], "is given more than once"),
    ],
)
def test_faults_of_indices(forget: Any, message: str) -> None:
    assert faults_of(forget).startswith("grid.forget: ")
    assert message in faults_of(forget)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("missing.json", None, "must be a file of indices, or a list of them, got "),
        ("rows.json", '{"rows": [1]}', "must be a list of at least one index, got {"),
        ("rows.json", "[1, 2.5]", "entry 1: must be an index, got 2.5"),
        ("rows.json", "[1, ", "must be JSON"),
        ("rows.txt", "1\ntwo\n", "line 2: must be an index, got 'two'"),
        ("rows.json", "[7, 7]", "must name each sample once, got 7 more than once"),
        ("rows.json", "[70]", "must be 0 to 49 (the training images of dots), got 70"),
    ],
)
def test_faults_of_files_are_reported_with_all_others(
    name: str, text: str | None, message: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    document = with_value(with_value(BASE, "grid.forget", {"indices": name}), "repeats", 0)
    with pytest.raises(InputError) as stop:
        Sweep.load(write(tmp_path / "sweep.yaml", document), WORLD)
    (of_repeats,) = (fault for fault in stop.value.faults if "repeats" in fault)
    (of_file,) = (fault for fault in stop.value.faults if fault != of_repeats)
    assert ": grid.forget: indices: " in of_file
    assert message in of_file


def test_indices_as_text() -> None:
    request = ForgetRequest.from_document({"indices": ROWS})
    assert request == ForgetRequest.from_document(request.document())
    assert request.count == 5
    assert forget_words(str(request)) == f"5 samples (indices {str(request)[-8:]})"
    with pytest.raises(ValueError, match="must be such as"):
        ForgetRequest.parse(str(request))
    assert ForgetRequest.from_record(request.record_columns()) == request
    assert ForgetRequest("class", 5).record_columns() == {"forget": "class5"}
    assert ForgetRequest.from_record({"forget": "25of3", "forget_request": float("nan")}).count == 25


def test_conditions_on_indices() -> None:
    cells = expand(with_value(BASE, "grid.forget", [{"indices": ROWS}, {"kind": "class", "class": 1}]))
    text = str(ForgetRequest.from_document({"indices": ROWS}))
    for condition in ("forget=indices", f"forget={text}", "count=5"):
        selected = select_cells(cells, f"stage=unlearn,{condition}")
        assert {str(cell.forget) for cell in selected.values() if cell.stage == "unlearn"} == {text}


def test_positions_are_the_indices_and_their_copies() -> None:
    labels = np.array([0, 1, 0, 1, 2, 2])
    request = ForgetRequest.from_document({"indices": [4, 1]})
    assert list(forget_positions(labels, request, 3)) == [1, 4]
    assert list(forget_positions(labels, request, 3, np.array([0, 1, 1, 3, 4, 3]))) == [1, 4, 2]
    with pytest.raises(InputError, match="indices: must be 0 to 3, got 4"):
        forget_positions(labels[:4], request, 3)
