"""BiasShift: which number it changes, and by how much. The contract of all methods is in test_contract.py."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaprob_ray import contract
from adaprob_ray.contract import Case
from adaprob_ray.data.batches import Subset
from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Split
from adaprob_ray.methods.bias_shift import CLEAR_OF_TIE, BiasShift, margins, shift_for_error
from adaprob_ray.training.loop import predict

LABEL = contract.REQUEST.class_index


def error(model: torch.nn.Module, subset: Subset) -> float:
    """Share of the samples of the forgotten class that are classified as another class."""
    logits, labels = predict(model, subset), subset.labels
    return float((logits.argmax(1) != LABEL)[labels == LABEL].double().mean())


def after_shift(case: Case) -> torch.nn.Module:
    model = contract.original()
    model.load_state_dict(contract.attempt(case).after)
    return model


@given(
    values=st.lists(st.floats(-50, 50, allow_nan=False), min_size=1, max_size=30, unique=True), share=st.floats(0, 1)
)
def test_the_shift_makes_as_many_wrong_as_it_must(values: list[float], share: float) -> None:
    before = torch.tensor(values, dtype=torch.float64)
    wrong = round(share * len(values))
    shift = shift_for_error(before, wrong)
    assert shift >= 0
    assert int((before - shift < 0).sum()) >= wrong
    if shift > 0:
        assert int((before - (shift - 2 * CLEAR_OF_TIE) < 0).sum()) < wrong


def test_margins_compare_with_the_best_other_class() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])
    assert margins(logits, 0).tolist() == [1.0, -5.0]


@pytest.mark.parametrize("settings", [{}, {"shift": 2.0}])
def test_one_bias_changes_and_nothing_else(settings: dict[str, float]) -> None:
    case, before = Case("bias_shift", json.dumps(settings)), contract.original().state_dict()
    after = contract.attempt(case).after
    changed = [(name, torch.nonzero(after[name] != before[name]).tolist()) for name in before]
    assert [item for item in changed if item[1]] == [("classifier.bias", [[LABEL]])]


def test_a_number_is_subtracted() -> None:
    before = contract.original().classifier.bias[LABEL]
    after = after_shift(Case("bias_shift", json.dumps({"shift": 2.0}))).classifier.bias[LABEL]
    torch.testing.assert_close(before - after, torch.tensor(2.0, dtype=before.dtype))


def test_auto_brings_the_forget_error_to_that_of_validation_samples() -> None:
    split = contract.make_split(contract.make_parts(), frozenset({"retain", "forget", "validation"}))
    held_out = error(contract.original(), split.validation)
    assert 0 < held_out < 1
    forget_error = error(after_shift(Case("bias_shift")), split.forget)
    assert forget_error == pytest.approx(held_out, abs=0.5 / len(split.forget) + 1e-9)


class WithoutBias(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = torch.nn.Linear(3, 2, bias=False)


def test_a_classifier_without_a_bias_is_declined_before_the_run() -> None:
    sizes = contract.sizes(contract.make_parts())
    assert BiasShift().skip(sizes, WithoutBias()) == "network: must have a classifier with a bias, got one without"


def test_auto_declines_samples_of_several_classes() -> None:
    parts = contract.make_parts()
    split = contract.make_split(parts, BiasShift.needs)
    several = {name: getattr(split, name) for name in BiasShift.needs}
    several["forget"] = parts.train.with_rows(parts.train.rows[:30])
    assert len(several["forget"].labels.unique()) > 1
    context = contract.make_context(BiasShift.needs)
    with pytest.raises(InputError, match="shift: must be a number where samples of several classes are forgotten"):
        BiasShift().unlearn(contract.original(), Split(needs=BiasShift.needs, subsets=several), context)
