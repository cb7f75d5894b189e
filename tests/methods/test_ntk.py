"""NTK forgetting against the dense formula, with a Jacobian by torch.func.

Axes: N rows, K classes, P weights.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math

import pytest
import torch

from adaprob_ray import contract
from adaprob_ray.contract import RECIPE, Case
from adaprob_ray.errors import InputError
from adaprob_ray.methods import ntk
from adaprob_ray.methods.ntk import MAX_GRAM_ROWS, NTK, parameter_slices, slice_width, step_length


@functools.cache
def dense_jacobian() -> torch.Tensor:
    """∂f/∂w [N·K, P] of the original over the training rows, in float64."""
    train, model = contract.make_parts().train, contract.original().eval()
    images = train.pixels.select(train.rows)
    parameters = {name: p.detach().double() for name, p in model.named_parameters()}
    buffers = {name: b.double() if b.is_floating_point() else b for name, b in model.named_buffers()}

    def outputs(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(model, (weights, buffers), (images.double(),)).flatten()

    jacobian = torch.func.jacrev(outputs, chunk_size=100)(parameters)
    return torch.cat([jacobian[name].flatten(1) for name in parameters], dim=1)


def vector(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensors[name].double().flatten() for name, _ in contract.original().named_parameters()])


def by_the_formula(decay: float) -> torch.Tensor:
    """The weights [P] that NTK forgetting leaves, from the whole Jacobian."""
    parts, model = contract.make_parts(), contract.original().eval()
    images, labels = parts.train.pixels.select(parts.train.rows), parts.train.labels
    jacobian = dense_jacobian()
    with torch.no_grad():
        residual = (model(images).double().softmax(1) - torch.nn.functional.one_hot(labels, 10)).flatten()
    keep = torch.ones(len(labels), dtype=torch.bool)
    keep[torch.from_numpy(contract.forget_rows(parts))] = False

    def linear(rows: torch.Tensor) -> torch.Tensor:
        g = jacobian[rows.repeat_interleave(10)]
        ridge = int(rows.sum()) * decay * torch.eye(len(g), dtype=torch.float64)
        return -g.T @ torch.linalg.solve(g @ g.T + ridge, residual[rows.repeat_interleave(10)])

    retain, everything = linear(keep), linear(torch.ones_like(keep))
    original, start = vector(contract.state(model)), vector(contract.state(contract.new_model()))
    delta, e = retain - everything, original - start - retain
    c = float(delta @ e / (delta.norm() * e.norm()))
    if c < 0:
        s = float(delta.norm()) + 2 * math.sin(math.acos(c) - math.pi / 2) * float(e.norm())
    else:
        s = float(delta.norm()) + 2 * math.cos(math.acos(c)) * float(e.norm())
    return original + s / delta.norm() * delta


@pytest.mark.slow
@pytest.mark.parametrize(
    ("memory", "changes", "decay"),
    [(512, {"weight_decay": 0.02}, 0.02), (1, {"decay_to_start": 0.1, "weight_decay": 0.0}, 0.1)],
    ids=["one slice, large", "slices, small"],
)
def test_ntk_equals_the_dense_formula(memory: int, changes: dict, decay: float) -> None:
    recipe = dataclasses.replace(RECIPE, **changes)
    trial = contract.attempt(Case("ntk", json.dumps({"memory": memory})), recipe=recipe)
    expected, before = by_the_formula(decay), vector(trial.before)
    assert float((vector(trial.after) - expected).norm()) < 1e-6 * float((expected - before).norm())


@pytest.mark.slow
def test_each_weight_is_in_one_slice() -> None:
    model = contract.original()
    total = sum(p.numel() for p in model.parameters())
    for width in (total, 100, 7, 1):
        counts = {name: torch.zeros(len(p), dtype=torch.int64) for name, p in model.named_parameters()}
        for start in range(0, total, width):
            column = 0
            for item in parameter_slices(model, start, start + width):
                counts[f"{item.layer}.{item.parameter}"][item.channels] += 1
                assert item.column == column
                column += item.width
        assert all(bool((count == 1).all()) for count in counts.values())


def test_the_step_is_the_trapeziums() -> None:
    delta = [torch.tensor([3.0, 0.0])]
    along = step_length(delta, [torch.tensor([2.0, 0.0])])
    across = step_length(delta, [torch.tensor([0.0, 2.0])])
    against = step_length(delta, [torch.tensor([-2.0, 0.0])])
    slanted = step_length(delta, [torch.tensor([-1.0, 1.0])])
    assert (along, across, against) == pytest.approx((7.0, 3.0, 7.0))
    assert slanted == pytest.approx(3 + 2 * math.sin(math.pi / 4) * math.sqrt(2))


def test_too_large_a_gram_matrix_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = dataclasses.replace(contract.sizes(contract.make_parts()), retain=1588, forget=12)
    assert NTK().skip(sizes, contract.original()) is None, "1,600 rows times ten classes are the limit"
    reason = NTK().skip(dataclasses.replace(sizes, retain=39_988), contract.original())
    assert reason == (
        f"ntk: training samples times classes must be at most {MAX_GRAM_ROWS}, for a Gram matrix of 1.9 GiB, "
        "got 40000 samples and 10 classes"
    )
    monkeypatch.setattr(ntk, "MAX_GRAM_ROWS", 1599)
    with pytest.raises(InputError, match=r"at most 1599, .* got 160 samples and 10 classes"):
        contract.attempt(Case("ntk"))


def test_a_recipe_without_weight_decay_is_declined() -> None:
    sizes = dataclasses.replace(contract.sizes(contract.make_parts()), recipe_decay=0.0)
    reason = NTK().skip(sizes, contract.original())
    assert reason == "ntk: the recipe's weight_decay or decay_to_start must be greater than 0, got 0 for both"
    with pytest.raises(InputError, match=reason):
        contract.attempt(Case("ntk"), recipe=dataclasses.replace(RECIPE, weight_decay=0.0))


def test_slice_width_is_the_number_of_float32_rows_that_fit_into_the_memory() -> None:
    assert slice_width(2500, 512) == 53687
