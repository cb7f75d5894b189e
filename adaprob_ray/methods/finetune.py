"""Finetune: go on training the original on the retain rows alone, and hope that the rest fades (protocol §5).

    w ← w − γ ∇_w [ mean_{r in retain} CE(f(x_r; w), y_r) + (wd/2)·‖w − w_original‖² ]

Symbols: lr = γ. wd is the recipe's `decay_to_start`, so that the second term stands only where the original was trained with
it (small scale). Needs the retain rows and the recipe. Cost per epoch: one forward and one backward pass over the retain rows.

Differences from the paper: none known; its text gives no settings. The defaults are those of the authors' notebooks, which
train at lr 0.01 without momentum for 10 epochs of batches of 128; their membership notebook takes lr 0.04 and batches of 32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.sweep.settings import hyper
from adaprob_ray.training import cross_entropy, pull_to_start, set_mode, sgd, train_epoch


@dataclass(frozen=True, kw_only=True)
class Finetune(Unlearning):
    """Cross-entropy on the retain rows."""

    name = "finetune"
    needs = frozenset({"retain", "recipe"})
    space: ClassVar = {"lr": ("log", 1e-3, 1e-1), "epochs": ("int", 1, 10)}

    lr: float = hyper(0.01, above=0, about="γ, constant")
    momentum: float = hyper(0.0, low=0, below=1)
    epochs: int = hyper(10, unit="passes over retain", low=1)
    batch_size: int = hyper(128, unit="rows", low=1)

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=self.epochs * sizes.retain, backward=self.epochs * sizes.retain)

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        recipe, shuffle = context.recipe, context.generator("shuffle")
        pull = pull_to_start(model, recipe)
        optimizer = sgd(model, lr=self.lr, momentum=self.momentum)
        set_mode(model, recipe.batch_norm)
        for epoch in range(1, self.epochs + 1):
            context.check_deadline()
            batches = split.retain.batches(self.batch_size, shuffle)
            done = train_epoch(model, batches, cross_entropy, optimizer, precision=context.precision, pull=pull)
            context.report(epoch, loss=done.loss, retain_error_percent=done.error_percent)
        return model
