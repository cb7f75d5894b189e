"""NegGrad+ against an ordinary loop over pairs of batches."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch.nn import functional

from adaprob_ray import contract
from adaprob_ray.contract import RECIPE, Case
from adaprob_ray.data.batches import paired_forget_rows
from adaprob_ray.recipe import Recipe
from adaprob_ray.training.loop import set_mode


def shuffled(part: object, size: int, shuffle: torch.Generator) -> list[torch.Tensor]:
    return list(part.rows[torch.randperm(len(part), generator=shuffle)].split(size))


def plain_neggrad(method: object, recipe: Recipe, steps: int) -> dict[str, torch.Tensor]:
    """Steps on α(CE_r + wd/2 ‖w − w₀‖²) − (1 − α) CE_f, the forget batches in a ring."""
    model, split = contract.original(), contract.make_split(contract.make_parts(), method.needs)
    shuffle, done = contract.make_context(frozenset()).generator("shuffle"), 0
    parameters = list(model.parameters())
    start, velocity = [p.detach().clone() for p in parameters], [torch.zeros_like(p) for p in parameters]
    set_mode(model, recipe.batch_norm)
    pixels = split.retain.pixels
    while done < steps:
        forget = shuffled(split.forget, method.forget_batch, shuffle)
        for number, rows in enumerate(shuffled(split.retain, method.retain_batch, shuffle)):
            if done == steps:
                break
            ring = forget[number % len(forget)]
            retain_loss, forget_loss = (
                functional.cross_entropy(model(pixels.select(r)), pixels.labels[r]) for r in (rows, ring)
            )
            penalty = sum((p - s).square().sum() for p, s in zip(parameters, start, strict=True))
            loss = method.alpha * (retain_loss + recipe.decay_to_start / 2 * penalty) - (1 - method.alpha) * forget_loss
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for p, g, v in zip(parameters, gradients, velocity, strict=True):
                    v.mul_(method.momentum).add_(g)
                    p -= method.lr * v
            done += 1
    return contract.state(model)


@pytest.mark.parametrize(
    ("settings", "changes", "steps"),
    [
        ({"epochs": 2, "retain_batch": 40, "forget_batch": 5}, {}, 8),
        (
            {"epochs": 1, "retain_batch": 64, "forget_batch": 8, "alpha": 0.8, "momentum": 0.9},
            {"decay_to_start": 0.1, "batch_norm": "frozen"},
            3,
        ),
        ({"iterations": 6, "retain_batch": 40, "forget_batch": 5}, {}, 6),
    ],
    ids=["large", "small", "iterations"],
)
def test_neggrad_plus_equals_the_plain_loop(settings: dict, changes: dict, steps: int) -> None:
    case, recipe = Case("neggrad_plus", json.dumps(settings)), dataclasses.replace(RECIPE, weight_decay=0.5, **changes)
    trial = contract.attempt(case, recipe=recipe)
    expected = plain_neggrad(case.build(), recipe, steps)
    for name, tensor in trial.after.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-10)
    declared = case.build().cost(contract.sizes(contract.make_parts()))
    assert (trial.passes.forward, trial.passes.backward) == (declared.forward, declared.backward)
    assert len({step for step, _ in trial.reported}) == len(case.build().steps(148))


def test_iterations_override_epochs() -> None:
    method = Case("neggrad_plus", '{"iterations": 500, "retain_batch": 32}').build()
    assert method.steps(475) == [15] * 33 + [5]
    assert Case("neggrad_plus").build().steps(475) == [4] * 10  # the small-scale notebooks' 40 steps


def test_forget_rows_are_counted_as_often_as_they_come() -> None:
    """12 forget rows in batches of 5, 5 and 2, paired with 4 retain batches: 5 + 5 + 2 + 5."""
    assert paired_forget_rows(160, 40, 12, 5) == 17
    assert paired_forget_rows(475, 128, 25, 32) == 100
    assert paired_forget_rows(30, 40, 12, 5) == 5


def test_alpha_1_is_finetune_without_a_step_on_forget() -> None:
    case = Case("neggrad_plus", '{"alpha": 1.0, "epochs": 1, "retain_batch": 50}')
    frozen = dataclasses.replace(RECIPE, batch_norm="frozen")
    after, noisy = (contract.attempt(case, recipe=frozen, noise=noise).after for noise in ([], ["forget"]))
    assert contract.digest(after) == contract.digest(noisy)
