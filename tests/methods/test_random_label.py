"""RandomLabel against its equation, by hand. The contract of all methods is in test_contract.py."""

from __future__ import annotations

import dataclasses
import json

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from adaprob_ray import contract
from adaprob_ray.contract import RECIPE, Case
from adaprob_ray.methods.random_label import wrong_labels
from adaprob_ray.training.loop import set_mode


@given(labels=st.lists(st.integers(0, 4), min_size=1), classes=st.integers(5, 9), seed=st.integers(0, 1000))
def test_no_label_is_the_true_one(labels: list[int], classes: int, seed: int) -> None:
    true = torch.tensor(labels)
    wrong = wrong_labels(true, classes, torch.Generator().manual_seed(seed))
    assert not (wrong == true).any()
    assert 0 <= int(wrong.min()) <= int(wrong.max()) < classes


def test_every_other_class_is_as_likely() -> None:
    wrong = wrong_labels(torch.full((30_000,), 2), 4, torch.Generator().manual_seed(1))
    shares = torch.bincount(wrong, minlength=4) / len(wrong)
    torch.testing.assert_close(shares, torch.tensor([1 / 3, 1 / 3, 0, 1 / 3]), rtol=0, atol=0.02)


def test_two_epochs_of_one_batch_are_two_gradient_steps() -> None:
    """In float64, so that only rounding differs. The labels of both epochs are the same."""
    recipe = dataclasses.replace(RECIPE, decay_to_start=0.1, batch_norm="frozen", weight_decay=0.0)
    case = Case("random_label", json.dumps({"epochs": 2, "batch_size": 1000, "lr": 0.02, "momentum": 0.0}))
    model, split = contract.original(), contract.make_split(contract.make_parts(), case.cls.needs)
    generator = contract.make_context(frozenset()).generator("wrong_labels")
    labels = split.train.labels.clone()
    labels[split.forget.rows] = wrong_labels(split.forget.labels, 10, generator)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    set_mode(model, recipe.batch_norm)
    for _ in range(2):
        loss = functional.cross_entropy(model(split.train.pixels.select(split.train.rows)), labels)
        distance = sum((p - s).square().sum() for p, s in zip(model.parameters(), start, strict=True))
        gradients = torch.autograd.grad(loss + 0.1 / 2 * distance, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.02 * gradient
    after = contract.attempt(case, recipe=recipe).after
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-10)
