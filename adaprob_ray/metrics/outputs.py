"""The input of a metric: one model's Outputs, those of its three references, and which training rows were forgotten.

Axes: N rows, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from adaprob_ray.data.dataset import Integers
from adaprob_ray.data.split import request_positions, retain_positions
from adaprob_ray.sweep.cell_settings import ForgetRequest

SUBSET_NAMES = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """float32 logits [N, K] and int64 labels [N] of one model over train, validation and test, in data-set order.

    `groups` numbers the training rows that are forgotten together, see `split.copy_groups`.
    """

    logits: Mapping[str, NDArray[np.float32]]
    labels: Mapping[str, Integers]
    groups: Integers | None = None

    def to_bytes(self) -> bytes:
        """A safetensors file with tensors `train.logits`, `train.labels` and so on."""
        tensors: dict[str, NDArray[Any]] = {}
        for name in SUBSET_NAMES:
            # safetensors writes the memory of an array without regard to its strides, so that views must be copied.
            tensors[f"{name}.logits"] = np.ascontiguousarray(self.logits[name])
            tensors[f"{name}.labels"] = np.ascontiguousarray(self.labels[name])
        if self.groups is not None:
            tensors["train.groups"] = np.ascontiguousarray(self.groups)
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> Outputs:
        tensors = load(data)
        return cls(
            logits={name: tensors[f"{name}.logits"] for name in SUBSET_NAMES},
            labels={name: tensors[f"{name}.labels"] for name in SUBSET_NAMES},
            groups=tensors.get("train.groups"),
        )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that a metric may read. `forget` and `retain` are positions in the training set.

    Of a request in a sequence, `retain` has nothing that an earlier one forgot; `forgotten_before` are the positions of that.

    `forget_class` is the class of the forget rows, None where they are of several: see `forget_classes`.

    `retrain` is the reference with the same seed, `independent` the retrained model with independent randomness. If the model
    is one of these it is the same object, and a comparison with itself does not apply.
    """

    model: Outputs
    original: Outputs
    retrain: Outputs
    independent: Outputs
    forget: Integers
    retain: Integers
    forget_class: int | None
    seed: int
    forgotten_before: Integers = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def forgotten_so_far(self) -> Integers:
        """Positions of what this request and those before it in its sequence forget."""
        return np.concatenate([self.forgotten_before, self.forget])

    @property
    def forget_classes(self) -> Integers:
        """The forgotten class, or the classes of the forget rows where they are of several."""
        if self.forget_class is not None:
            return np.array([self.forget_class])
        return np.unique(self.model.labels["train"][self.forget])


def class_of(forget: ForgetRequest, labels: Integers) -> int | None:
    """The class of a request, for indices that of their labels; None if they have several."""
    if forget.kind != "indices":
        return forget.class_index
    return int(labels[0]) if (labels == labels[0]).all() else None


def make_evaluation(models: Mapping[str, Outputs], forget: ForgetRequest, seed: int) -> Evaluation:
    """Build an Evaluation from Outputs by role: model, original, retrain, retrain_independent."""
    labels = models["model"].labels["train"]
    rows, before = request_positions(labels, forget, seed, models["model"].groups)
    return Evaluation(
        model=models["model"],
        original=models["original"],
        retrain=models["retrain"],
        independent=models["retrain_independent"],
        forget=rows,
        retain=retain_positions(len(labels), np.concatenate([before, rows])),
        forgotten_before=before,
        forget_class=class_of(forget, labels[rows]),
        seed=seed,
    )
