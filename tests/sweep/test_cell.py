"""Keys: what they are a hash of, and that they do not move."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_world import BASE, changed, expand

from adaprob_ray.sweep.cell import KEY_LENGTH, Cell, canonical, format_forget

CELL = Cell(
    "unlearn",
    {
        "method": "scrub",
        "hyper": {"lr": 0.005, "milestones": (3, 5), "epochs": 5},
        "dataset": {"name": "digits", "test_pool": "clean"},
        "architecture": {"name": "allcnn", "filters": 0.12},
        "forget": {"kind": "selective", "class": 3, "count": 25},
        "seed": 1,
        "repeat": 0,
    },
    {"original": "0" * 32},
    {"stage:unlearn": 1, "method:scrub": 2},
    {"cpu": 1},
    "outputs",
)

# Written once: a store holds years of work under such keys, and a key that moves throws that work away.
GOLDEN = {
    "pretrain": "02d693c10090d1514c886a8b0e461129",
    "train": "6b1ed91975e516569ddf8f3bc7d51c75",
    "unlearn": "edfba556dca6140ff5e14ec53968d816",
    "evaluate": "162b5c2fa2dd9c2aeffc6f1413bb0e45",
}


def test_golden_key_of_a_cell() -> None:
    assert CELL.key == "b2b75548e7c1b0c4b1dcf349c2ed0376"


def test_golden_keys_of_a_sweep() -> None:
    cells = expand(changed(changed(BASE, "grid.dataset", "cifar10"), "methods.scrub.lr", 0.25))
    chosen = {
        cell.stage: key
        for key, cell in cells.items()
        if cell.settings["seed"] == 1 and cell.settings.get("method", "scrub") in ("scrub", "original")
        if cell.stage in ("pretrain", "train") or cell.settings["method"] == "scrub"
    }
    assert chosen == GOLDEN


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
    assert Cell("train", settings).key == Cell("train", turned(settings)).key


@given(one=st.dictionaries(st.text(), JSON, max_size=3), other=st.dictionaries(st.text(), JSON, max_size=3))
def test_keys_are_equal_where_and_only_where_the_settings_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (Cell("train", one).key == Cell("train", other).key) is same


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "evaluate"},
        {"settings": {**CELL.settings, "seed": 2}},
        {"settings": {**CELL.settings, "hyper": {**CELL.settings["hyper"], "lr": 0.0050000000000000001 * 2}}},
        {"parents": {"original": "1" * 32}},
        {"parents": {"model": "0" * 32}},
        {"parents": {}},
        {"revisions": {"stage:unlearn": 1, "method:scrub": 3}},
        {"revisions": {"stage:unlearn": 1}},
    ],
)
def test_stage_settings_parents_and_revisions_are_in_the_key(change: dict[str, Any]) -> None:
    assert replace(CELL, **change).key != CELL.key


@pytest.mark.parametrize("change", [{"resources": {"gpu": 1, "exclusive": True}}, {"keep": "weights"}])
def test_resources_and_keep_are_not_in_the_key(change: dict[str, Any]) -> None:
    other = replace(CELL, **change)
    assert other.key == CELL.key
    assert other == CELL
    assert hash(other) == hash(CELL)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_key_of_nan_or_infinity(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"lr": number})


def test_a_cell_comes_through_json_whole() -> None:
    there = Cell.from_document(json.loads(json.dumps(CELL.document())))
    assert there.key == CELL.key
    assert (there.resources, there.keep) == (CELL.resources, CELL.keep)


def test_titles_are_unique_and_readable() -> None:
    requests = [{"kind": "class", "class": 1}, {"kind": "selective", "class": 1, "count": 5}]
    cells = expand(changed(changed(BASE, "grid.forget", requests), "repeats", 2))
    titles = [cell.title for cell in cells.values()]
    assert len(set(titles)) == len(titles) == len(cells)
    assert CELL.title == f"unlearn-scrub-digits-allcnn-25of3-s1-{CELL.key[:8]}"
    assert any(title.startswith("unlearn-scrub-dots-allcnn-class1-s2-r1-") for title in titles)


def test_forget_requests_in_words() -> None:
    assert format_forget({"kind": "class", "class": 5}) == "class5"
    assert format_forget({"kind": "selective", "class": 0, "count": 25}) == "25of0"


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
