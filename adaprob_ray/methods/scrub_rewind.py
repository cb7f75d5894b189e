"""SCRUB+R: SCRUB, rewound to the epoch after which the error on the forget samples is closest to that on unseen images of their
classes (Kurmanji et al., "Towards Unbounded Machine Unlearning", 2023; protocol §5.9).

    k* = argmin over k = 1..E of |e_k − e_reference|,  the earliest of equals

e_k is the error on the forget samples after epoch k, e_reference that of the last student on the validation images whose class
occurs among the forget samples; the result is the student after epoch k*.

Symbols: those of SCRUB. Needs the retain, forget and validation samples. Cost: that of SCRUB, plus one forward pass over the
forget samples per epoch and one over the validation images of their classes at the end.

Differences from the paper and from the code of its authors:
1. k = 0, the original itself, is left out. The code counts e_0 among the errors, but no notebook can load a file for it: the
   membership notebook would fail, others take epoch 1 or save with a shifted index.
2. `rule: first_above` is that of the Bad-T notebook: the first epoch whose e_k exceeds e_reference, or the last if none does.
3. If validation has no image of these classes, SCRUB's last student is the result, and the Record has rewound_to = E.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from adaprob_ray.data.batches import Subset
from adaprob_ray.methods.base import Context, Cost, Sizes, Split
from adaprob_ray.methods.scrub import Scrub
from adaprob_ray.settings import hyperparameter, settings_dataclass
from adaprob_ray.training.loop import predict


def error_fraction(model: nn.Module, subset: Subset) -> float:
    """Share of rows whose predicted class is not their label, in eval mode."""
    return float((predict(model, subset).argmax(1) != subset.labels).double().mean())


def select_classes(subset: Subset, classes: torch.Tensor) -> Subset:
    """The rows of a subset that have one of these labels."""
    return subset.with_rows(subset.rows[torch.isin(subset.labels, classes)])


def select_epoch(errors: Sequence[float], reference: float, rule: str) -> int:
    """k*, from 1, given the errors after epochs 1..E."""
    if rule == "first_above":
        return next((k for k, error in enumerate(errors, 1) if error > reference), len(errors))
    # Rounded, so that differences that are equal except for floating-point error count as equal.
    return 1 + min(range(len(errors)), key=lambda k: round(abs(errors[k] - reference), 9))


@settings_dataclass
class ScrubRewind(Scrub):
    """SCRUB's student after the epoch that the reference error selects."""

    name = "scrub_rewind"
    needs = frozenset({"retain", "forget", "validation"})
    selects_only = frozenset({"validation"})

    rule: Literal["closest", "first_above"] = hyperparameter(default="closest")

    def cost(self, sizes: Sizes) -> Cost:
        scrub = super().cost(sizes)
        return Cost(forward=scrub.forward + self.epochs * sizes.forget + sizes.validation, backward=scrub.backward)

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        errors, states = [], []
        for _ in self.epochs_of(model, split, context):
            errors.append(error_fraction(model, split.forget))
            states.append({name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()})
        unseen = select_classes(split.validation, split.forget.labels.unique())
        epoch = select_epoch(errors, error_fraction(model, unseen), self.rule) if len(unseen) else self.epochs
        model.load_state_dict(states[epoch - 1])
        context.note(rewound_to=float(epoch))
        return model
