"""How a method is declared: its settings, their ranges, its docstring, and the networks that it takes."""

from __future__ import annotations

import dataclasses
import inspect
import json

import pytest
import torch

from adaprob_ray import contract
from adaprob_ray.catalogue import ARCHITECTURES
from adaprob_ray.contract.cases import Case, cases, methods
from adaprob_ray.contract.fixtures import every_case
from adaprob_ray.settings import Choice, Int, Log, as_mapping, hyperparameters, parse_settings
from adaprob_ray.user_code.source import is_path

BUILT_IN_NETWORKS = [name for name in ARCHITECTURES if not is_path(name)]
anything = every_case(cases("train") + cases("unlearn"))
every_method = pytest.mark.parametrize("name", methods())


@anything
def test_settings_survive_json(case: Case) -> None:
    method = case.build()
    parsed, faults = parse_settings(case.cls, json.loads(json.dumps(as_mapping(method))), case.method)
    assert faults == []
    assert parsed == method


@every_method
def test_it_is_a_frozen_keyword_only_dataclass_whose_defaults_are_in_range(name: str) -> None:
    cls = methods()[name]
    assert parse_settings(cls, {}, name) == (cls(), [])
    assert cls.__dataclass_params__.frozen
    assert all(item.kw_only for item in dataclasses.fields(cls))
    assert isinstance(cls.revision, int)
    assert cls.revision >= 1


@every_method
def test_the_search_space_names_fields_and_stays_in_their_ranges(name: str) -> None:
    cls = methods()[name]
    for key, field in hyperparameters(cls).items():
        if field.search is None:
            continue
        if isinstance(field.search, Choice):
            bounds = field.search.values
            assert len(bounds) > 1
        else:
            bounds = (field.search.low, field.search.high)
            assert bounds[0] < bounds[1]
            assert not isinstance(field.search, Log) or bounds[0] > 0
            assert isinstance(field.search, Int) is isinstance(bounds[0], int)
        for bound in bounds:
            assert getattr(cls(**{key: bound}), key) == bound


@every_method
def test_the_docstring_names_needs_and_cost(name: str) -> None:
    text = " ".join((inspect.getmodule(methods()[name]).__doc__ or "").lower().split())
    assert "needs" in text, f"{name}: the docstring of its module does not say what the method needs"
    assert "cost" in text, f"{name}: the docstring of its module does not say what an epoch costs"
    words = {"initial_state": "initial", "fresh_model": "random"}
    for need in methods()[name].needs:
        assert words.get(need, need) in text, f"{name}: the docstring does not name {need}"


@every_method
def test_unlearn_is_short_enough_to_read(name: str) -> None:
    cls = methods()[name]
    if cls.stage == "unlearn":
        assert len(inspect.getsource(cls.unlearn).splitlines()) <= 40


@every_method
@pytest.mark.parametrize("architecture", BUILT_IN_NETWORKS)
def test_it_skips_none_of_our_networks_which_may_be_on_the_meta_device(name: str, architecture: str) -> None:
    with torch.device("meta"):
        model = ARCHITECTURES[architecture].build(classes=10, channels=1, filters=0.1)
    assert methods()[name]().skip(contract.sizes(contract.make_parts()), model) is None
