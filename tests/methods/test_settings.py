"""Settings of methods are validated on construction: each field refuses what its declaration excludes, by name and range."""

from __future__ import annotations

import re
import typing
from typing import Any

import pytest

from adaprob_ray.catalogue import METHODS
from adaprob_ray.methods.adaprob import AdaProb
from adaprob_ray.methods.scrub import Scrub
from adaprob_ray.projection import SOLVERS
from adaprob_ray.settings import Hyperparameter, hyperparameters

LIMITS = {"ge": "of at least", "gt": "greater than", "le": "of at most", "lt": "less than"}
FIELDS = [(cls, field) for cls in METHODS.values() for field in hyperparameters(cls).values()]


def outside(field: Hyperparameter, limit: str) -> Any:
    """A value of the field's type that one bound, and no other, excludes."""
    step = {"ge": -1, "gt": 0, "le": 1, "lt": 0}[limit]
    is_float = float in (field.annotation, *typing.get_args(field.annotation))
    value = field.bounds[limit] + step
    return (value,) if typing.get_origin(field.annotation) is tuple else float(value) if is_float else int(value)


@pytest.mark.parametrize(
    ("cls", "field", "limit"),
    [pytest.param(c, f, limit, id=f"{c.name}-{f.name}-{limit}") for c, f in FIELDS for limit in f.bounds],
)
def test_a_value_out_of_range_is_refused_by_field_value_and_range(cls: Any, field: Hyperparameter, limit: str) -> None:
    value = outside(field, limit)
    shown = value[0] if isinstance(value, tuple) else value
    with pytest.raises(ValueError, match=rf"^{field.name}: must be .*got {re.escape(repr(shown))}$") as raised:
        cls(**{field.name: value})
    assert f"{LIMITS[limit]} {field.bounds[limit]:g}" in str(raised.value)


@pytest.mark.parametrize(
    ("cls", "field"), [pytest.param(c, f, id=f"{c.name}-{f.name}") for c, f in FIELDS if f.choices]
)
def test_a_word_that_is_no_choice_is_refused_by_field_word_and_choices(cls: Any, field: Hyperparameter) -> None:
    message = f"{field.name}: must be one of {', '.join(field.choices)}, got 'foo'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cls(**{field.name: "foo"})


@pytest.mark.parametrize(("cls", "field"), [pytest.param(c, f, id=f"{c.name}-{f.name}") for c, f in FIELDS])
def test_a_value_of_another_type_is_refused_by_field(cls: Any, field: Hyperparameter) -> None:
    with pytest.raises(ValueError, match=f"^{field.name}: must be .*, got "):
        cls(**{field.name: object()})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "lr: must be a number greater than 0, got -1.0"),
        ({"optimizer": "foo"}, "optimizer: must be one of sgd, adam, got 'foo'"),
        ({"milestones": "x"}, "milestones: must be a list of integers of at least 1, got 'x'"),
        ({"milestones": (3, 0)}, "milestones: must be a list of integers of at least 1, got 0"),
        ({"lr": float("nan")}, "lr: must be a finite number, got nan"),
    ],
)
def test_scrub_refuses_wrong_settings_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Scrub(**settings)


def test_all_numeric_settings_have_a_bound() -> None:
    """So that the tests above leave out no number."""
    numeric = {
        f"{cls.name}.{field.name}": field.bounds
        for cls, field in FIELDS
        if {int, float} & {field.annotation, *typing.get_args(field.annotation)}
    }
    assert len(numeric) > 40
    assert [name for name, bounds in numeric.items() if not bounds] == []


def test_adaprob_offers_the_solvers_of_the_projection() -> None:
    assert set(hyperparameters(AdaProb)["solver"].choices) == set(SOLVERS)
