"""Fisher forgetting: noise on every weight, inversely scaled by the retain set's Fisher information (Golatkar et al., "Eternal
Sunshine of the Spotless Net", 2020; protocol §5.5).

    F_i = mean over retain samples n of Σ_y p(y | x_n; w) (∂ CE(x_n, y; w) / ∂w_i)²      the diagonal of the Fisher information
    w_i ← w_i + √v_i · N(0, 1),     v = α · min(1 / (F + 1e-8), 1e3)

With three adjustments of the code: the clamp is 1e2 in the classifier; v of a tensor with more than one axis is averaged over
the second; v is multiplied by ten in the classifier and in all other tensors with one axis. If the retain samples contain no
example of a class, the classifier's weights for it become N(0, 10·1e-4).

Symbols: alpha = α. Needs the retain samples. Cost: one forward pass over the retain samples and one backward pass for each
class. The squared gradients of single examples are computed layer by layer (training/per_sample_gradients.py) instead of
with batches of one, which excludes networks with layers that it does not support.

Differences from the paper and from the code of its authors:
1. The classifier is the network's `classifier`; the code takes every tensor whose first axis is as long as there are classes.
2. A class counts as forgotten if it is absent from the retain samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from adaprob_ray.data.batches import Batch
from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Context, Cost, Sizes, Split, Unlearning
from adaprob_ray.models.anatomy import anatomy, missing_layers, parameter_names
from adaprob_ray.settings import Log, hyperparameter, settings_dataclass
from adaprob_ray.training.loop import autocast
from adaprob_ray.training.per_sample_gradients import (
    named_layers,
    output_gradients,
    parameter_gradients,
    record_layers,
    unsupported_layer,
)

# The constants of the authors' code (protocol §5.5): what keeps 1/F finite, the clamp of 1/F, the clamp in the classifier, the
# factor of v in the classifier and in tensors with one axis, and v of the weights of a class without retain samples.
EPSILON = 1e-8
CLAMP, CLASSIFIER_CLAMP = 1e3, 1e2
CLASSIFIER_SCALE = 10.0
FORGOTTEN_CLASS_VARIANCE = 1e-4
# Entries of one product of gradients: 4 MiB in float32, which bounds the memory for large layers.
PRODUCT_ENTRIES = 2**20


def fisher_diagonal(
    model: nn.Module, batches: Iterable[Batch], *, precision: str, before_batch: Callable[[], None] = lambda: None
) -> dict[str, Tensor]:
    """Σ_n Σ_y p(y | x_n) (∂ CE(x_n, y) / ∂w)² by trainable parameter, in float64. The caller puts the network into eval mode.

    `before_batch` is called before each batch. Raises InputError for a layer without a rule for per-sample gradients.
    """
    if (reason := unsupported_layer(model)) is not None:
        raise InputError(reason)
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in model.named_parameters() if p.requires_grad}
    layers = {
        name: layer
        for name, layer in named_layers(model).items()
        if any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    }
    for batch in batches:
        before_batch()
        with record_layers(layers) as recorded, autocast(precision, batch.images.device):
            logits_BK = model(batch.images).float()
        p_BK = logits_BK.detach().softmax(1)
        by_logit = output_gradients(logits_BK, list(recorded.values()))
        for (layer_name, record), logit_BKO in zip(recorded.items(), by_logit, strict=True):
            scaled_BKO = weighted(logit_BKO, p_BK)
            for parameter, tensor in record.layer.named_parameters(recurse=False):
                name = f"{layer_name}.{parameter}" if layer_name else parameter
                if name in total:
                    total[name] += squares(record.layer, record.inputs, scaled_BKO, parameter).view(tensor.shape)
    return total


def weighted(logit_BKO: Tensor, p_BK: Tensor) -> Tensor:
    """√p(y|x) · ∂ CE(x, y) / ∂output for each y [B, K, O, …], from the gradients of the logits: ∂CE/∂l = p − onehot(y)."""
    shape = p_BK.shape + (1,) * (logit_BKO.ndim - 2)
    p = p_BK.view(shape)
    return ((p * logit_BKO).sum(1, keepdim=True) - logit_BKO) * p.sqrt()


def squares(layer: nn.Module, inputs: Tensor, scaled_BKO: Tensor, parameter: str) -> Tensor:
    """Σ over rows and classes of the squared gradients [O, M] in float64, a few rows at a time."""
    size = layer.get_parameter(parameter).numel() * scaled_BKO.shape[1]
    rows = max(1, PRODUCT_ENTRIES // size)
    total: Tensor | None = None
    for start in range(0, len(inputs), rows):
        chunk = slice(start, start + rows)
        product = parameter_gradients(layer, inputs[chunk], scaled_BKO[chunk], slice(None), parameter)
        # Squaring and summing over one flat axis is much faster than a norm over the leading axes.
        square = product.flatten(0, 1).square().sum(0)
        total = square if total is None else total.add_(square)
    assert total is not None, "a batch has rows"
    return total.double()


def variance(fisher: Tensor, alpha: float, *, in_classifier: bool) -> Tensor:
    """v of one parameter from its F, before it is scaled."""
    v = alpha * (1 / (fisher + EPSILON)).clamp(max=CLASSIFIER_CLAMP if in_classifier else CLAMP)
    if v.ndim > 1:
        v = v.mean(1, keepdim=True).expand_as(v).clone()
    return v


def scaled_variance(v: Tensor, *, in_classifier: bool) -> Tensor:
    """Ten times v in the classifier and in tensors with one axis, else v."""
    return CLASSIFIER_SCALE * v if in_classifier or v.ndim == 1 else v


@settings_dataclass
class Fisher(Unlearning):
    """The original with noise."""

    name = "fisher"
    needs = frozenset({"retain"})

    alpha: float = hyperparameter(
        default=1e-7, gt=0, help="α; the notebooks use 1e-6 at small scale, 1e-7 at large", search=Log(1e-9, 1e-5)
    )
    batch_size: int = hyperparameter(default=32, unit="samples", ge=1, help="changes the result only by rounding")

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(forward=sizes.retain, backward=sizes.retain * sizes.classes)

    def skip(self, sizes: Sizes, architecture: nn.Module) -> str | None:
        return missing_layers(architecture, "classifier") or unsupported_layer(architecture)

    def updated_statistics(self, model: nn.Module, batch_norm: str) -> Sequence[nn.Module]:
        return []

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        classifier = set(parameter_names(model, anatomy(model, "classifier").classifier))
        model.eval()
        batches = split.retain.batches(self.batch_size)
        total = fisher_diagonal(model, batches, precision=context.precision, before_batch=context.check_deadline)
        generator, retain_classes = context.generator("noise"), split.retain.labels.unique().tolist()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name not in total:  # frozen
                    continue
                in_classifier = name in classifier
                v = variance(total[name] / len(split.retain), self.alpha, in_classifier=in_classifier)
                if in_classifier:
                    forgotten = [k for k in range(len(v)) if k not in retain_classes]
                    parameter[forgotten], v[forgotten] = 0.0, FORGOTTEN_CLASS_VARIANCE
                noise = torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v.device)
                scaled = scaled_variance(v, in_classifier=in_classifier)
                parameter.add_((scaled.sqrt() * noise).to(parameter.dtype))
        trace = sum(float(fisher.sum()) for fisher in total.values()) / len(split.retain)
        context.report(1, fisher_trace=trace)
        return model
