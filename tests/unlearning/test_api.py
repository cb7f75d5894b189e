"""`adaprob_ray.unlearn`: nothing of the caller's changed, the same bits twice, and the limit of the error."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from calls import DATA, FAST, FORGET, HELD_OUT, IMAGES, LABELS, NETWORK, same, state, unlearned
from small import CLASSES, Convolutional, trained

import adaprob_ray
from adaprob_ray.catalogue import METHODS
from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Unlearning


def test_every_method_whose_needs_are_met_runs() -> None:
    possible = {name for name, m in METHODS.items() if issubclass(m, Unlearning) and "initial_state" not in m.needs}
    assert possible <= FAST.keys()
    for method, settings in FAST.items():
        before = state(NETWORK)
        result = adaprob_ray.unlearn(
            NETWORK, DATA, forget=FORGET, test=HELD_OUT, validation=HELD_OUT, method=method, progress=False, **settings
        )
        assert type(result.model) is Convolutional
        assert not same(state(result.model), before), method
        assert same(state(NETWORK), before), method


@pytest.mark.parametrize(
    "method", sorted(name for name, m in METHODS.items() if "initial_state" in getattr(m, "needs", ()))
)
def test_a_method_that_needs_the_initial_weights_is_declined(method: str) -> None:
    with pytest.raises(InputError, match=f"method: {method} needs the weights from which the model was trained"):
        adaprob_ray.unlearn(NETWORK, DATA, forget=FORGET, method=method, progress=False)


def test_the_mode_the_types_and_the_random_state_of_the_caller_are_kept() -> None:
    network = copy.deepcopy(NETWORK).train()
    network.features.eval()
    modes = {name: module.training for name, module in network.named_modules()}
    torch.manual_seed(7)
    random = torch.get_rng_state()
    result = unlearned(network)
    assert torch.equal(torch.get_rng_state(), random)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert {name: module.training for name, module in result.model.named_modules()} == modes
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_same_arguments_give_the_same_bits_and_another_seed_others() -> None:
    first, second, other = (unlearned(seed=seed, method="finetune") for seed in (0, 0, 1))
    assert same(state(first.model), state(second.model))
    assert not same(state(first.model), state(other.model))
    evidence = [result.record["predicate"]["evidence"] for result in (first, second)]
    assert evidence[0] == evidence[1]


def test_an_unlearning_that_costs_too_much_error_is_stopped_and_its_last_good_state_kept() -> None:
    result = unlearned(lr=50.0, epochs=4, validation=HELD_OUT)
    assert result.run.stopped
    (warning,) = result.warnings
    assert warning.startswith("stopped: the validation error rose more than 2 points above")
    errors = [float((outputs.logits.argmax(1) != outputs.labels).mean()) for outputs in
              (result.run.before["validation"], result.run.after["validation"])]  # fmt: skip
    assert errors[1] <= errors[0] + 0.02


def test_scrub_takes_its_authors_batches_for_many_samples_unless_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def batches(**settings: Any) -> tuple[int, int]:
        method = unlearned(method="scrub", epochs=2, **settings).run.plan.method
        return method.forget_batch, method.retain_batch  # type: ignore[attr-defined]

    assert batches() == (16, 32)
    monkeypatch.setattr("adaprob_ray.unlearning.prepare.LARGE_SCALE_SAMPLES", 90)
    assert batches() == (512, 256)
    assert batches(lr=1e-3) == (512, 256)
    other = unlearned(method="scrub_rewind", epochs=2, lr=1e-3, validation=HELD_OUT).run.plan.method
    assert (other.forget_batch, other.lr, other.epochs) == (512, 1e-3, 2)  # type: ignore[attr-defined]
    assert batches(retain_batch=8) == (512, 8)
    rates = {}
    for forget, given in ((FORGET, {}), ("class:1", {}), ("class:1", {"lr": 1e-3})):
        method = unlearned(method="scrub", **{"epochs": 2, "forget": forget, "max_drop": 100, **given}).run.plan.method
        rates[str(forget)[:5], *given] = method.lr  # type: ignore[attr-defined]
    assert rates == {("[0, 3",): 5e-3, ("class",): 5e-4, ("class", "lr"): 1e-3}
    monkeypatch.setattr("adaprob_ray.unlearning.prepare.LARGE_SCALE_SAMPLES", 91)
    assert batches() == (16, 32)


def test_forgotten_samples_that_are_treated_as_before_are_pointed_out() -> None:
    """Also where a mean loss near 0 has doubled: the model is as sure of their labels as it was."""
    network = trained(copy.deepcopy(NETWORK), DATA, steps=200)
    (line,) = [line for line in unlearned(network, lr=1e-4).warnings if "treated as before" in line]
    assert "mean confidence in their labels" in line
    assert not any(
        "treated as before" in line
        for line in unlearned(method="random_label", lr=0.1, epochs=5, max_drop=100.0).warnings
    )


def test_a_probable_fault_of_the_input_is_pointed_out() -> None:
    line = unlearned(data=(IMAGES, (LABELS + 1) % CLASSES), method="finetune", test=None).warnings[0]
    assert "about as many as guessing would: is the normalization (mean, std) right" in line


def test_stratified_batches_and_held_out_targets_work_on_data_of_ones_own() -> None:
    settings = {"batches": "stratified", "forget_batch": 4, "batch_size": 16, "pseudo": "heldout", "lr": 0.01}
    result = unlearned(validation=HELD_OUT, reference="pseudo", **settings)
    assert result.run.plan.method.batches == "stratified"  # type: ignore[attr-defined]
    assert result.run.plan.method.reference == "pseudo"  # type: ignore[attr-defined]
    assert result.run.plan.references == []
    assert not same(state(result.model), state(NETWORK))
