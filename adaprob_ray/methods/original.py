"""Original: the model before unlearning, trained on all training samples by the recipe (protocol §3).

Needs only the training samples. Cost per epoch: one forward and one backward pass over all training samples.
"""

from __future__ import annotations

import numpy as np

from adaprob_ray.data.dataset import Integers
from adaprob_ray.methods.base import Cost, Sizes, Trained
from adaprob_ray.settings import settings_dataclass


@settings_dataclass
class Original(Trained):
    """All forget requests of a seed share one original."""

    name = "original"
    reads_forget = False

    def rows(self, train_count: int, forget: Integers, seed: int) -> Integers:
        return np.arange(train_count)

    def cost(self, sizes: Sizes) -> Cost:
        passes = sizes.recipe_epochs * sizes.train
        return Cost(forward=passes, backward=passes)
