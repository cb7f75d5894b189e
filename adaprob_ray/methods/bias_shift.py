"""BiasShift: lower the classifier's bias of the forgotten class, and change nothing else.

    b_c ← b_c − δ_c   for each class c of the forget samples

With `shift: auto` δ_c is the smallest shift, at least 0, after which the error of c's forget samples is that of c's validation
samples under the original; if no sample of c is retained, after which every forget sample is classified as another class.

Symbols: shift = δ, in nats. Needs the retain samples, whose labels say which classes are forgotten as a whole, and the forget
and validation samples. Cost: with `auto` one forward pass over the forget samples and over the validation samples of their
classes, otherwise none; no backward pass.

A control. The features, and with them what the network has learned of the samples, stay as they are; only outputs change, also
those of all other samples of the class. A metric that takes this for unlearning measures only outputs. With `auto` the forget
samples must be of one class: shifts of several classes would undo each other.

Differences from other work: none known; it is not from a paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from adaprob_ray.data.batches import Subset
from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.models.anatomy import anatomy, missing_layers, submodule_name
from adaprob_ray.settings import PositiveFloat, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import predict

# Nats by which a sample that is to be classified as another class falls behind that class.
CLEAR_OF_TIE = 1e-3
NO_BIAS = "network: must have a classifier with a bias, got one without"
NO_VALIDATION = "shift: must be a number where the forgotten class has no validation samples, got auto"


def margins(logits_NK: Tensor, label: int) -> Tensor:
    """z_c − max_{k ≠ c} z_k of each row [N], c = `label`: the class is predicted where it is positive."""
    others_NK = logits_NK.clone()
    others_NK[:, label] = -torch.inf
    return logits_NK[:, label] - others_NK.amax(1)


def shift_for_error(margins_F: Tensor, wrong: int) -> float:
    """The smallest shift, at least 0, after which so many margins are negative, up to CLEAR_OF_TIE.

    >>> round(shift_for_error(torch.tensor([3.0, -1.0, 1.0, 2.0]), wrong=2), 3)
    1.001
    >>> shift_for_error(torch.tensor([3.0, -1.0, 1.0, 2.0]), wrong=1)
    0.0
    """
    ascending = margins_F.double().sort().values.tolist()
    if wrong == 0 or ascending[wrong - 1] < 0:
        return 0.0
    return float(ascending[wrong - 1] + CLEAR_OF_TIE)


@settings_dataclass
class BiasShift(Unlearning):
    """One number for each forgotten class."""

    name = "bias_shift"
    needs = frozenset({"retain", "forget", "validation"})
    selects_only = needs
    tested_settings: ClassVar[tuple[dict[str, Any], ...]] = ({"shift": 2.0},)

    shift: PositiveFloat | Literal["auto"] = hyperparameter(
        default="auto",
        unit="nats",
        help="δ, or auto: to the error of validation samples of the class",
    )

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=sizes.forget + sizes.validation if self.shift == "auto" else 0, backward=0)

    def skip(self, sizes: Sizes, architecture: nn.Module) -> str | None:
        if (reason := missing_layers(architecture, "classifier") or _missing_bias(architecture)) is not None:
            return reason
        return NO_VALIDATION if self.shift == "auto" and not sizes.validation else None

    def changed_parameters(self, model: nn.Module) -> set[str]:
        return {f"{submodule_name(model, anatomy(model, 'classifier').classifier)}.bias"}

    def updated_statistics(self, model: nn.Module, batch_norm: str) -> Sequence[nn.Module]:
        return []

    def _automatic_shift(self, model: nn.Module, split: Split, label: int) -> float:
        """The shift of one class, from the outputs of the original."""
        forget, validation = (_of_class(subset, label) for subset in (split.forget, split.validation))
        if not len(validation):
            raise InputError(NO_VALIDATION)
        margins_F, wrong = margins(predict(model, forget), label), len(forget)
        error = float((margins(predict(model, validation), label) <= 0).double().mean())
        if bool((split.retain.labels == label).any()):
            wrong = round(error * len(forget))
        return shift_for_error(margins_F, wrong)

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        context.check_deadline()
        classifier = anatomy(model, "classifier").classifier
        labels = split.forget.labels.unique().tolist()
        if (reason := _missing_bias(model)) is not None:
            raise InputError(reason)
        if self.shift == "auto" and len(labels) > 1:
            raise InputError(
                f"shift: must be a number where samples of several classes are forgotten, got auto for {labels}"
            )
        shifts = {
            label: self._automatic_shift(model, split, label) if self.shift == "auto" else self.shift
            for label in labels
        }
        with torch.no_grad():
            for label, shift in shifts.items():
                classifier.bias[label] -= shift
        context.note(bias_shift=max(shifts.values()))
        return model


def _missing_bias(model: nn.Module) -> str | None:
    """One sentence that says that the classifier has no bias; None if it has one."""
    return None if anatomy(model, "classifier").classifier.bias is not None else NO_BIAS


def _of_class(subset: Subset, label: int) -> Subset:
    return subset.with_rows(subset.rows[subset.labels == label])
