"""SCRUB+R: which epoch, and that it is SCRUB's student after it."""

from __future__ import annotations

import json

import contract
import pytest
import torch
from contract import Case

from adaprob_ray.methods.scrub_rewind import error_fraction, select_classes, select_epoch

SETTINGS = {"epochs": 4, "forget_epochs": 4, "lr": 0.01}  # where the three possible references pick different epochs


@pytest.mark.parametrize(
    ("errors", "reference", "rule", "epoch"),
    [
        ([0.0, 0.2, 0.5, 0.9], 0.3, "closest", 2),
        ([0.0, 0.4, 0.2, 0.9], 0.3, "closest", 2),  # equally near: the earliest
        ([0.5, 0.5, 0.5], 0.5, "closest", 1),
        ([0.0, 0.3, 0.4, 0.9], 0.3, "first_above", 3),
        ([0.0, 0.1], 0.3, "first_above", 2),
    ],
)
def test_the_epoch_that_is_chosen(errors: list[float], reference: float, rule: str, epoch: int) -> None:
    assert select_epoch(errors, reference, rule) == epoch


@pytest.mark.parametrize("rule", ["closest", "first_above"])
def test_the_result_is_scrubs_student_after_that_epoch(rule: str) -> None:
    trial = contract.attempt(Case("scrub_rewind", json.dumps({**SETTINGS, "rule": rule})))
    students = [
        contract.attempt(Case("scrub", json.dumps({**SETTINGS, "epochs": epochs}))).model for epochs in range(1, 5)
    ]
    split = contract.make_split(contract.make_parts(), frozenset({"forget", "validation"}))
    errors = [error_fraction(student, split.forget) for student in students]
    unseen = select_classes(split.validation, torch.tensor([contract.FORGET["class"]]))
    assert set(unseen.labels.tolist()) == {contract.FORGET["class"]}
    expected = select_epoch(errors, error_fraction(students[-1], unseen), rule)
    assert trial.facts["rewound_to"] == expected
    assert contract.digest(trial.after) == contract.digest(contract.state(students[expected - 1]))


def test_without_an_image_of_the_class_it_is_scrubs_last_student() -> None:
    case, scrub = Case("scrub_rewind", json.dumps(SETTINGS)), Case("scrub", json.dumps(SETTINGS))
    split = contract.make_split(contract.make_parts(), case.cls.needs)
    others = torch.arange(10)[torch.arange(10) != contract.FORGET["class"]]
    split.parts["validation"] = select_classes(split.validation, others)
    context = contract.make_context(case.cls.needs)
    after = contract.state(case.build().unlearn(contract.original(), split, context))
    assert context.facts["rewound_to"] == 4
    assert contract.digest(after) == contract.digest(contract.attempt(scrub).after)
