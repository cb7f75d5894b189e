"""Keys: what they are a hash of, and that they do not move."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_world import BASE, WORLD, expand, with_value

from adaprob_ray.recipe import Recipe
from adaprob_ray.sweep.cell import KEY_LENGTH, Cell, Resources, canonical
from adaprob_ray.sweep.cell_settings import ForgetRequest, UnlearnSettings


@dataclass(frozen=True)
class Document:
    """Settings that are nothing but their JSON."""

    values: dict[str, Any]

    def document(self) -> dict[str, Any]:
        return self.values

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError as error:
            raise AttributeError(name) from error


DOCUMENT = {
    "method": "scrub",
    "hyper": {"lr": 0.005, "milestones": (3, 5), "epochs": 5},
    "dataset": {"name": "digits", "test_pool": "clean"},
    "architecture": {"name": "allcnn", "filters": 0.12},
    "forget": {"kind": "selective", "class": 3, "count": 25},
    "seed": 1,
    "repeat": 0,
}
UNLEARN = UnlearnSettings.from_document({**DOCUMENT, "recipe": {"epochs": 2}, "precision": "float32"})
REVISIONS = {"stage:unlearn": 1, "method:scrub": 2}
CELL = Cell("unlearn", Document(DOCUMENT), {"original": "0" * 32}, REVISIONS, Resources(cpu=1), "outputs")
TYPED = replace(CELL, settings=UNLEARN)


def test_golden_key_of_a_cell() -> None:
    """See also golden_keys.json: a store holds years of work under its keys, and a key that moves loses that work."""
    assert CELL.key == "b2b75548e7c1b0c4b1dcf349c2ed0376"


def test_the_key_is_the_hash_of_the_sorted_json_of_the_identity() -> None:
    text = json.dumps(json.loads(json.dumps(CELL.identity)), sort_keys=True, separators=(",", ":"))
    assert CELL.key == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert len(CELL.key) == KEY_LENGTH


def turned(value: Any) -> Any:
    """The same mapping with its keys the other way round, all the way down."""
    return {name: turned(value[name]) for name in reversed(value)} if isinstance(value, dict) else value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(settings=st.dictionaries(st.text(), JSON, max_size=4))
def test_the_key_sees_values_not_order(settings: dict[str, Any]) -> None:
    assert Cell("train", Document(settings)).key == Cell("train", Document(turned(settings))).key


@given(one=st.dictionaries(st.text(), JSON, max_size=3), other=st.dictionaries(st.text(), JSON, max_size=3))
def test_keys_are_equal_where_and_only_where_the_settings_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (Cell("train", Document(one)).key == Cell("train", Document(other)).key) is same


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "evaluate"},
        {"settings": Document({**DOCUMENT, "seed": 2})},
        {"settings": Document({**DOCUMENT, "hyper": {**DOCUMENT["hyper"], "lr": 0.0050000000000000001 * 2}})},
        {"parents": {"original": "1" * 32}},
        {"parents": {"model": "0" * 32}},
        {"parents": {}},
        {"revisions": {"stage:unlearn": 1, "method:scrub": 3}},
        {"revisions": {"stage:unlearn": 1}},
    ],
)
def test_stage_settings_parents_and_revisions_are_in_the_key(change: dict[str, Any]) -> None:
    assert replace(CELL, **change).key != CELL.key


@pytest.mark.parametrize(
    "change", [{"resources": Resources(gpu=1, exclusive=True)}, {"keep": "weights"}, {"priority": 7}]
)
def test_resources_and_keep_are_not_in_the_key(change: dict[str, Any]) -> None:
    other = replace(CELL, **change)
    assert other.key == CELL.key
    assert other == CELL
    assert hash(other) == hash(CELL)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_key_of_nan_or_infinity(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"lr": number})


@pytest.mark.parametrize("stage", ["pretrain", "train", "unlearn", "relearn", "evaluate"])
def test_a_cell_survives_json(stage: str) -> None:
    """What a store keeps of a cell gives the same cell, and the same key."""
    document = {**BASE, "metrics": ["errors", "relearn"], "keep": {"unlearn": "weights"}}
    cells = expand(with_value(document, "grid.dataset", "cifar10"))
    for cell in (cell for cell in cells.values() if cell.stage == stage):
        parsed = WORLD.cell(json.loads(json.dumps(cell.identity)))
        assert parsed.key == cell.key
        assert canonical(parsed.settings.document()) == canonical(cell.settings.document())
        assert type(parsed.settings) is type(cell.settings)


def test_settings_of_a_cell_are_frozen_and_typed() -> None:
    with pytest.raises(FrozenInstanceError):
        UNLEARN.seed = 2  # type: ignore[misc]
    assert UNLEARN.forget == ForgetRequest("selective", 3, 25)
    assert UNLEARN.recipe == Recipe(epochs=2)
    assert UNLEARN.document()["forget"] == DOCUMENT["forget"]


def test_titles_are_unique_and_readable() -> None:
    requests = [{"kind": "class", "class": 1}, {"kind": "selective", "class": 1, "count": 5}]
    cells = expand(with_value(with_value(BASE, "grid.forget", requests), "repeats", 2))
    titles = [cell.title for cell in cells.values()]
    assert len(set(titles)) == len(titles) == len(cells)
    assert TYPED.title == f"unlearn-scrub-digits-allcnn-25of3-s1-{TYPED.key[:8]}"
    assert any(title.startswith("unlearn-scrub-dots-allcnn-class1-s2-r1-") for title in titles)


@pytest.mark.parametrize(
    ("document", "text"),
    [({"kind": "class", "class": 5}, "class5"), ({"kind": "selective", "class": 0, "count": 25}, "25of0")],
)
def test_forget_requests_as_text(document: dict[str, Any], text: str) -> None:
    request = ForgetRequest.from_document(document)
    assert str(request) == text
    assert ForgetRequest.parse(text) == request
    assert request.document() == document


@pytest.mark.parametrize("text", ["", "class", "of", "5of", "of5", "classx", "xof5"])
def test_other_texts_are_no_forget_requests(text: str) -> None:
    with pytest.raises(ValueError, match="must be such as class5 or 25of0"):
        ForgetRequest.parse(text)


LIGHT = ["adaprob_ray", "adaprob_ray.sweep.cell", "adaprob_ray.sweep.plan", "adaprob_ray.sweep.expand"] + [
    f"adaprob_ray.{name}" for name in ("settings", "recipe", "store", "store.records", "errors", "cli")
]


@pytest.mark.parametrize("together", [LIGHT])
def test_planner_records_store_errors_and_the_command_load_neither_torch_nor_ray(together: list[str]) -> None:
    """One fresh process for all, which looks after each import."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'torchvision', 'ray', 'optuna', 'tensorboard', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} loads {sorted(heavy)}'\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *together], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
