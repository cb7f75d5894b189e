"""RandomLabel: continue training the original on all training samples, the forget samples with random wrong labels.

    w ← w − γ ∇_w [ mean_{n in retain and forget} CE(f(x_n; w), ỹ_n) + (wd/2)·‖w − w_original‖² ]

    ỹ_n = y_n on retain;  on forget, one of the other K − 1 classes, drawn uniformly, once for the whole run

Symbols: lr = γ; wd is the recipe's `decay_to_start`, and its term is absent if the original was trained without it. Needs the
retain and forget samples and the recipe. Cost per epoch: one forward and one backward pass over all training samples.

A control: on a forget sample it is wrong on purpose, and a membership attack notices. Other methods should come
closer to Retrain than this one.

Source: Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net", 2020, where it is called "random labels"; also a
baseline of Fan et al., "SalUn", 2024.

Differences from the papers:
1. SalUn's code passes over the forget samples first and then over the retain samples. Here each batch is drawn from both, as in
   AdaProb's Eq. (8).
2. The default settings are this package's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.data.batches import Batch
from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.settings import Int, Log, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import set_mode, sgd, train_epoch
from adaprob_ray.training.losses import LossOutput, penalty_to_start

ONE_CLASS = "classes: must be at least 2 for a wrong label, got 1"


def wrong_labels(labels_F: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """For each label one of the other classes, drawn uniformly with a CPU generator [F]."""
    offsets_F = torch.randint(1, classes, labels_F.shape, generator=generator)
    return (labels_F + offsets_F.to(labels_F.device)) % classes


@settings_dataclass
class RandomLabel(Unlearning):
    """Cross-entropy on all training samples, the forget samples with random wrong labels."""

    name = "random_label"
    needs = frozenset({"retain", "forget", "recipe"})

    lr: float = hyperparameter(default=0.01, gt=0, help="γ, constant", search=Log(1e-3, 1e-1))
    momentum: float = hyperparameter(default=0.9, ge=0, lt=1)
    epochs: int = hyperparameter(default=5, unit="passes over train", ge=1, search=Int(1, 10))
    batch_size: int = hyperparameter(default=128, unit="samples", ge=1)

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=self.epochs * sizes.train, backward=self.epochs * sizes.train)

    def skip(self, sizes: Sizes, architecture: nn.Module) -> str | None:
        return ONE_CLASS if sizes.classes < 2 else None

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        recipe, shuffle, forget = context.recipe, context.generator("shuffle"), split.forget
        labels_N = split.train.labels.clone()
        classes = int(labels_N.max()) + 1
        if classes < 2:
            raise InputError(ONE_CLASS)
        labels_N[forget.rows] = wrong_labels(forget.labels, classes, context.generator("wrong_labels"))

        def loss(model: nn.Module, batch: Batch) -> LossOutput:
            logits = model(batch.images).float()
            return LossOutput(functional.cross_entropy(logits, labels_N[batch.rows]), logits)

        penalty = penalty_to_start(model, recipe)
        optimizer = sgd(model, lr=self.lr, momentum=self.momentum, weight_decay=recipe.weight_decay)
        set_mode(model, recipe.batch_norm)
        for epoch in range(1, self.epochs + 1):
            context.check_deadline()
            batches = split.train.batches(self.batch_size, shuffle)
            metrics = train_epoch(model, batches, loss, optimizer, precision=context.precision, penalty=penalty)
            context.report(epoch, loss=metrics.loss, train_error_percent=metrics.error_percent)
        return model
