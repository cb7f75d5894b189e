"""Fisher forgetting: noise on every weight, the more the less the retain rows depend on it (Golatkar et al., "Eternal Sunshine
of the Spotless Net", 2020; protocol §5.5).

    F_i = mean over retain rows n of Σ_y p(y | x_n; w) (∂ CE(x_n, y; w) / ∂w_i)²        the diagonal of Fisher's information
    w_i ← w_i + √v_i · N(0, 1),     v = α · min(1 / (F + 1e-8), 1e3)

With three adjustments of the code: the clamp is 1e2 in the classifier; v of a tensor with more than one axis is its mean over
the second; v is ten times that in the classifier and in all other tensors with one axis. Where the retain rows hold no row
of a class any more, the classifier's weights for it become N(0, 10·1e-4).

Symbols: alpha = α. Needs the retain rows. Cost: one forward pass over the retain rows and one backward pass for each class.
The squares of single examples come from products layer by layer (per_example.py) instead of batches of one.

Differences from the paper and from the code of its authors:
1. The classifier is known by its name, where the code takes every tensor whose first axis is as long as there are classes.
2. A forgotten class is known by its absence from the retain rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from adaprob_ray.data.batches import Batch
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.settings import Log, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import autocast
from adaprob_ray.training.per_sample_gradients import gradients, layers_with_parameters, output_gradients, record_layers

SMALLEST = 1e-8
CLAMP, CLASSIFIER_CLAMP = 1e3, 1e2
WIDER = 10.0
CLASS_VARIANCE = 1e-4
CLASSIFIER = "classifier."
ENTRIES = 2**20  # of one product at a time, 4 MiB


def fisher_diagonal(
    model: nn.Module, batches: Iterable[Batch], *, precision: str, watch: Callable[[], None] = lambda: None
) -> dict[str, Tensor]:
    """Σ_n Σ_y p(y | x_n) (∂ CE(x_n, y) / ∂w)² by parameter, float64; `watch` is called for each batch. Eval mode is the
    caller's."""
    layers = layers_with_parameters(model)
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in model.named_parameters()}
    for batch in batches:
        watch()
        with record_layers(layers) as found, autocast(precision, batch.images.device):
            logits_BK = model(batch.images).float()
        p_BK = logits_BK.detach().softmax(1)
        by_logit = output_gradients(logits_BK, list(found.values()))
        for (name, layer), logit_BKO in zip(found.items(), by_logit, strict=True):
            scaled_BKO = weighted(logit_BKO, p_BK)
            for parameter, tensor in layer.layer.named_parameters(recurse=False):
                full = f"{name}.{parameter}" if name else parameter
                total[full] += squares(layer.layer, layer.given, scaled_BKO, parameter).view(tensor.shape)
    return total


def weighted(logit_BKO: Tensor, p_BK: Tensor) -> Tensor:
    """√p(y|x) · ∂ CE(x, y) / ∂output for each y [B, K, O, …], from the gradients of the logits: ∂CE/∂l = p − onehot(y)."""
    shape = p_BK.shape + (1,) * (logit_BKO.ndim - 2)
    p = p_BK.view(shape)
    return ((p * logit_BKO).sum(1, keepdim=True) - logit_BKO) * p.sqrt()


def squares(layer: nn.Module, given: Tensor, scaled_BKO: Tensor, parameter: str) -> Tensor:
    """Σ over rows and classes of the squared gradients [O, M], for a few rows at a time."""
    size = layer.get_parameter(parameter).numel() * scaled_BKO.shape[1]
    rows = max(1, ENTRIES // size)
    total: Tensor | None = None
    for start in range(0, len(given), rows):
        part = slice(start, start + rows)
        product = gradients(layer, given[part], scaled_BKO[part], slice(None), parameter)
        square = product.flatten(0, 1).square().sum(0)  # far faster than a norm over the leading axes
        total = square if total is None else total.add_(square)
    assert total is not None, "a batch has rows"
    return total.double()


def variance(name: str, fisher: Tensor, alpha: float) -> Tensor:
    """v of one parameter from its F."""
    own = name.startswith(CLASSIFIER)
    v = alpha * (1 / (fisher + SMALLEST)).clamp(max=CLASSIFIER_CLAMP if own else CLAMP)
    if v.ndim > 1:
        v = v.mean(1, keepdim=True).expand_as(v).clone()
    return v


def widened(name: str, v: Tensor) -> Tensor:
    """Ten times v in the classifier and in tensors with one axis."""
    return WIDER * v if name.startswith(CLASSIFIER) or v.ndim == 1 else v


@settings_dataclass
class Fisher(Unlearning):
    """The original with noise."""

    name = "fisher"
    needs = frozenset({"retain"})

    alpha: float = hyperparameter(
        default=1e-7, gt=0, help="α; the notebooks take 1e-6 at small scale, 1e-7 at large", search=Log(1e-9, 1e-5)
    )
    batch_size: int = hyperparameter(default=32, unit="rows", ge=1, help="at a time; no influence but rounding")

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=sizes.retain, backward=sizes.retain * sizes.classes)

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        model.eval()
        batches = split.retain.batches(self.batch_size)
        total = fisher_diagonal(model, batches, precision=context.precision, watch=context.check_deadline)
        noise, present = context.generator("noise"), split.retain.labels.unique().tolist()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                v = variance(name, total[name] / len(split.retain), self.alpha)
                if name.startswith(CLASSIFIER):
                    gone = [k for k in range(len(v)) if k not in present]
                    parameter[gone], v[gone] = 0.0, CLASS_VARIANCE
                drawn = torch.randn(v.shape, generator=noise, dtype=torch.float64).to(v.device)
                parameter.add_((widened(name, v).sqrt() * drawn).to(parameter.dtype))
        trace = sum(float(fisher.sum()) for fisher in total.values()) / len(split.retain)
        context.report(1, fisher_trace=trace)
        return model
