"""Losses of a batch, and the penalty on the distance of the weights to an anchor (L2-SP).

Axes: N rows, B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.data.batches import Batch, PairedBatch
from adaprob_ray.recipe import Recipe

Loss = Callable[[nn.Module, Batch], "LossOutput"]
PairLoss = Callable[[nn.Module, PairedBatch], "LossOutput"]


class LossOutput(NamedTuple):
    """Loss of a batch to minimize, and the logits [B, K] that it was computed from."""

    loss: Tensor
    logits: Tensor


def cross_entropy(model: nn.Module, batch: Batch) -> LossOutput:
    """Mean cross-entropy of a batch."""
    logits = model(batch.images).float()
    return LossOutput(functional.cross_entropy(logits, batch.labels), logits)


def distillation(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """KL_T(teacher ‖ student): T² times the mean over rows of the divergence of the outputs at temperature T."""
    student = functional.log_softmax(student_BK / temperature, dim=1)
    teacher = functional.log_softmax(teacher_BK / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def soft_target_loss(targets_NK: Tensor, weights_N: Tensor, *, reduction: Literal["mean", "sum"] = "mean") -> Loss:
    """Of a batch: the mean or the sum over its rows of weight · KL(target ‖ outputs).

    Args:
        targets_NK: probabilities for each row of the training set.
        weights_N: of each row.
        reduction: `mean` or `sum`.
    """
    entropies_N = torch.special.entr(targets_NK).sum(1)

    def loss(model: nn.Module, batch: Batch) -> LossOutput:
        logits = model(batch.images).float()
        cross_B = -(targets_NK[batch.rows] * functional.log_softmax(logits, dim=1)).sum(1)
        weighted_B = weights_N[batch.rows] * (cross_B - entropies_N[batch.rows])
        return LossOutput(weighted_B.mean() if reduction == "mean" else weighted_B.sum(), logits)

    return loss


@dataclass(frozen=True, kw_only=True)
class L2SPPenalty:
    """The penalty (strength/2)·Σ‖w − anchor‖² (`squared`), or strength·Σ_tensors ‖w − anchor‖.

    Its gradient is added in closed form: w − anchor, or (w − anchor)/‖w − anchor‖, which is taken as 0 at the anchor.
    """

    anchor: list[Tensor]
    strength: float
    squared: bool = True

    @torch.no_grad()
    def add_to_gradients(self, parameters: list[Tensor]) -> None:
        offsets = list(torch._foreach_sub(parameters, self.anchor))
        if not self.squared:
            # The smallest normal number keeps the quotient 0, instead of NaN, where a tensor is at its anchor.
            norms = torch._foreach_clamp_min(torch._foreach_norm(offsets), torch.finfo(torch.float32).tiny)
            offsets = list(torch._foreach_div(offsets, norms))
        gradients = [p.grad for p in parameters]
        assert all(gradient is not None for gradient in gradients)
        torch._foreach_add_(gradients, offsets, alpha=self.strength)  # type: ignore[arg-type]


def snapshot(model: nn.Module) -> list[Tensor]:
    """Copies of all parameters, in the order of the model."""
    return [p.detach().clone() for p in model.parameters()]


def trainable_snapshot(model: nn.Module) -> list[Tensor]:
    """Copies of the parameters that require gradients, in the order of the model."""
    return [p.detach().clone() for p in model.parameters() if p.requires_grad]


def penalty_to_start(model: nn.Module, recipe: Recipe, *, share: float = 1.0) -> L2SPPenalty | None:
    """The recipe's `decay_to_start` times `share`, anchored at the current weights; None if the recipe has none."""
    return (
        L2SPPenalty(anchor=trainable_snapshot(model), strength=share * recipe.decay_to_start)
        if recipe.decay_to_start
        else None
    )
