"""CF-k and EU-k: what trains, what stays, and where EU-k starts."""

from __future__ import annotations

import copy
import dataclasses
import json
import re

import pytest
import torch
from torch import nn

from adaprob_ray import contract
from adaprob_ray.contract import RECIPE, Case
from adaprob_ray.errors import InputError
from adaprob_ray.models.resnet import ResNet18

LAST_STAGE = "features.7."  # of the bench's network
STILL = {"lr": 1e-30, "lr_later": 1e-30, "epochs": 1}
ROUGH = {"momentum": 0.9, "lr": 0.05}
HEAVY = dataclasses.replace(RECIPE, weight_decay=0.5, decay_to_start=0.1)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Up to the steps of STILL, which show where a weight is 0."""
    return float((a - b).abs().max()) < 1e-25


def cases() -> list[Case]:
    return [Case(name, json.dumps({**settings, **ROUGH})) for name, settings in [("cf_k", {}), ("eu_k", {"epochs": 3})]]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.method)
def test_frozen_parameters_stay_bit_identical_through_momentum_and_weight_decay(case: Case) -> None:
    trial = contract.attempt(case, recipe=HEAVY)
    for name, _ in trial.model.named_parameters():
        is_frozen = torch.equal(trial.after[name], trial.before[name])
        # ALL-CNN's classifier is reset to its start by EU-k and not by CF-k.
        changes = name.startswith(LAST_STAGE) or (case.method == "eu_k" and name.startswith("classifier."))
        assert is_frozen is not changes, name
    assert all(parameter.requires_grad for parameter in trial.model.parameters())  # as before


def test_euk_by_the_code_starts_where_the_original_did() -> None:
    """Stage from the initial state, ALL-CNN's classifier too, running statistics and all else from the original."""
    after = contract.attempt(
        Case("eu_k", json.dumps(STILL)), recipe=dataclasses.replace(RECIPE, batch_norm="frozen")
    ).after
    start, original = contract.state(contract.new_model()), contract.state(contract.original())
    parameters = {name for name, _ in contract.original().named_parameters()}
    for name, tensor in after.items():
        restore = name in parameters and name.startswith((LAST_STAGE, "classifier."))
        assert same(tensor, (start if restore else original)[name]), name


def test_euk_at_random_starts_from_a_fresh_network() -> None:
    case = Case("eu_k", json.dumps({**STILL, "reset": "random"}))
    trial = contract.attempt(case, recipe=dataclasses.replace(RECIPE, batch_norm="frozen"))
    fresh = contract.state(contract.make_context(case.cls.needs).fresh_model())
    original = contract.state(contract.original())
    for name, _ in trial.model.named_parameters():
        restore = name.startswith((LAST_STAGE, "classifier."))
        assert same(trial.after[name], (fresh if restore else original)[name]), name


def test_euk_leaves_the_classifier_of_resnet_alone() -> None:
    model = ResNet18(classes=10, channels=1, filters=0.08)
    start, before = ResNet18(classes=10, channels=1, filters=0.08).state_dict(), copy.deepcopy(model.state_dict())
    case = Case("eu_k", json.dumps({**STILL, "batch_size": 148}))
    context = contract.make_context(case.cls.needs, initial_state=lambda: start)
    after = (
        case.build().unlearn(model, contract.make_split(contract.make_parts(), case.cls.needs), context).state_dict()
    )
    for name, _ in model.named_parameters():
        restore = name.startswith("stages.3.")
        assert same(after[name], (start if restore else before)[name]), name


def test_the_rate_is_scrubs_after_the_first_milestone() -> None:
    """Protocol §5.4: epochs 0-10 at lr, then lr_later · 0.1 per milestone passed."""
    method = Case("eu_k", '{"lr": 0.02, "lr_later": 0.01, "epochs": 25}').build()
    rates = [method.rate(epoch) for epoch in range(1, 26)]
    assert rates == pytest.approx([0.02] * 11 + [1e-3] * 5 + [1e-4] * 5 + [1e-5] * 4)


@pytest.mark.parametrize(
    ("name", "missing"), [("cf_k", "last_stage"), ("eu_k", "classifier, last_stage, reset_layers")]
)
def test_a_network_without_last_layers_is_declined_by_name(name: str, missing: str) -> None:
    method, model = Case(name).build(), nn.Sequential(nn.Linear(2, 2))
    reason = f"network Sequential: must have {missing} (see UnlearnableModel), got no {missing}"
    assert method.skip(contract.sizes(contract.make_parts()), model) == reason
    with pytest.raises(InputError, match=re.escape(reason)):
        method.unlearn(
            model, contract.make_split(contract.make_parts(), method.needs), contract.make_context(method.needs)
        )
