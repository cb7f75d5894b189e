"""NTK forgetting: move the weights as a network linearised at the original would, were it trained without the forget rows
(Golatkar et al., "Forgetting Outside the Box", 2020; protocol §5.6).

    w_lin(S) = −G_S (G_Sᵀ G_S + n_S·wd·I)⁻¹ (softmax(f_S) − onehot(y_S)),    G_S = ∂f_S/∂w at the original [P, n_S·K]
    Δ = w_lin(retain) − w_lin(all),   e = w_original − w_start − w_lin(retain),   c = cos(Δ, e)
    s = ‖Δ‖ + 2 sin(arccos c − π/2)·‖e‖ if c < 0,   ‖Δ‖ + 2 cos(arccos c)·‖e‖ if not        ("trapezium")
    w ← w_original + (s / ‖Δ‖)·Δ

Symbols: wd is the recipe's `decay_to_start`, or its `weight_decay` where it has none. Needs the retain and forget rows, the
recipe and the initial state. Cost: the P weights are taken a slice at a time, so that a slice of G fits into `memory`; each
slice is one forward pass over all rows and one backward pass for each class, then the two products G·x one of each, over
retain and over all rows. G is never held whole: Gᵀ G is the sum over slices, G·x the gradient of xᵀ f.

Source: Golatkar et al.; the paper cites Doan et al. (2021), who analyse forgetting in continual learning.

Differences from the paper and from the code of its authors:
1. n_retain is counted; the code takes n_all − 300 = 200 whatever is forgotten.
2. It is for small sets: the Gram matrix has (rows · classes)² entries, and more than `MOST` · `MOST` are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.data.batches import Subset
from adaprob_ray.errors import Diverged, InputError
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import hyperparameter, settings_dataclass
from adaprob_ray.training.loop import autocast
from adaprob_ray.training.per_sample_gradients import gradients, layers_with_parameters, output_gradients, record_layers

MOST = 16_000  # rows times classes: a Gram matrix of 2 GiB
BATCH = 25  # rows at a time
BLOCK = 512  # rows of the Gram matrix at a time


@dataclass(frozen=True)
class Piece:
    """Some `outputs` of one parameter, M weights each, at columns from `at` of a slice."""

    layer: str
    parameter: str
    outputs: slice
    at: int
    width: int


def pieces(model: nn.Module, start: int, stop: int) -> list[Piece]:
    """What the weights `start` to `stop` of the network are, in the order of its parameters, whole outputs at a time.

    An output belongs to the slice in which its first weight lies, so that every weight is in exactly one slice.
    """
    found: list[Piece] = []
    first = 0
    for name, parameter in model.named_parameters():
        layer, _, short = name.rpartition(".")
        outputs, each = len(parameter), parameter[0].numel()
        low, high = (min(max(-(-(edge - first) // each), 0), outputs) for edge in (start, stop))
        if low < high:
            at = sum(piece.width for piece in found)
            found.append(Piece(layer, short, slice(low, high), at, (high - low) * each))
        first += outputs * each
    return found


def slice_width(columns: int, memory_mib: int) -> int:
    """How many weights a slice of G has, which is float32 and has `columns` columns."""
    return max(1, memory_mib * 2**18 // columns)


def solved(gram: NDArray[np.float64], x_NK: Tensor, ridge: float) -> Tensor:
    """(gram + ridge·I)⁻¹ x for x [N, K], as [N, K] float64. Only gram's lower half is read, and it is overwritten."""
    gram[np.diag_indices_from(gram)] += ridge
    try:
        factor = linalg.cho_factor(gram.T, overwrite_a=True)  # transposed it is in LAPACK's order, and no copy is made
    except (ValueError, linalg.LinAlgError) as error:
        raise Diverged(f"the Gram matrix of the Jacobian is not finite or not positive definite: {error}") from error
    solution = linalg.cho_solve(factor, x_NK.double().cpu().numpy().reshape(-1))
    return torch.from_numpy(solution).view(x_NK.shape).to(x_NK.device)


class Linearised:
    """The network's outputs as linear functions of its weights, over one part, in eval mode."""

    def __init__(self, model: nn.Module, part: Subset, classes: int, memory_mib: int, context: Context) -> None:
        self.model, self.part, self.classes, self.context = model, part, classes, context
        self.layers = layers_with_parameters(model)
        self.parameters = sum(p.numel() for p in model.parameters())
        self.width = slice_width(len(part) * classes, memory_mib)

    def gram(self) -> tuple[NDArray[np.float64], Tensor]:
        """The lower half of Gᵀ G [N·K, N·K], rows' classes side by side, and the logits [N, K]."""
        size = len(self.part) * self.classes
        gram = torch.zeros(size, size, dtype=torch.float64, device=self.context.device)
        logits_NK = torch.empty(len(self.part), self.classes, device=self.context.device)
        for start in range(0, self.parameters, self.width):
            chosen = pieces(self.model, start, start + self.width)
            if chosen:  # else the slice is inside one output, which belongs to an earlier one
                jacobian = self._jacobian(chosen, logits_NK)
                for first in range(0, size, BLOCK):
                    last = min(first + BLOCK, size)
                    gram[first:last, :last] += jacobian[first:last] @ jacobian[:last].T
        return gram.cpu().numpy(), logits_NK

    def _jacobian(self, chosen: list[Piece], logits_NK: Tensor) -> Tensor:
        """Gᵀ [N·K, width] of some pieces, float32; fills the logits too."""
        needed = {name: self.layers[name] for name in dict.fromkeys(piece.layer for piece in chosen)}
        width = sum(piece.width for piece in chosen)
        jacobian_NKW = torch.empty(len(self.part), self.classes, width, device=self.context.device)
        at = 0
        for batch in self.part.batches(BATCH):
            self.context.check_deadline()
            with record_layers(needed) as found, autocast(self.context.precision, batch.images.device):
                logits_BK = self.model(batch.images).float()
            by_layer = dict(zip(found, output_gradients(logits_BK, list(found.values())), strict=True))
            rows = slice(at, at + len(batch.labels))
            for piece in chosen:
                layer = found[piece.layer]
                part_BKW = gradients(
                    layer.layer, layer.given, by_layer[piece.layer], piece.outputs, piece.parameter
                ).flatten(2)
                jacobian_NKW[rows, :, piece.at : piece.at + piece.width] = part_BKW
            logits_NK[rows] = logits_BK.detach()
            at += len(batch.labels)
        return jacobian_NKW.flatten(0, 1)

    def product(self, part: Subset, x_NK: Tensor) -> list[Tensor]:
        """G x for the rows of a part: the gradient of Σ x_nk f_nk, by parameter, float64."""
        total = [torch.zeros_like(p, dtype=torch.float64) for p in self.model.parameters()]
        at = 0
        for batch in part.batches(BATCH):
            self.context.check_deadline()
            with autocast(self.context.precision, batch.images.device):
                logits_BK = self.model(batch.images).float()
            value = (x_NK[at : at + len(logits_BK)].float() * logits_BK).sum()
            for sum_, gradient in zip(total, torch.autograd.grad(value, list(self.model.parameters())), strict=True):
                sum_ += gradient
            at += len(logits_BK)
        return total


def weight_decay(recipe: Recipe) -> float:
    """wd. Raises InputError if there is none: the linearised training would have no unique end."""
    if not recipe.decay:
        raise InputError(
            "ntk needs an original that was trained with weight decay, given as weight_decay or decay_to_start of its recipe"
        )
    return recipe.decay


def classes_of(model: nn.Module) -> int:
    """Outputs of the network's classifier."""
    classifier = model.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    return classifier.out_features


def check_size(rows: int, classes: int) -> None:
    """Raises InputError where the Gram matrix would be too large."""
    if rows * classes > MOST:
        raise InputError(
            f"ntk takes at most {MOST} training rows times classes, for a Gram matrix of {MOST**2 * 8 / 2**30:.1f} GiB; given "
            f"{rows} rows and {classes} classes"
        )


def dot(a: list[Tensor], b: list[Tensor]) -> float:
    """Over all tensors together."""
    return sum(float((x * y).sum()) for x, y in zip(a, b, strict=True))


def step_length(delta: list[Tensor], error: list[Tensor]) -> float:
    """s, "trapezium": the length of the step along Δ."""
    length, missing = math.sqrt(dot(delta, delta)), math.sqrt(dot(error, error))
    if length == 0 or missing == 0:
        return length
    cosine = min(1.0, max(-1.0, dot(delta, error) / (length * missing)))
    angle = math.acos(cosine)
    return length + 2 * missing * (math.sin(angle - math.pi / 2) if cosine < 0 else math.cos(angle))


@settings_dataclass
class NTK(Unlearning):
    """One step, along the difference of two linearised trainings."""

    name = "ntk"
    needs = frozenset({"retain", "forget", "recipe", "initial_state"})

    memory: int = hyperparameter(
        default=512, unit="MiB", ge=1, help="of a slice of the Jacobian; no influence but rounding"
    )

    def cost(self, sizes: Sizes) -> Cost:
        count = -(-sizes.parameters // slice_width(sizes.train * sizes.classes, self.memory))
        products = sizes.retain + sizes.train
        return Cost(forward=count * sizes.train + products, backward=count * sizes.train * sizes.classes + products)

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        model.eval()
        train, retain, decay = split.train, split.retain, weight_decay(context.recipe)
        classes = classes_of(model)
        check_size(len(train), classes)
        linearised = Linearised(model, train, classes, self.memory, context)
        gram, logits_NK = linearised.gram()
        residual_NK = logits_NK.softmax(1) - functional.one_hot(train.labels, classes)
        kept = (
            (retain.rows[:, None] * classes + torch.arange(classes, device=retain.rows.device)).flatten().cpu().numpy()
        )
        assert bool((retain.rows.diff() > 0).all()), "the lower half of a part of the Gram matrix needs ascending rows"
        x_retain = solved(gram[np.ix_(kept, kept)], residual_NK[retain.rows], len(retain) * decay)
        x_all = solved(gram, residual_NK, len(train) * decay)
        without, whole = linearised.product(retain, -x_retain), linearised.product(train, -x_all)
        delta = [a - b for a, b in zip(without, whole, strict=True)]
        start = context.initial_state()
        error = [p.detach() - start[name] - w for (name, p), w in zip(model.named_parameters(), without, strict=True)]
        length, scaled = math.sqrt(dot(delta, delta)), step_length(delta, error)
        with torch.no_grad():
            for parameter, change in zip(model.parameters(), delta, strict=True):
                parameter.add_((change * (scaled / length if length else 0.0)).to(parameter.dtype))
        context.report(1, step_length=scaled, linear_step_length=length)
        return model
