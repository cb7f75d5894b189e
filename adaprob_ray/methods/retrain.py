"""Retrain: trained like the original, from the same start and in the same order, without the forget samples
(protocol §1.6, §3).

Symbols: none. Needs the retain samples. Cost per epoch: one forward and one backward pass over the samples trained on.

Differences from the paper:
1. `variant: code`, the default, is what the authors' code does and the paper's text does not mention: each forget
   sample is overwritten by a copy of a retain sample, so that the number of samples is that of the original. `plain` trains
   on the retain samples only.
"""

from __future__ import annotations

from typing import Literal

from adaprob_ray.data.dataset import Integers
from adaprob_ray.data.split import retrain_positions
from adaprob_ray.methods.base import Cost, Sizes, Trained
from adaprob_ray.settings import hyperparameter, settings_dataclass


@settings_dataclass
class Retrain(Trained):
    """The reference: the result of exact unlearning."""

    name = "retrain"
    variant: Literal["code", "plain"] = hyperparameter(
        default="code", help="forget samples overwritten by retain samples, or left out"
    )

    def rows(self, train_count: int, forget: Integers, seed: int) -> Integers:
        return retrain_positions(train_count, forget, seed, variant=self.variant)

    def cost(self, sizes: Sizes) -> Cost:
        passes = sizes.recipe_epochs * (sizes.train if self.variant == "code" else sizes.retain)
        return Cost(forward=passes, backward=passes)
