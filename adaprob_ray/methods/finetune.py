"""Finetune: continue training the original on the retain samples only, relying on catastrophic forgetting of the rest (protocol
§5).

    w ← w − γ ∇_w [ mean_{r in retain} CE(f(x_r; w), y_r) + (wd/2)·‖w − w_original‖² ]

Symbols: lr = γ. wd is the recipe's `decay_to_start`; the second term is absent if the original was trained without it (large
scale). Needs the retain samples and the recipe. Cost per epoch: one forward and one backward pass over the retain samples.

Differences from the paper: none known; its text gives no settings. The defaults are those of the authors' notebooks, which
train at lr 0.01 without momentum for 10 epochs with batches of 128; their membership notebook uses lr 0.04 and batches of 32.
"""

from __future__ import annotations

from torch import nn

from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.settings import Int, Log, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import set_mode, sgd, train_epoch
from adaprob_ray.training.losses import cross_entropy, penalty_to_start


@settings_dataclass
class Finetune(Unlearning):
    """Cross-entropy on the retain samples."""

    name = "finetune"
    needs = frozenset({"retain", "recipe"})
    steady_error = True

    lr: float = hyperparameter(default=0.01, gt=0, help="γ, constant", search=Log(1e-3, 1e-1))
    momentum: float = hyperparameter(default=0.0, ge=0, lt=1)
    epochs: int = hyperparameter(default=10, unit="passes over retain", ge=1, search=Int(1, 10))
    batch_size: int = hyperparameter(default=128, unit="samples", ge=1)

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=self.epochs * sizes.retain, backward=self.epochs * sizes.retain)

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        recipe, shuffle = context.recipe, context.generator("shuffle")
        penalty = penalty_to_start(model, recipe)
        optimizer = sgd(model, lr=self.lr, momentum=self.momentum)
        set_mode(model, recipe.batch_norm)
        for epoch in range(1, self.epochs + 1):
            context.check_deadline()
            batches = split.retain.batches(self.batch_size, shuffle)
            metrics = train_epoch(
                model, batches, cross_entropy, optimizer, precision=context.precision, penalty=penalty
            )
            context.report(epoch, loss=metrics.loss, retain_error_percent=metrics.error_percent)
        return model
