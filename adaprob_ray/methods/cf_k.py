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

from torch import nn

from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.settings import Int, Log, PositiveInt, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import decayed_rate, only_trainable, set_mode, sgd, train_epoch
from adaprob_ray.training.losses import cross_entropy, penalty_to_start


def last_stage(model: nn.Module) -> nn.Module:
    """The layers that CF-k and EU-k train. Raises InputError for a network that does not say which they are."""
    stage = getattr(model, "last_stage", None)
    if not isinstance(stage, nn.Module):
        raise InputError(
            f"cf_k and eu_k need a network with an attribute `last_stage`, the layers before its classifier that they train; "
            f"{type(model).__name__} has none"
        )
    return stage


@settings_dataclass
class CFk(Unlearning):
    """Cross-entropy on the retain rows, last layers only."""

    name = "cf_k"
    needs = frozenset({"retain", "recipe"})

    lr: float = hyperparameter(default=0.01, gt=0, help="γ until the first milestone", search=Log(1e-3, 1e-1))
    lr_later: float = hyperparameter(default=0.01, gt=0, help="its base after the first milestone")
    milestones: tuple[PositiveInt, ...] = hyperparameter(
        default=(10, 15, 20), unit="epochs", help="each divides the rate by ten"
    )
    momentum: float = hyperparameter(default=0.0, ge=0, lt=1)
    weight_decay: float = hyperparameter(default=0.0, ge=0, help="the optimiser's")
    epochs: int = hyperparameter(default=10, unit="passes over retain", ge=1, search=Int(1, 10))
    batch_size: int = hyperparameter(default=128, unit="rows", ge=1)

    def rate(self, epoch: int) -> float:
        """The learning rate of epoch 1, 2, …; the code counts from 0 and compares with <."""
        started = any(milestone < epoch - 1 for milestone in self.milestones)
        return decayed_rate(self.lr_later, self.milestones, epoch - 1) if started else self.lr

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=self.epochs * sizes.retain, backward=self.epochs * sizes.retain)

    def train(
        self, model: nn.Module, split: Split, context: Context, *parts: nn.Module, fresh: bool = False
    ) -> nn.Module:
        """Trains these parts of the model on the retain rows; `fresh` ones take their own batch statistics."""
        recipe, shuffle = context.recipe, context.generator("shuffle")
        with only_trainable(model, *parts):
            penalty = penalty_to_start(model, recipe)
            optimizer = sgd(model, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
            set_mode(model, recipe.batch_norm)
            for part in parts if fresh else ():
                part.train()
            for epoch in range(1, self.epochs + 1):
                context.check_deadline()
                optimizer.param_groups[0]["lr"] = self.rate(epoch)
                batches = split.retain.batches(self.batch_size, shuffle)
                done = train_epoch(
                    model, batches, cross_entropy, optimizer, precision=context.precision, penalty=penalty
                )
                context.report(epoch, loss=done.loss, retain_error_percent=done.error_percent)
        return model

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        return self.train(model, split, context, last_stage(model))
