"""NTK forgetting: move the weights as a network that is linearized at the original would move without the forget samples
(Golatkar et al., "Forgetting Outside the Box", 2020; protocol §5.6).

    w_lin(S) = −G_S (G_Sᵀ G_S + n_S·wd·I)⁻¹ (softmax(f_S) − onehot(y_S)),    G_S = ∂f_S/∂w at the original [P, n_S·K]
    Δ = w_lin(retain) − w_lin(all),   e = w_original − w_start − w_lin(retain),   c = cos(Δ, e)
    s = ‖Δ‖ + 2 sin(arccos c − π/2)·‖e‖ if c < 0,   else ‖Δ‖ + 2 cos(arccos c)·‖e‖        ("trapezium")
    w ← w_original + (s / ‖Δ‖)·Δ

Symbols: wd is the recipe's `decay_to_start`, or its `weight_decay` if that is 0. Needs the retain and forget samples, the
recipe and the initial state. Cost: the P weights are processed in slices, so that a slice of G fits into `memory`; each
slice costs one forward pass over all samples and one backward pass for each class. The two products G·x cost one pass each,
over the retain samples and over all samples. G is never stored as a whole: Gᵀ G is a sum over slices, and G·x is the
gradient of xᵀ f.

Source: Golatkar et al.; the paper cites Doan et al. (2021), who analyze forgetting in continual learning.

Differences from the paper and from the code of its authors:
1. n_retain is the number of retain samples; the code uses n_all − 300 = 200, however many samples are forgotten.
2. Only small training sets are possible: the Gram matrix has (rows · classes)² entries, and at most `MAX_GRAM_ROWS` rows are
   accepted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.data.batches import Subset
from adaprob_ray.errors import Diverged, InputError
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.models.anatomy import anatomy, missing_layers
from adaprob_ray.settings import hyperparameter, settings_dataclass
from adaprob_ray.training.loop import autocast
from adaprob_ray.training.per_sample_gradients import (
    named_layers,
    output_gradients,
    parameter_gradients,
    record_layers,
    unsupported_layer,
)

# Training samples times classes. The Gram matrix then takes 1.9 GiB in float64.
MAX_GRAM_ROWS = 16_000
# Training samples of one pass. Their output gradients for all classes are held at once.
ROWS_PER_PASS = 25
# Rows of the Gram matrix that are updated by one product, so that only blocks of its lower half are computed.
GRAM_BLOCK = 512


@dataclass(frozen=True)
class ParameterSlice:
    """Some `channels` of one parameter of a layer. They fill `width` columns of a slice of Gᵀ, from `column` on."""

    layer: str
    parameter: str
    channels: slice
    column: int
    width: int


def parameter_slices(model: nn.Module, start: int, stop: int) -> list[ParameterSlice]:
    """The weights `start` to `stop` of the network, in the order of its parameters, in units of whole output channels.

    A channel belongs to the slice that contains its first weight, so that every weight is in exactly one slice.
    """
    slices: list[ParameterSlice] = []
    first = column = 0
    for name, parameter in model.named_parameters():
        layer, _, short_name = name.rpartition(".")
        channels, size = len(parameter), parameter[0].numel()
        low, high = (min(max(-(-(edge - first) // size), 0), channels) for edge in (start, stop))
        if low < high:
            width = (high - low) * size
            slices.append(ParameterSlice(layer, short_name, slice(low, high), column, width))
            column += width
        first += channels * size
    return slices


def slice_width(columns: int, memory_mib: int) -> int:
    """Number of weights in a slice of G, which is float32 and has `columns` columns."""
    return max(1, memory_mib * 2**18 // columns)


def solve(gram: NDArray[np.float64], x_NK: Tensor, ridge: float) -> Tensor:
    """(gram + ridge·I)⁻¹ x for x [N, K], as [N, K] float64. Reads only the lower half of `gram`, and overwrites it."""
    from scipy import linalg

    gram[np.diag_indices_from(gram)] += ridge
    try:
        # The transpose is in LAPACK's column-major order, which avoids a copy.
        factor = linalg.cho_factor(gram.T, overwrite_a=True)
    except (ValueError, linalg.LinAlgError) as error:
        raise Diverged(f"the Gram matrix of the Jacobian is not finite or not positive definite: {error}") from error
    solution = linalg.cho_solve(factor, x_NK.double().cpu().numpy().reshape(-1))
    return torch.from_numpy(solution).view(x_NK.shape).to(x_NK.device)


class LinearizedNetwork:
    """The network's outputs on one subset as linear functions of its weights, in eval mode."""

    def __init__(self, model: nn.Module, subset: Subset, classes: int, memory_mib: int, context: Context) -> None:
        self.model, self.subset, self.classes, self.context = model, subset, classes, context
        self.layers = named_layers(model)
        self.parameters = sum(p.numel() for p in model.parameters())
        self.width = slice_width(len(subset) * classes, memory_mib)

    def gram(self) -> tuple[NDArray[np.float64], Tensor]:
        """The lower half of Gᵀ G [N·K, N·K], in which the classes of a row are adjacent, and the logits [N, K]."""
        size = len(self.subset) * self.classes
        gram = torch.zeros(size, size, dtype=torch.float64, device=self.context.device)
        logits_NK = torch.empty(len(self.subset), self.classes, device=self.context.device)
        for start in range(0, self.parameters, self.width):
            slices = parameter_slices(self.model, start, start + self.width)
            # There are none if these weights lie within one channel, which belongs to an earlier slice.
            if slices:
                jacobian = self._jacobian(slices, logits_NK)
                for first in range(0, size, GRAM_BLOCK):
                    last = min(first + GRAM_BLOCK, size)
                    gram[first:last, :last] += jacobian[first:last] @ jacobian[:last].T
        return gram.cpu().numpy(), logits_NK

    def _jacobian(self, slices: list[ParameterSlice], logits_NK: Tensor) -> Tensor:
        """Gᵀ [N·K, width] for some weights, in float32; writes the logits too."""
        layers = {name: self.layers[name] for name in dict.fromkeys(item.layer for item in slices)}
        width = sum(item.width for item in slices)
        jacobian_NKW = torch.empty(len(self.subset), self.classes, width, device=self.context.device)
        row = 0
        for batch in self.subset.batches(ROWS_PER_PASS):
            self.context.check_deadline()
            with record_layers(layers) as recorded, autocast(self.context.precision, batch.images.device):
                logits_BK = self.model(batch.images).float()
            by_layer = dict(zip(recorded, output_gradients(logits_BK, list(recorded.values())), strict=True))
            rows = slice(row, row + len(batch.labels))
            for item in slices:
                record = recorded[item.layer]
                gradient_BKOM = parameter_gradients(
                    record.layer, record.inputs, by_layer[item.layer], item.channels, item.parameter
                )
                jacobian_NKW[rows, :, item.column : item.column + item.width] = gradient_BKOM.flatten(2)
            logits_NK[rows] = logits_BK.detach()
            row += len(batch.labels)
        return jacobian_NKW.flatten(0, 1)

    def product(self, subset: Subset, x_NK: Tensor) -> list[Tensor]:
        """G x for the rows of a subset: the gradient of Σ x_nk f_nk, by parameter, in float64."""
        total = [torch.zeros_like(p, dtype=torch.float64) for p in self.model.parameters()]
        row = 0
        for batch in subset.batches(ROWS_PER_PASS):
            self.context.check_deadline()
            with autocast(self.context.precision, batch.images.device):
                logits_BK = self.model(batch.images).float()
            value = (x_NK[row : row + len(logits_BK)].float() * logits_BK).sum()
            for sum_, gradient in zip(total, torch.autograd.grad(value, list(self.model.parameters())), strict=True):
                sum_ += gradient
            row += len(logits_BK)
        return total


def unsupported_problem(rows: int, classes: int, decay: float, architecture: nn.Module) -> str | None:
    """One sentence that says why NTK forgetting cannot run; None if it can."""
    if rows * classes > MAX_GRAM_ROWS:
        gibibytes = MAX_GRAM_ROWS**2 * 8 / 2**30
        return (
            f"ntk: training samples times classes must be at most {MAX_GRAM_ROWS}, for a Gram matrix of {gibibytes:.1f} GiB, "
            f"got {rows} samples and {classes} classes"
        )
    # Without weight decay the linearized training has no unique solution.
    if not decay:
        return "ntk: the recipe's weight_decay or decay_to_start must be greater than 0, got 0 for both"
    return unsupported_layer(architecture)


def dot(a: list[Tensor], b: list[Tensor]) -> float:
    """Inner product over all tensors jointly."""
    return sum(float((x * y).sum()) for x, y in zip(a, b, strict=True))


def step_length(delta: list[Tensor], error: list[Tensor]) -> float:
    """s, "trapezium": the length of the step along Δ."""
    length, error_length = math.sqrt(dot(delta, delta)), math.sqrt(dot(error, error))
    # The angle between Δ and e is undefined if either is 0; there is then nothing to correct.
    if length == 0 or error_length == 0:
        return length
    # Rounding may move the cosine of parallel vectors just outside [-1, 1].
    cosine = min(1.0, max(-1.0, dot(delta, error) / (length * error_length)))
    angle = math.acos(cosine)
    return length + 2 * error_length * (math.sin(angle - math.pi / 2) if cosine < 0 else math.cos(angle))


@settings_dataclass
class NTK(Unlearning):
    """One step along the difference between two linearized trainings."""

    name = "ntk"
    needs = frozenset({"retain", "forget", "recipe", "initial_state"})

    memory: int = hyperparameter(
        default=512, unit="MiB", ge=1, help="of a slice of the Jacobian; changes the result only by rounding"
    )

    def cost(self, sizes: Sizes) -> Cost:
        count = -(-sizes.parameters // slice_width(sizes.train * sizes.classes, self.memory))
        products = sizes.retain + sizes.train
        return Cost(forward=count * sizes.train + products, backward=count * sizes.train * sizes.classes + products)

    def skip(self, sizes: Sizes, architecture: nn.Module) -> str | None:
        reason = unsupported_problem(sizes.train, sizes.classes, sizes.recipe_decay, architecture)
        if any(not parameter.requires_grad for parameter in architecture.parameters()):
            reason = "must have a network whose parameters all require gradients, got frozen ones"
        return missing_layers(architecture, "classifier") or reason

    def updated_statistics(self, model: nn.Module, batch_norm: str) -> Sequence[nn.Module]:
        return []

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        train, retain, decay = split.train, split.retain, context.recipe.decay
        classes = anatomy(model, "classifier").classifier.out_features
        if (reason := unsupported_problem(len(train), classes, decay, model)) is not None:
            raise InputError(reason)
        model.eval()
        linearized = LinearizedNetwork(model, train, classes, self.memory, context)
        gram, logits_NK = linearized.gram()
        residual_NK = logits_NK.softmax(1) - functional.one_hot(train.labels, classes)
        class_indices = torch.arange(classes, device=retain.rows.device)
        retain_indices = (retain.rows[:, None] * classes + class_indices).flatten().cpu().numpy()
        # Only then is the lower half of the retain samples' Gram matrix in the lower half of the whole one.
        assert bool((retain.rows.diff() > 0).all()), "retain samples must ascend"
        retain_gram = gram[np.ix_(retain_indices, retain_indices)]
        x_retain = solve(retain_gram, residual_NK[retain.rows], len(retain) * decay)
        x_all = solve(gram, residual_NK, len(train) * decay)
        w_retain, w_all = linearized.product(retain, -x_retain), linearized.product(train, -x_all)
        delta = [a - b for a, b in zip(w_retain, w_all, strict=True)]
        start = context.initial_state()
        error = [p.detach() - start[name] - w for (name, p), w in zip(model.named_parameters(), w_retain, strict=True)]
        length, scaled = math.sqrt(dot(delta, delta)), step_length(delta, error)
        with torch.no_grad():
            for parameter, change in zip(model.parameters(), delta, strict=True):
                parameter.add_((change * (scaled / length if length else 0.0)).to(parameter.dtype))
        context.report(1, step_length=scaled, linear_step_length=length)
        return model
