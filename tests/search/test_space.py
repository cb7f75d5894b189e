"""Spaces: what a method declares, what a file gives, and where the default settings are in them."""

from __future__ import annotations

from typing import Any

import pytest
from search_world import SEARCH, in_order, parse, study_of
from small_world import with_value

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.search.space import (
    Alternatives,
    Space,
    declared_space,
    default_values,
    first_values,
    settings_of,
    values_outside,
)
from adaprob_ray.settings import Choice, Int, Log, Uniform, hyperparameters
from adaprob_ray.sweep.method_choices import REFERENCES

READING: dict[str, dict[str, Any]] = {
    "eq1": {"reference": "original", "totals": "pseudo"},
    "script": {"reference": "pseudo", "totals": "pseudo"},
}


def space_of(label: str, document: dict[str, Any]) -> Space:
    (target,) = (target for target in parse(document).targets if target.label == label)
    return target.space


@pytest.mark.parametrize("method", sorted(REGISTRY.methods.keys() - set(REFERENCES)))
def test_the_defaults_of_a_method_lie_in_its_declared_space(method: str) -> None:
    cls = REGISTRY.methods[method]
    space = declared_space(cls, {})
    defaults = {name: getattr(cls(), name) for name in space}
    starts = {
        name: hyperparameters(cls)[name].search_start for name, value in defaults.items() if isinstance(value, str)
    }
    assert default_values(cls, {}, space) == defaults | starts
    assert starts == ({"lr": 5e-3} if method == "adaprob" else {})


def test_a_fixed_field_is_not_searched() -> None:
    space = space_of("scrub", with_value(SEARCH, "methods.scrub", {"lr": 0.01}))
    assert set(space) == set(declared_space(REGISTRY.methods["scrub"], {})) - {"lr"}


def test_the_section_of_a_label_replaces_what_its_method_declares() -> None:
    section = {
        "lr": {"uniform": [0.1, 1]},
        "epochs": {"choice": [1, 5]},
        "reading": {"choice": READING},
        "lam": {"log": [0.5, 2]},
    }
    space = space_of("adaprob", with_value(SEARCH, "search.space.adaprob", section))
    assert list(space) == ["lr", "epochs", "reading", "lam"]
    assert space == {
        "lr": Uniform(0.1, 1.0),
        "epochs": Choice(1, 5),
        "reading": Alternatives(READING),
        "lam": Log(0.5, 2.0),
    }


def test_an_empty_section_is_the_declared_space() -> None:
    document = with_value(SEARCH, "search.space.scrub", {})
    assert space_of("scrub", document) == declared_space(REGISTRY.methods["scrub"], {})


def test_an_option_sets_its_fields() -> None:
    space: Space = {"lr": Log(0.1, 1.0), "reading": Alternatives(READING)}
    assert settings_of(space, {"lr": 0.5, "reading": "eq1"}) == {"lr": 0.5, **READING["eq1"]}


@pytest.mark.parametrize(
    ("space", "fixed", "values"),
    [
        ({"lr": Log(1e-4, 1e-1)}, {}, {"lr": 5e-3}),
        ({"lr": Log(1e-2, 1e-1)}, {}, None),
        ({"lr": Choice("auto", 0.01)}, {}, {"lr": "auto"}),
        ({"lr": Choice(5e-3, 0.01)}, {}, None),
        ({"epochs": Int(1, 5), "lam": Choice(0.5, 1.0)}, {}, {"epochs": 5, "lam": 1.0}),
        ({"epochs": Int(1, 4)}, {}, None),
        ({"lam": Choice(0.5, 2.0)}, {}, None),
        ({"reading": Alternatives(READING)}, {}, {"reading": "eq1"}),
        ({"reading": Alternatives(READING)}, {"pseudo": "random"}, {"reading": "eq1"}),
        ({"reading": Alternatives({"script": READING["script"], "late": {"lam": 2.0}})}, {}, None),
        ({"eta": Log(0.1, 1.0)}, {"solver": "dual_ascent"}, None),
    ],
)
def test_the_default_settings_in_a_space(space: Space, fixed: dict[str, Any], values: dict[str, Any] | None) -> None:
    assert default_values(REGISTRY.methods["adaprob"], fixed, space) == values


def test_a_list_in_an_option_equals_the_tuple_of_the_default() -> None:
    space: Space = {"decay": Alternatives({"none": {"milestones": [100]}, "paper": {"milestones": [3, 5, 9]}})}
    assert default_values(REGISTRY.methods["scrub"], {}, space) == {"decay": "paper"}


@pytest.mark.parametrize(
    ("values", "outside"),
    [
        ({"lr": 0.5, "epochs": 2, "reading": "eq1"}, []),
        ({"lr": 1, "epochs": 2, "reading": "eq1"}, []),
        ({"lr": 5.0, "epochs": 2, "reading": "eq1"}, ["lr = 5.0"]),
        ({"lr": "0.5", "epochs": 2, "reading": "eq1"}, ["lr = '0.5'"]),
        ({"lr": 0.5, "epochs": 2.5, "reading": "eq1"}, ["epochs = 2.5"]),
        ({"lr": 0.5, "reading": ["eq1"]}, ["no epochs", "reading = ['eq1']"]),
        ({"lr": 0.5, "epochs": 2, "reading": "eq2", "lam": 1.0}, ["reading = 'eq2'", "lam = 1.0"]),
    ],
)
def test_values_that_no_trial_can_have(values: dict[str, Any], outside: list[str]) -> None:
    space: Space = {"lr": Log(0.1, 1.0), "epochs": Int(1, 3), "reading": Alternatives(READING)}
    assert values_outside(space, values) == outside


def test_the_first_point_of_a_space() -> None:
    space: Space = {"lr": Log(0.1, 1.0), "epochs": Int(2, 3), "lam": Choice(3.0, 1.0), "reading": Alternatives(READING)}
    assert first_values(space) == {"lr": 0.1, "epochs": 2, "lam": 3.0, "reading": "eq1"}


@pytest.mark.parametrize("method", ["adaprob", "scrub", "neggrad_plus", "bad_teacher"])
def test_a_search_draws_valid_settings_only(method: str) -> None:
    study = study_of(with_value(SEARCH, f"methods.{method}", {}), method)
    for trial in in_order(study, 15, lambda params: (params["lr"],)):
        assert not values_outside(study.target.space, trial.params)
        REGISTRY.methods[method](**settings_of(study.target.space, trial.params))
