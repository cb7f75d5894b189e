"""A default rate that wrecks the network is lowered; one that the user sets is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small import Convolutional, images, seeded, trained
from torch import nn

from adaprob_ray.errors import Diverged
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.settings import hyperparameter, settings_dataclass
from adaprob_ray.training.auto_rate import BACKOFF
from adaprob_ray.unlearning import api, prepare
from adaprob_ray.unlearning.lower_rates import MAX_TRIES

DATA, HELD_OUT = images(), images(60, seed=1)
NETWORK = trained(seeded(Convolutional), DATA)


@settings_dataclass
class Wrecks(Unlearning):
    """Adds `lr` × 100 to the bias of class 0, or diverges above `diverges_above`."""

    name = "wrecks"
    needs = frozenset({"retain", "forget"})

    lr: float = hyperparameter(default=1.0, gt=0)
    diverges_above: float = hyperparameter(default=1e9)

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=0, backward=0)

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        with torch.no_grad():
            model(next(split.retain.batches(10)).images)
        if self.lr > self.diverges_above:
            raise Diverged("the loss is not finite")
        with torch.no_grad():
            model.network.fc.bias[0] += 100 * self.lr  # type: ignore[union-attr, operator]
        return model


@pytest.fixture
def unlearned(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(prepare.METHODS, "wrecks", Wrecks)

    def run(**arguments: Any) -> api.Unlearned:
        values = {"forget": [1, 2], "method": "wrecks", "validation": HELD_OUT, "test": HELD_OUT, "progress": False}
        return api.unlearn(NETWORK, DATA, **{**values, **arguments})

    return run


def test_the_rate_is_lowered_from_the_original_until_the_error_stays(unlearned: Any) -> None:
    result = unlearned(max_drop=10.0)
    tries = result.run.facts.get("rate_tries")
    assert 1 < tries <= MAX_TRIES
    rate = result.run.plan.method.lr
    assert rate == pytest.approx(1 / BACKOFF ** (tries - 1))
    torch.testing.assert_close(
        result.model.fc.bias[0] - NETWORK.fc.bias[0],  # type: ignore[union-attr]
        torch.tensor(100 * rate, dtype=torch.float32),
    )


def test_the_warning_says_what_each_rate_did(unlearned: Any) -> None:
    first = unlearned(max_drop=10.0).warnings[0]
    assert first.startswith("lr 1, the default, raised the error by ")
    assert first.endswith("pass lr to choose the rate yourself")


def test_divergence_lowers_the_rate_too(unlearned: Any) -> None:
    result = unlearned(max_drop=100.0, diverges_above=0.5)
    assert result.run.facts["rate_tries"] == 2
    assert result.warnings[0].startswith("lr 1, the default, made the training diverge: the result is from lr 0.333")


def test_a_rate_of_the_user_is_taken_as_it_is(unlearned: Any) -> None:
    result = unlearned(max_drop=10.0, lr=1.0)
    assert result.run.plan.method.lr == 1.0
    assert "rate_tries" not in result.run.facts
    assert "rose from" in result.warnings[0]
    with pytest.raises(Diverged):
        unlearned(lr=1.0, diverges_above=0.5)


def test_a_default_that_works_runs_once_and_says_nothing(unlearned: Any) -> None:
    result = unlearned(max_drop=100.0)
    assert result.run.plan.method.lr == 1.0
    assert "other rates" not in result.run.seconds
    assert not result.warnings


def test_passes_and_seconds_of_all_tries_count() -> None:
    arguments: dict[str, Any] = {"forget": "class:1", "validation": HELD_OUT, "max_drop": 0.0, "progress": False}
    once = api.unlearn(NETWORK, DATA, method="scrub", lr=0.005, epochs=1, **arguments)
    several = api.unlearn(NETWORK, DATA, method="scrub", epochs=1, **arguments)
    tries = several.run.facts.get("rate_tries", 1)
    assert several.run.cost["backward_examples"] == tries * once.run.cost["backward_examples"]
    assert ("other rates" in several.run.seconds) == (tries > 1)


def test_it_gives_up_after_the_last_try(unlearned: Any) -> None:
    with pytest.raises(Diverged):
        unlearned(diverges_above=1e-6)


@settings_dataclass
class WrecksFromHalf(Wrecks):
    """As Wrecks, at rates of at least a half."""

    name = "wrecks_from_half"

    lr: float = hyperparameter(default=1.0, ge=0.5)


def test_a_method_that_takes_no_lower_rate_keeps_its_result(unlearned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(prepare.METHODS, "wrecks_from_half", WrecksFromHalf)
    result = unlearned(method="wrecks_from_half", max_drop=10.0)
    assert result.run.plan.method.lr == 1.0
    assert "rate_tries" not in result.run.facts
    assert result.run.is_beyond_limit


def test_without_a_result_within_the_limit_it_is_the_one_that_costs_least(unlearned: Any) -> None:
    result = unlearned(max_drop=0.0)
    assert result.run.facts["rate_tries"] == MAX_TRIES
    assert result.run.is_beyond_limit
    assert result.run.plan.method.lr == pytest.approx(1 / BACKOFF ** (MAX_TRIES - 1))


def test_passes_of_a_diverged_try_count(unlearned: Any) -> None:
    once = unlearned(max_drop=100.0, lr=0.1)
    twice = unlearned(max_drop=100.0, diverges_above=0.5)
    assert twice.run.cost["forward_examples"] == 2 * once.run.cost["forward_examples"] > 0
