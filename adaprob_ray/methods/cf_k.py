"""CF-k, catastrophic forgetting of the last layers: continue training only these layers, on the retain samples (Goel et al.,
"Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022; protocol §5.3).

    w_last ← w_last − γ ∇ [ mean_{r in retain} CE(f(x_r; w), y_r) + (wd/2)·‖w_last − w_last,original‖² ]

The last layers are the fourth stage of ResNet-18 and the 1×1 convolution of ALL-CNN, with their batch norm. All other
layers are frozen, including the classifier; the running statistics of batch norm follow the recipe in the whole network.

Symbols: lr = γ; wd is the recipe's `decay_to_start`. Needs the retain samples and the recipe. Cost per epoch: one forward
and one (partial) backward pass over the retain samples.

Differences from the paper:
1. It says "the last k layers"; the authors' code freezes the classifier and trains the stage before it, as is done here.
2. After the first of its milestones (10, 15, 20) the code starts from SCRUB's learning rate instead: `lr_later`. No notebook
   trains CF-k for that many epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.models.anatomy import anatomy, frozen_layers, missing_layers
from adaprob_ray.settings import Int, Log, PositiveInt, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import decayed_rate, only_trainable, set_mode, sgd, train_epoch
from adaprob_ray.training.losses import cross_entropy, penalty_to_start


@settings_dataclass
class CFk(Unlearning):
    """Cross-entropy on the retain samples, last layers only."""

    name = "cf_k"
    needs = frozenset({"retain", "recipe"})
    tested_settings = ({"momentum": 0.9},)

    lr: float = hyperparameter(default=0.01, gt=0, help="γ until the first milestone", search=Log(1e-3, 1e-1))
    lr_later: float = hyperparameter(
        default=0.01, gt=0, help="replaces `lr` after the first milestone, before the divisions"
    )
    milestones: tuple[PositiveInt, ...] = hyperparameter(
        default=(10, 15, 20), unit="epochs", help="each divides the learning rate by ten"
    )
    momentum: float = hyperparameter(default=0.0, ge=0, lt=1)
    weight_decay: float = hyperparameter(default=0.0, ge=0, help="the optimizer's")
    epochs: int = hyperparameter(default=10, unit="passes over retain", ge=1, search=Int(1, 10))
    batch_size: int = hyperparameter(default=128, unit="samples", ge=1)

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, from 1. The authors' code counts epochs from 0 and compares with <."""
        is_past_milestone = any(milestone < epoch - 1 for milestone in self.milestones)
        return decayed_rate(self.lr_later, self.milestones, epoch - 1) if is_past_milestone else self.lr

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=self.epochs * sizes.retain, backward=self.epochs * sizes.retain)

    def skip(self, sizes: Sizes, architecture: nn.Module) -> str | None:
        return missing_layers(architecture, "last_stage") or frozen_layers(architecture, "last_stage")

    def changed_layers(self, model: nn.Module) -> Sequence[nn.Module]:
        return [anatomy(model, "last_stage").last_stage]

    def train(
        self, model: nn.Module, split: Split, context: Context, *layers: nn.Module, update_statistics: bool = False
    ) -> nn.Module:
        """Train these layers on the retain samples. `update_statistics`: their batch norm trains under any recipe."""
        recipe, shuffle = context.recipe, context.generator("shuffle")
        with only_trainable(model, *layers):
            penalty = penalty_to_start(model, recipe)
            optimizer = sgd(model, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
            set_mode(model, recipe.batch_norm)
            for layer in layers if update_statistics else ():
                layer.train()
            for epoch in range(1, self.epochs + 1):
                context.check_deadline()
                optimizer.param_groups[0]["lr"] = self.rate(epoch)
                batches = split.retain.batches(self.batch_size, shuffle)
                metrics = train_epoch(
                    model, batches, cross_entropy, optimizer, precision=context.precision, penalty=penalty
                )
                context.report(epoch, loss=metrics.loss, retain_error_percent=metrics.error_percent)
        return model

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        return self.train(model, split, context, anatomy(model, "last_stage").last_stage)
