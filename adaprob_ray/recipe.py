"""The recipes by which the paper's models are trained, by the names that sweep files use.

This module is not part of `training`, because the planner reads recipes without PyTorch.
"""

from __future__ import annotations

import math
from typing import Literal

from adaprob_ray.settings import hyperparameter, settings_dataclass


def scheduled_rate(lr: float, step: int, steps: int, schedule: str) -> float:
    """The learning rate of one of `steps` steps, from 0: `constant`, or from `lr` towards 0 along half a `cosine`."""
    return lr if schedule == "constant" else lr * (1 + math.cos(math.pi * step / steps)) / 2


@settings_dataclass
class Recipe:
    """How the original and the retrained models are trained (protocol §3): SGD, without augmentation.

    The paper's rate is constant, so that what a network says of a class depends on the last few batches. With
    `schedule: cosine` the rate falls to almost 0, and independent retrained models agree better.

    The two weight decays differ: `weight_decay` is the optimizer's, `decay_to_start` the factor wd of an added
    (wd/2)·Σ‖w − w_start‖² over all parameters, batch norm, biases and classifier included.
    """

    epochs: int = hyperparameter(default=31, unit="epochs", ge=1, help="passes over the training set")
    lr: float = hyperparameter(default=0.01, gt=0, help="learning rate, of the first epoch where there is a schedule")
    momentum: float = hyperparameter(default=0.9, ge=0, lt=1, help="of SGD")
    batch_size: int = hyperparameter(default=128, unit="samples", ge=1, help="samples of one step")
    weight_decay: float = hyperparameter(default=0.0, ge=0, help="of the optimizer, towards zero")
    decay_to_start: float = hyperparameter(default=0.0, ge=0, help="wd of (wd/2)·Σ‖w − w_start‖²")
    batch_norm: Literal["train", "frozen"] = hyperparameter(
        default="train", help="whether batch norm updates its statistics"
    )

    schedule: Literal["constant", "cosine"] = hyperparameter(
        default="constant",
        help="cosine: the rate falls from lr along half a cosine, from epoch to epoch",
        omit_default=True,
    )

    revision = 1

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, which count from 1.

        >>> [round(Recipe(epochs=4, lr=0.1, schedule="cosine").rate(epoch), 3) for epoch in (1, 2, 3, 4)]
        [0.1, 0.085, 0.05, 0.015]
        """
        return scheduled_rate(self.lr, epoch - 1, self.epochs, self.schedule)

    @property
    def decay(self) -> float:
        """wd in whichever of its two forms the recipe has."""
        return self.decay_to_start or self.weight_decay


# The values are those of protocol §3. The authors' pretraining also makes one pass without optimizer steps after its first
# epoch, which only updates batch norm's running statistics. It is left out, because thirty more epochs of 313 batches at
# momentum 0.1 overwrite them.
RECIPES = {
    "pretrain": Recipe(epochs=31, lr=0.1, decay_to_start=5e-4, batch_norm="train"),
    "small": Recipe(epochs=31, lr=0.001, decay_to_start=0.1, batch_norm="frozen"),
    "large": Recipe(epochs=26, lr=0.01, weight_decay=5e-4, batch_norm="train"),
}

RECIPE_SUMMARIES = {
    "pretrain": "Pretraining on a larger data set, before the original is trained",
    "small": "The small scale of the paper: few samples, regularized towards the pretrained weights",
    "large": "The large scale of the paper, and training from random weights",
}
