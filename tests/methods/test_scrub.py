"""SCRUB against an independent, ordinary implementation of protocol §5.8.

Axes: B batch, K classes.
"""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray import contract
from adaprob_ray.contract import Case
from adaprob_ray.methods.scrub import Scrub
from adaprob_ray.training.losses import distillation


def kl_t(teacher_BK: Tensor, student_BK: Tensor, temperature: float) -> Tensor:
    """T² · Σ_n KL(softmax(t_n/T) ‖ softmax(s_n/T)) / B, written out."""
    p_BK, q_BK = (teacher_BK / temperature).softmax(1), (student_BK / temperature).softmax(1)
    return temperature**2 * (p_BK * (p_BK.log() - q_BK.log())).sum(1).mean()


def plain_scrub(s: Scrub, model: nn.Module, teacher: nn.Module, shuffle: torch.Generator) -> None:
    """Epoch by epoch: one ascending pass over forget, one descending over retain, everything by autograd."""
    split = contract.make_split(contract.make_parts(), frozenset({"retain", "forget"}))
    parameters = list(model.parameters())
    anchor = [p.detach().clone() for p in parameters]
    velocity = [torch.zeros_like(p) for p in parameters]
    first_step = True
    model.train()
    for epoch in range(1, s.epochs + 1):
        lr = s.lr * 0.1 ** len([m for m in s.milestones if m < epoch])
        passes = [("forget", split.forget, s.forget_batch)] if epoch <= s.forget_epochs else []
        for name, part, size in [*passes, ("retain", split.retain, s.retain_batch)]:
            order = torch.randperm(len(part), generator=shuffle)
            for begin in range(0, len(part), size):
                rows = part.rows[order[begin : begin + size]]
                images, labels = part.pixels.select(rows), part.pixels.labels[rows]
                with torch.no_grad():
                    teacher_BK = teacher(images)
                logits = model(images)
                kl = kl_t(teacher_BK, logits, s.temperature)
                loss = -kl if name == "forget" else s.gamma * functional.cross_entropy(logits, labels) + s.alpha * kl
                for p, a in zip(parameters, anchor, strict=True):
                    if not torch.equal(p.detach(), a):  # the gradient at the anchor is taken as 0
                        loss = loss + s.smoothing * (p - a).square().sum().sqrt()
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    for p, g, v in zip(parameters, gradients, velocity, strict=True):
                        step = g + s.weight_decay * p
                        v.copy_(step if first_step else s.momentum * v + step)
                        p -= lr * v
                first_step = False
        if epoch >= s.smoothing_start:
            with torch.no_grad():
                for p, a in zip(parameters, anchor, strict=True):
                    a.copy_(0.9 * a + 0.1 * p)


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 2, "forget_epochs": 2, "milestones": [5], "retain_batch": 64},
        {"epochs": 2, "forget_epochs": 1, "milestones": [1], "gamma": 0.9, "alpha": 0.3, "temperature": 2.0},
        {"epochs": 2, "forget_epochs": 2, "milestones": [2], "smoothing": 0.5, "smoothing_start": 1},
        {"epochs": 2, "forget_epochs": 0, "smoothing": 0.1, "smoothing_start": 2, "weight_decay": 0.05},
    ],
    ids=["defaults", "milestone and weights", "smoothing", "no forget pass"],
)
def test_scrub_equals_the_plain_loop(settings: dict[str, object]) -> None:
    """Weights and batch-norm statistics to 1e-10 after two epochs."""
    case = Case("scrub", json.dumps(settings))
    after = contract.attempt(case).after
    model, teacher = contract.original(), contract.original().eval()
    plain_scrub(case.build(), model, teacher, contract.make_context(frozenset()).generator("shuffle"))
    moved = max(
        float((after[name] - tensor.detach()).abs().max()) for name, tensor in contract.original().named_parameters()
    )
    assert moved > 1e-3
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(
            after[name], tensor, rtol=0, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_distillation_is_the_batch_mean_of_the_softened_divergence_teacher_first() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(7, 4, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    for temperature in (1.0, 2.0, 4.0):
        torch.testing.assert_close(distillation(student, teacher, temperature), kl_t(teacher, student, temperature))
    assert not torch.isclose(distillation(student, teacher, 2.0), distillation(teacher, student, 2.0))


def test_the_teacher_is_a_network_of_its_own_and_the_student_leaves_it() -> None:
    trial = contract.trial(Case("scrub"))
    assert len(trial.teachers) == 1
    teacher, first = trial.teachers[0]
    assert first == contract.digest(trial.before)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert contract.digest(trial.after) != first


def test_the_forget_rows_are_left_more_than_the_retain_rows() -> None:
    """What SCRUB is for: the divergence on forget rows exceeds that on retain rows."""
    case = Case(
        "scrub", json.dumps({"epochs": 4, "forget_epochs": 4, "forget_batch": 4, "retain_batch": 32, "lr": 0.01})
    )
    trial, parts = contract.attempt(case), contract.make_parts()
    split = contract.make_split(parts, frozenset({"retain", "forget"}))
    divergence = {}
    for name, part in (("forget", split.forget), ("retain", split.retain)):
        images = part.pixels.select(part.rows)
        with torch.no_grad():
            divergence[name] = float(kl_t(contract.original().eval()(images), trial.model.eval()(images), 1.0))
    assert divergence["forget"] > 2 * divergence["retain"]


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_a_run_of_fewer_epochs_is_the_first_part_of_a_longer_one(smoothing: float) -> None:
    """Nothing looks at how many epochs are to come: sweeps/scrub_traces.yaml pieces a trace together from runs of 1 to 10."""

    def states(epochs: int) -> tuple[list[list[Tensor]], list[Tensor]]:
        """The parameters at each report of an epoch, and at the end."""
        method = Scrub(epochs=epochs, forget_epochs=2, milestones=(1, 3), smoothing=smoothing, smoothing_start=1)
        model, seen = contract.original(), list[list[Tensor]]()

        def report(step: int, **scalars: float) -> None:
            seen.append([parameter.detach().clone() for parameter in model.parameters()])

        split = contract.make_split(contract.make_parts(), method.needs)
        method.unlearn(model, split, contract.make_context(method.needs, report=report))
        return seen, [parameter.detach().clone() for parameter in model.parameters()]

    on_the_way, _ = states(4)
    for epochs in (1, 2, 3):
        _, end = states(epochs)
        assert any(all(map(torch.equal, end, state)) for state in on_the_way), f"{epochs} epochs"
