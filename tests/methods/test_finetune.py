"""Finetune against an ordinary loop over the retain rows."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from adaprob_ray import contract
from adaprob_ray.contract import RECIPE, Case
from adaprob_ray.recipe import Recipe


def plain_finetune(method: object, model: nn.Module, recipe: Recipe, shuffle: torch.Generator) -> None:
    part = contract.make_split(contract.make_parts(), frozenset({"retain"})).retain
    parameters = list(model.parameters())
    start = [p.detach().clone() for p in parameters]
    velocity = [torch.zeros_like(p) for p in parameters]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and recipe.batch_norm == "frozen":
            module.eval()
    for _ in range(method.epochs):
        order = torch.randperm(len(part), generator=shuffle)
        for begin in range(0, len(part), method.batch_size):
            rows = part.rows[order[begin : begin + method.batch_size]]
            loss = functional.cross_entropy(model(part.pixels.select(rows)), part.pixels.labels[rows])
            penalty = sum((p - s).square().sum() for p, s in zip(parameters, start, strict=True))
            gradients = torch.autograd.grad(loss + recipe.decay_to_start / 2 * penalty, parameters)
            with torch.no_grad():
                for p, g, v in zip(parameters, gradients, velocity, strict=True):
                    v.mul_(method.momentum).add_(g)
                    p -= method.lr * v


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"epochs": 2, "lr": 0.02, "batch_size": 50}, {}),
        ({"epochs": 2, "momentum": 0.9, "batch_size": 64}, {"decay_to_start": 0.1, "batch_norm": "frozen"}),
    ],
    ids=["large", "small"],
)
def test_finetune_equals_the_plain_loop(settings: dict[str, object], changes: dict[str, object]) -> None:
    """Cross-entropy on retain; the pull to the original only where the recipe has one; never the optimizer's decay."""
    case, recipe = Case("finetune", json.dumps(settings)), dataclasses.replace(RECIPE, weight_decay=0.5, **changes)
    after = contract.attempt(case, recipe=recipe).after
    model = contract.original()
    plain_finetune(case.build(), model, recipe, contract.make_context(frozenset()).generator("shuffle"))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(
            after[name], tensor, rtol=0, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_defaults_are_those_of_the_notebooks() -> None:
    """Protocol §5: SGD at 0.01 without momentum, 10 epochs, batches of 128."""
    method = Case("finetune").build()
    assert (method.lr, method.momentum, method.epochs, method.batch_size) == (0.01, 0.0, 10, 128)
