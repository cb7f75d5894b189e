"""Bad-T against an ordinary loop with Adam."""

from __future__ import annotations

import json

import torch
from torch.nn import functional

from adaprob_ray import contract
from adaprob_ray.contract import Case


def kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    p = (teacher / temperature).softmax(1)
    return temperature**2 * (p * (p.log() - (student / temperature).log_softmax(1))).sum(1).mean()


def test_bad_teacher_equals_the_plain_loop() -> None:
    settings = {
        "epochs": 2,
        "retain_batch": 40,
        "forget_batch": 8,
        "good_weight": 0.7,
        "milestones": [1],
        "temperature": 2.0,
    }
    case = Case("bad_teacher", json.dumps(settings))
    method, context = case.build(), contract.make_context(case.cls.needs)
    split, model, good, bad = (
        contract.make_split(contract.make_parts(), method.needs),
        contract.original(),
        contract.original().eval(),
        context.fresh_model().eval(),
    )
    pixels, shuffle = split.retain.pixels, context.generator("shuffle")
    optimizer = torch.optim.Adam(model.parameters(), lr=method.lr, weight_decay=method.weight_decay)
    model.train()
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = method.lr * (0.1 if epoch == 1 else 1.0)
        forget = split.forget.rows[torch.randperm(len(split.forget), generator=shuffle)].split(8)
        retain = split.retain.rows[torch.randperm(len(split.retain), generator=shuffle)].split(40)
        for number, rows in enumerate(retain):
            retain_images, forget_images = pixels.select(rows), pixels.select(forget[number % len(forget)])
            with torch.no_grad():
                good_logits, bad_logits = good(retain_images), bad(forget_images)
            loss = 0.7 * kl(model(retain_images), good_logits, 2.0) + kl(model(forget_images), bad_logits, 2.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    after = contract.attempt(case).after
    for name, tensor in contract.state(model).items():
        # Adam divides by √v + 1e-8: where a gradient is 0 but for rounding, 1e-17 in float64, a step is the rate times 1e-9.
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-10)


def test_it_learns_from_both_teachers() -> None:
    """On the forget rows the student comes nearer to the random network than the original was, on retain rows not."""
    case = Case("bad_teacher", '{"epochs": 4, "retain_batch": 20, "forget_batch": 12}')
    split = contract.make_split(contract.make_parts(), frozenset({"retain", "forget"}))
    bad = contract.make_context(case.cls.needs).fresh_model().eval()
    original, student = contract.original().eval(), contract.attempt(case).model.eval()
    with torch.no_grad():
        for part, nearer in ((split.forget, True), (split.retain, False)):
            images = part.pixels.select(part.rows)
            before, after = (
                functional.kl_div(net(images).log_softmax(1), bad(images).softmax(1), reduction="batchmean").item()
                for net in (original, student)
            )
            assert (after < 0.5 * before) is nearer
