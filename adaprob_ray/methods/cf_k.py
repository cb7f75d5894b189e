"""CF-k, catastrophic forgetting of the last layers: go on training them alone, on the retain rows (Goel et al., "Towards
Adversarial Evaluations for Inexact Machine Unlearning", 2022; protocol §5.3).

    w_last ← w_last − γ ∇ [ mean_{r in retain} CE(f(x_r; w), y_r) + (wd/2)·‖w_last − w_last,original‖² ]

The last layers are the fourth stage of ResNet-18 and the 1×1 convolution of ALL-CNN, with their batch norm. All else is
frozen, the classifier too; batch norm's running statistics follow the recipe everywhere.

Symbols: lr = γ; wd is the recipe's `decay_to_start`. Needs the retain rows and the recipe. Cost per epoch: one forward and one
(partial) backward pass over the retain rows.

Differences from the paper:
1. It says "the last k layers"; its authors' code freezes the classifier and trains the stage before it, and so does this.
2. After the first of their milestones (10, 15, 20) the code takes SCRUB's learning rate for the base: `lr_later`. No notebook
   trains CF-k long enough to see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.methods.scrub import DECAY
from adaprob_ray.sweep.settings import hyper
from adaprob_ray.training import cross_entropy, only_trainable, pull_to_start, set_mode, sgd, train_epoch


def last_stage(model: nn.Module) -> nn.Module:
    """The layers that CF-k and EU-k train. Raises InputError for a network that does not say which they are."""
    stage = getattr(model, "last_stage", None)
    if not isinstance(stage, nn.Module):
        raise InputError(
            f"cf_k and eu_k need a network with an attribute `last_stage`, the layers before its classifier that they train; "
            f"{type(model).__name__} has none"
        )
    return stage


@dataclass(frozen=True, kw_only=True)
class CFk(Unlearning):
    """Cross-entropy on the retain rows, last layers only."""

    name = "cf_k"
    needs = frozenset({"retain", "recipe"})
    space: ClassVar = {"lr": ("log", 1e-3, 1e-1), "epochs": ("int", 1, 10)}

    lr: float = hyper(0.01, above=0, about="γ until the first milestone")
    lr_later: float = hyper(0.01, above=0, about="its base after the first milestone")
    milestones: tuple[int, ...] = hyper((10, 15, 20), unit="epochs", low=1, about="each divides the rate by ten")
    momentum: float = hyper(0.0, low=0, below=1)
    weight_decay: float = hyper(0.0, low=0, about="the optimiser's")
    epochs: int = hyper(10, unit="passes over retain", low=1)
    batch_size: int = hyper(128, unit="rows", low=1)

    def rate(self, epoch: int) -> float:
        """The learning rate of epoch 1, 2, …; the code counts from 0 and compares with <."""
        passed = sum(milestone < epoch - 1 for milestone in self.milestones)
        return self.lr_later * DECAY**passed if passed else self.lr

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=self.epochs * sizes.retain, backward=self.epochs * sizes.retain)

    def train(
        self, model: nn.Module, split: Split, context: Context, *parts: nn.Module, fresh: bool = False
    ) -> nn.Module:
        """Trains these parts of the model on the retain rows; `fresh` ones take their own batch statistics."""
        recipe, shuffle = context.recipe, context.generator("shuffle")
        with only_trainable(model, *parts):
            pull = pull_to_start(model, recipe)
            optimizer = sgd(model, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
            set_mode(model, recipe.batch_norm)
            for part in parts if fresh else ():
                part.train()
            for epoch in range(1, self.epochs + 1):
                context.check_deadline()
                optimizer.param_groups[0]["lr"] = self.rate(epoch)
                batches = split.retain.batches(self.batch_size, shuffle)
                done = train_epoch(model, batches, cross_entropy, optimizer, precision=context.precision, pull=pull)
                context.report(epoch, loss=done.loss, retain_error_percent=done.error_percent)
        return model

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        return self.train(model, split, context, last_stage(model))
