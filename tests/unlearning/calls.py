"""A trained network, its data, and calls of `adaprob_ray.unlearn` on both, for the tests of it."""

from __future__ import annotations

from typing import Any

import torch
from small import Convolutional, images, seeded, trained
from torch import nn

import adaprob_ray
from adaprob_ray.unlearning.api import Unlearned

DATA = images()


HELD_OUT = images(seed=1)


IMAGES, LABELS = DATA


FORGET = [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]


NETWORK = trained(seeded(Convolutional), DATA)


FAST: dict[str, dict[str, Any]] = {
    "adaprob": {"epochs": 2},
    "finetune": {"epochs": 1},
    "scrub": {"epochs": 2, "forget_epochs": 1, "milestones": []},
    "scrub_rewind": {"epochs": 2, "forget_epochs": 1, "milestones": []},
    "neggrad_plus": {"epochs": 1},
    "bad_teacher": {"epochs": 1},
    "cf_k": {"epochs": 1},
    "fisher": {},
    "random_label": {"epochs": 1},
    "bias_shift": {"shift": 1.0},
}


def unlearned(model: nn.Module = NETWORK, data: Any = DATA, **arguments: Any) -> Unlearned:
    values: dict[str, Any] = {"forget": FORGET, "test": HELD_OUT, "epochs": 1, "progress": False}
    return adaprob_ray.unlearn(model, data, **{**values, **arguments})


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
