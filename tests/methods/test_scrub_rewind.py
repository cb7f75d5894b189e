"""SCRUB+R: which epoch, and that it is SCRUB's student after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from adaprob_ray import contract
from adaprob_ray.contract import Case
from adaprob_ray.data.batches import DeviceImages, Subset
from adaprob_ray.methods.base import Split
from adaprob_ray.methods.scrub_rewind import ScrubRewind, error_fraction, select_classes, select_epoch

SETTINGS = {"epochs": 4, "forget_epochs": 4, "lr": 0.01}
RULES = ["closest", "first_above"]


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


# -- which error is the reference: students whose errors are set, so that no training decides ---------------------------------


ROWS = {"forget": 20, "unseen": 20, "other": 80, "retain": 20}  # unseen: validation images of the forget classes
FORGET_ERRORS = [0.10, 0.30, 0.50, 0.70, 0.90]  # of the student after each epoch
UNSEEN_ERRORS = [0.05, 0.15, 0.25, 0.35, 0.55]
RIGHT_EPOCH = {"closest": 3, "first_above": 4}  # by 0.55, the last of UNSEEN_ERRORS


class LookupTable(nn.Module):
    """A network whose logits are its weights: an image's one pixel is the number of its row."""

    def __init__(self, logits_NK: Tensor) -> None:
        super().__init__()
        self.logits_NK = nn.Parameter(logits_NK)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.logits_NK[x_BCHW.flatten().long()]


def lookup_split() -> Split:
    """Classes 0 and 1 are forgotten, 2 and 3 are not; validation has images of all four, in no order."""
    labels = torch.cat([torch.arange(count) % 2 + 2 * (name in ("other", "retain")) for name, count in ROWS.items()])
    images_NHWC = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1)
    pixels = DeviceImages(images_NHWC, labels, torch.ones(1), torch.zeros(1))
    forget, unseen, other, retain = torch.arange(len(labels)).split(list(ROWS.values()))
    validation = torch.cat([unseen, other])[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    parts = {"forget": forget, "validation": validation, "retain": retain}
    return Split(needs=ScrubRewind.needs, subsets={name: Subset(pixels, rows) for name, rows in parts.items()})


def logits_with_errors(**errors: float) -> Tensor:
    """Logits [N, 4] by which this share of the rows of each kind is wrong, a wrong row by the next class."""
    labels = lookup_split().forget.pixels.labels
    wrong = torch.cat([torch.arange(count) < round(errors[name] * count) for name, count in ROWS.items()])
    return nn.functional.one_hot((labels + wrong) % 4, 4).float()


def students() -> list[Tensor]:
    """The weights after each epoch. Nobody errs on other validation images, everybody on retain rows."""
    return [
        logits_with_errors(forget=forget, unseen=unseen, other=0.0, retain=1.0)
        for forget, unseen in zip(FORGET_ERRORS, UNSEEN_ERRORS, strict=True)
    ]


@pytest.mark.parametrize("rule", RULES)
def test_the_reference_is_the_last_students_error_on_unseen_images_of_the_forget_classes(rule: str) -> None:
    split, model = lookup_split(), LookupTable(logits_with_errors(forget=0, unseen=0, other=0, retain=0))
    context = contract.make_context(ScrubRewind.needs)

    def epochs_of(self: ScrubRewind, model: LookupTable, split: Split, context: object) -> Iterator[int]:
        for epoch, logits_NK in enumerate(students(), 1):
            with torch.no_grad():
                model.logits_NK.copy_(logits_NK)
            yield epoch

    with mock.patch.object(ScrubRewind, "epochs_of", epochs_of):
        result = ScrubRewind(epochs=len(FORGET_ERRORS), rule=rule).unlearn(model, split, context)
    assert context.facts["rewound_to"] == RIGHT_EPOCH[rule]
    assert torch.equal(result.logits_NK, students()[RIGHT_EPOCH[rule] - 1])


@pytest.mark.parametrize("rule", RULES)
def test_every_other_reference_would_choose_another_epoch(rule: str) -> None:
    """The case above can fail: no two references that code could confuse lead to the same epoch."""
    split = lookup_split()
    first, last = (LookupTable(logits_NK) for logits_NK in (students()[0], students()[-1]))
    unseen = select_classes(split.validation, torch.tensor([0, 1]))
    assert [error_fraction(LookupTable(logits_NK), split.forget) for logits_NK in students()] == FORGET_ERRORS
    assert select_epoch(FORGET_ERRORS, error_fraction(last, unseen), rule) == RIGHT_EPOCH[rule]
    others = {
        "forget rows": error_fraction(last, split.forget),
        "retain rows": error_fraction(last, split.retain),
        "all of validation": error_fraction(last, split.validation),
        "one forget class": error_fraction(last, select_classes(split.validation, torch.tensor([0, 2, 3]))),
        "the first student": error_fraction(first, unseen),
    }
    epochs = {name: select_epoch(FORGET_ERRORS, reference, rule) for name, reference in others.items()}
    assert RIGHT_EPOCH[rule] not in epochs.values(), epochs


# -- real students ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_the_result_is_scrubs_student_after_that_epoch(rule: str) -> None:
    """Whichever epoch the errors lead to; no two students are the same."""
    trial = contract.attempt(Case("scrub_rewind", json.dumps({**SETTINGS, "rule": rule})))
    digests = [
        contract.digest(contract.attempt(Case("scrub", json.dumps({**SETTINGS, "epochs": epochs}))).after)
        for epochs in range(1, 5)
    ]
    assert len(set(digests)) == 4
    assert contract.digest(trial.after) == digests[int(trial.facts["rewound_to"]) - 1]


def test_without_an_image_of_the_class_it_is_scrubs_last_student() -> None:
    case, scrub = Case("scrub_rewind", json.dumps(SETTINGS)), Case("scrub", json.dumps(SETTINGS))
    split = contract.make_split(contract.make_parts(), case.cls.needs)
    others = torch.arange(10)[torch.arange(10) != contract.FORGET["class"]]
    split.subsets["validation"] = select_classes(split.validation, others)
    context = contract.make_context(case.cls.needs)
    after = contract.state(case.build().unlearn(contract.original(), split, context))
    assert context.facts["rewound_to"] == 4
    assert contract.digest(after) == contract.digest(contract.attempt(scrub).after)
