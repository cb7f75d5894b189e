"""AdaProb at `lr: auto`: networks that a constant rate destroys stay as they were, and every rule of the search for a rate.

Where a rule is tested, the checks are scripted: the network passes through the samples as ever, and the check returns given
numbers, so that no rounding decides.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn

from adaprob_ray import contract
from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.contract import RECIPE, Case
from adaprob_ray.data.batches import Subset
from adaprob_ray.data.split import retain_positions
from adaprob_ray.errors import Diverged
from adaprob_ray.methods import adaprob
from adaprob_ray.methods.adaprob import DEFAULT_MAX_DROP, AdaProb
from adaprob_ray.methods.base import Split
from adaprob_ray.settings import as_mapping
from adaprob_ray.sweep.cell_settings import ForgetRequest
from adaprob_ray.sweep.sweep import Sweep
from adaprob_ray.training import auto_rate, sample_check
from adaprob_ray.training.auto_rate import BACKOFF, MAX_BACKOFFS, PATIENCE, TRIAL_RATES, auto_rate_cost
from adaprob_ray.training.batch_source import random_epoch
from adaprob_ray.training.loop import predict
from adaprob_ray.training.losses import soft_target_loss
from adaprob_ray.training.sample_check import RETAIN_TOLERANCE, SAMPLE_ROWS, Check, Samples

AUTO = Case("adaprob")
# The logits of the sharpened network are eight times the original's, and this rate is ten times AdaProb's old default.
SHARPENING, CONSTANT = 8.0, 0.05
REQUESTS = {"selective": contract.REQUEST, "class": ForgetRequest("class", 3)}
every_request = pytest.mark.parametrize("request_name", REQUESTS)


def split_of(request: ForgetRequest) -> Split:
    parts = contract.make_parts()
    forget, _ = parts.request_positions(request, contract.SEED)
    subsets = {
        "forget": parts.train.select(forget),
        "retain": parts.train.select(retain_positions(len(parts.train), forget)),
        "train": parts.train,
        "validation": parts.validation,
    }
    return Split(needs=AdaProb.needs | AdaProb.optional_needs, subsets=subsets)


def error_percent(model: nn.Module, subset: Subset) -> float:
    return 100 * float((predict(model, subset).argmax(1) != subset.labels).double().mean())


def sharpened(factor: float) -> nn.Module:
    """The original with its logits multiplied, and with them the gradients of the loss."""
    model = contract.original()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("classifier"):
                parameter.mul_(factor)
    return model


# -- networks that a constant rate destroys ------------------------------------------------------------------------------


@every_request
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_a_network_that_a_constant_rate_destroys_is_left_intact(request_name: str, batch_norm: str) -> None:
    """The bench has fewer retain rows than a sample, so that the tolerance holds for all of them."""
    split = split_of(REQUESTS[request_name])
    assert len(split.retain) <= SAMPLE_ROWS
    before = error_percent(sharpened(SHARPENING), split.retain)
    recipe = dataclasses.replace(RECIPE, batch_norm=batch_norm)
    rise = {CONSTANT: math.inf}
    for lr in (CONSTANT, "auto"):
        context = contract.make_context(AdaProb.needs, recipe=recipe)
        with contextlib.suppress(Diverged):
            model = AdaProb(lr=lr).unlearn(sharpened(SHARPENING), split, context)
            rise[lr] = error_percent(model, split.retain) - before
    assert rise[CONSTANT] > 10 > RETAIN_TOLERANCE >= rise["auto"]
    assert context.facts["best_epoch"] > 0, "it has not left the start alone"


@every_request
def test_the_forget_rows_are_forgotten_nevertheless(request_name: str) -> None:
    """Their part of Eq. (8) falls by a third at least, with targets that are uniform."""
    split, scores = split_of(REQUESTS[request_name]), {}
    method = AdaProb(reference="pseudo", epochs=20, batch_size=32)
    model = contract.original()
    for name in ("before", "after"):
        if name == "after":
            model = method.unlearn(model, split, contract.make_context(AdaProb.needs))
        log_q_NK = predict(model, split.forget).double().log_softmax(1)
        scores[name] = float(-log_q_NK.mean() - math.log(log_q_NK.shape[1]))  # KL(uniform ‖ q)
    assert scores["after"] < scores["before"] * 2 / 3


# -- the rules, with scripted checks -------------------------------------------------------------------------------------


def scripted_check(objective: float = 1.0, retain_error: float = 0.0, validation_error: float = 0.0) -> Check:
    return Check(objective=objective, retain_loss=0.1, retain_error=retain_error, validation_error=validation_error)


START = scripted_check()
BAD, GOOD = scripted_check(retain_error=RETAIN_TOLERANCE + 0.1), scripted_check(retain_error=RETAIN_TOLERANCE)
DROPPED = scripted_check(validation_error=DEFAULT_MAX_DROP + 0.1)


@contextlib.contextmanager
def scripted(checks: Sequence[Check]) -> Iterator[list[str]]:
    """Checks return these, the last one for ever. Yields the digests of the network at each, its statistics included."""
    real, digests = Samples.check, []

    def check(self: Samples, model: nn.Module, loss: Any) -> Check:
        real(self, model, loss)
        digests.append(contract.digest(contract.state(model)))
        return checks[min(len(digests), len(checks)) - 1]

    with mock.patch.object(Samples, "check", check):
        yield digests


def run(checks: Sequence[Check], **settings: Any) -> tuple[contract.Trial, list[str]]:
    """The start's check, that of rate 0 and that of the first rate come first."""
    with scripted([START, START, *checks]) as digests:
        trial = contract.attempt(Case("adaprob", json.dumps(settings)))
    return trial, digests


def rates(trial: contract.Trial) -> list[float]:
    return [scalars["lr"] for _, scalars in trial.reported if "lr" in scalars]


def test_the_trial_takes_the_first_rate_within_the_tolerances() -> None:
    too_high = scripted_check(objective=START.objective + auto_rate.TRIAL_SLACK + 1e-6)
    at_most = scripted_check(objective=START.objective + auto_rate.TRIAL_SLACK)
    trial, _ = run([BAD, too_high, at_most, GOOD])
    assert trial.facts["lr"] == TRIAL_RATES[2]
    trial, _ = run([*[BAD] * len(TRIAL_RATES), GOOD])
    assert trial.facts["lr"] == TRIAL_RATES[-1]


def test_the_trial_leaves_no_trace() -> None:
    """A rate that ends in NaN, tried before, changes no bit of what follows: weights, statistics, momentum and order."""
    digests = []
    for tried in ((1e150, 0.01), (0.01,)):
        with mock.patch.object(auto_rate, "TRIAL_RATES", tried):
            trial = contract.attempt(AUTO)
        assert trial.facts["lr"] == 0.01
        digests.append(contract.digest(trial.after))
    assert digests[0] == digests[1]


def test_a_violation_restores_the_best_state_and_divides_the_rate() -> None:
    """After the trial: one good check, a better one, and then only violations."""
    better = dataclasses.replace(GOOD, objective=0.5)
    trial, digests = run([GOOD, GOOD, better, BAD], epochs=20)
    assert trial.facts["lr"] == TRIAL_RATES[0]
    assert contract.digest(trial.after) == digests[4], "the state of the better check"
    assert trial.facts["best_epoch"] == 1.0
    assert trial.facts["lr_backoffs"] == MAX_BACKOFFS + 1
    assert trial.facts["stopped_by_max_drop"] == 0.0
    assert min(rates(trial)) == pytest.approx(TRIAL_RATES[0] / BACKOFF**MAX_BACKOFFS)
    assert len(digests) == 5 + MAX_BACKOFFS + 1


def test_after_a_violation_training_continues_from_the_restored_momentum() -> None:
    """Two runs that differ only in a violation that is undone end in the same state, if the rate stays the same."""
    order = contract.make_context(frozenset()).generator("auto_rate_shuffle")
    same = [next(contract.make_parts().train.batches(160, order))] * 4
    with (
        mock.patch.object(auto_rate, "BACKOFF", 1.0),
        mock.patch.object(auto_rate.AutoRateTraining, "_chunks", lambda self: chunks(same[: self.epochs])),
    ):
        plain, _ = run([GOOD, *(scripted_check(objective=1 / n) for n in (2, 3, 4))], epochs=3)
        undone, _ = run(
            [
                GOOD,
                scripted_check(objective=1 / 2),
                scripted_check(objective=1 / 3),
                BAD,
                scripted_check(objective=1 / 4),
            ],
            epochs=4,
        )
    assert undone.facts["lr_backoffs"] == 1.0
    assert contract.digest(plain.after) == contract.digest(undone.after)


def chunks(batches: Sequence[Any]) -> Iterator[Any]:
    for number, batch in enumerate(batches, 1):
        yield auto_rate._Chunk(batches=iter([batch]), epochs=float(number), ends_epoch=True)


def test_the_start_is_the_result_if_every_check_is_a_violation() -> None:
    trial, digests = run([GOOD, BAD], epochs=20)
    assert contract.digest(trial.after) == contract.digest(trial.before) == digests[0]
    assert (trial.facts["best_epoch"], trial.facts["lr_backoffs"]) == (0.0, MAX_BACKOFFS + 1.0)


def test_it_ends_where_the_objective_no_longer_improves() -> None:
    level = scripted_check(objective=0.5)
    slightly_lower = scripted_check(objective=0.5 * (1 - 0.9 * auto_rate.MIN_IMPROVEMENT))
    trial, digests = run([GOOD, level, slightly_lower], epochs=50)
    assert len(digests) == 3 + 1 + PATIENCE
    assert contract.digest(trial.after) == digests[4], "the lowest, even where it is no improvement to wait for"
    declared = AdaProb(epochs=50).cost(contract.sizes(contract.make_parts()))
    assert trial.passes.backward < declared.backward / 5
    lower = [scripted_check(objective=0.9**n) for n in range(101)]
    trial, digests = run([GOOD, *lower], epochs=50)
    assert len(digests) == 3 + 2 * 50, "two checks in an epoch of two steps"


def test_a_validation_error_above_max_drop_lowers_the_rate_and_then_ends_it() -> None:
    trial, digests = run([GOOD, GOOD, DROPPED], epochs=20)
    assert trial.facts["stopped_by_max_drop"] == 1.0
    assert contract.digest(trial.after) == digests[3], "the last state within max_drop"
    trial, _ = run([GOOD, GOOD, DROPPED], epochs=20, max_drop=DEFAULT_MAX_DROP + 0.2)
    assert (trial.facts["stopped_by_max_drop"], trial.facts["lr_backoffs"]) == (0.0, 0.0)
    trial, _ = run([GOOD, GOOD, *[BAD] * MAX_BACKOFFS, DROPPED], epochs=20)
    assert trial.facts["stopped_by_max_drop"] == 1.0


def test_without_validation_rows_nothing_is_checked_on_them() -> None:
    split = split_of(contract.REQUEST)
    empty = Subset(split.validation.pixels, split.validation.rows[:0])
    digests = set()
    for needs, subsets in (
        (AdaProb.needs, split.subsets),
        (split.needs, {**split.subsets, "validation": empty}),
        (split.needs, {name: part for name, part in split.subsets.items() if name != "validation"}),
    ):
        context = contract.make_context(AdaProb.needs)
        model = AdaProb().unlearn(contract.original(), Split(needs=needs, subsets=subsets), context)
        assert context.facts["stopped_by_max_drop"] == 0.0
        digests.add(contract.digest(contract.state(model)))
    assert len(digests) == 1


# -- samples and cost ----------------------------------------------------------------------------------------------------


def test_validation_rows_of_classes_that_are_forgotten_as_a_whole_are_left_out() -> None:
    generator = torch.Generator().manual_seed(1)
    for name, request in REQUESTS.items():
        split = split_of(request)
        samples = Samples.draw(split.retain, split.forget, split.validation, generator)
        classes = set(samples.validation.labels.tolist())
        assert (3 in classes) is (name == "selective")
        assert classes >= set(range(10)) - {3} & set(split.validation.labels.tolist())
        assert samples.forget_share == len(split.forget) / len(split.train)


def test_a_check_is_eq_8_on_the_samples_each_weighted_by_its_share() -> None:
    split, model = split_of(contract.REQUEST), contract.original()
    with mock.patch.object(sample_check, "SAMPLE_ROWS", 10):
        samples = Samples.draw(split.retain, split.forget, split.validation, torch.Generator().manual_seed(1))
    assert [len(part) for part in (samples.retain, samples.forget, samples.validation)] == [10, 10, 10]
    assert set(samples.retain.rows.tolist()) <= set(split.retain.rows.tolist())
    goal_NK = torch.rand(len(split.train), 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    goal_NK /= goal_NK.sum(1, keepdim=True)
    check = samples.check(model, soft_target_loss(goal_NK, torch.ones(len(split.train), dtype=torch.float64)))
    parts = []
    for part in (samples.forget, samples.retain):
        log_q_NK = predict(model, part).double().log_softmax(1)
        parts.append(float(nn.functional.kl_div(log_q_NK, goal_NK[part.rows], reduction="batchmean")))
    share = 12 / 160
    assert check.objective == pytest.approx(share * parts[0] + (1 - share) * parts[1], rel=1e-6)
    assert check.retain_error == error_percent(model, samples.retain)
    assert check.validation_error == error_percent(model, samples.validation)


def test_the_declared_cost_is_reached_where_the_trial_is_longest_and_nothing_ends_early() -> None:
    """It counts SAMPLE_ROWS validation rows a check; the bench has fewer."""
    lower = [scripted_check(objective=0.9**n) for n in range(20)]
    trial, digests = run([*[BAD] * len(TRIAL_RATES), *lower])
    parts = contract.make_parts()
    declared = AdaProb().cost(contract.sizes(parts))
    assert trial.passes.backward == declared.backward
    unused = len(digests) * (SAMPLE_ROWS - len(parts.validation))
    assert trial.passes.forward == declared.forward - unused


def test_checks_of_large_data_are_a_small_part_of_the_cost() -> None:
    sizes = dataclasses.replace(contract.sizes(contract.make_parts()), retain=49_900, forget=100)
    cost = auto_rate_cost(sizes, random_epoch(sizes.train, 128), epochs=1)
    assert cost.forward + 2 * cost.backward < 1.25 * 3 * sizes.train


# -- keys ----------------------------------------------------------------------------------------------------------------

SWEEP = """
name: rates
grid: {dataset: digits, architecture: {name: allcnn, filters: 0.1}, forget: {kind: class, class: 5}, seed: 1}
train: {recipe: large}
methods:
  auto: {method: adaprob}
  constant: {method: adaprob, lr: 5.0e-3}
metrics: [errors]
"""


def unlearn_keys() -> dict[Any, str]:
    cells = Sweep.parse(SWEEP, REGISTRY).cells.values()
    return {cell.settings.hyper["lr"]: cell.key for cell in cells if cell.stage == "unlearn"}


def test_the_revision_of_auto_moves_only_cells_at_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    before = unlearn_keys()
    monkeypatch.setattr(adaprob, "AUTO_RATE_REVISION", adaprob.AUTO_RATE_REVISION + 1)
    after = unlearn_keys()
    assert set(before) == {"auto", 0.005}
    assert after[0.005] == before[0.005]
    assert after["auto"] != before["auto"]


def test_the_key_of_a_constant_rate_is_that_of_the_time_before_auto() -> None:
    """Written by the revision before: the same settings gave the same cell."""
    assert unlearn_keys()[0.005] == KEY_BEFORE
    assert "max_drop" not in as_mapping(AdaProb(lr=0.005))
    assert as_mapping(AdaProb(max_drop=3.0))["max_drop"] == 3.0


KEY_BEFORE = "01ba26b8ce55e7cacfed1b30b9976368"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": "fast"}, "lr: must be a number greater than 0 or auto, got 'fast'"),
        ({"lr": 0.0}, "lr: must be a number greater than 0 or auto, got 0.0"),
        (
            {"lr": "1e-3"},
            "lr: must be a number greater than 0 or auto, got '1e-3', which YAML reads as text; write 1.0e-3",
        ),
        ({"max_drop": 0.0}, "max_drop: must be a number greater than 0 and of at most 100, got 0.0"),
        ({"max_drop": 1.0, "lr": 0.1}, "max_drop: must be left out unless lr is auto, got 1 with lr 0.1"),
    ],
)
def test_bad_rates_are_refused_in_words(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        AdaProb(**settings)
