"""Fisher forgetting: the diagonal against batches of one, the noise against the code's rule, element by element.

Axes: N rows, K classes.
"""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn

from adaprob_ray import contract
from adaprob_ray.contract import Case
from adaprob_ray.data.batches import Batch
from adaprob_ray.errors import InputError
from adaprob_ray.methods.fisher import fisher_diagonal, scaled_variance, variance
from adaprob_ray.models.allcnn import AllCNN
from adaprob_ray.models.resnet import ResNet18


def lived_in(model: nn.Module) -> nn.Module:
    """Running statistics and scales that are not their defaults."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_var, 0.5), (module.weight.data, 0.5), (module.running_mean, -0.5)):
                tensor.copy_(low + torch.rand(tensor.shape, generator=generator))
    return model.eval()


def by_ones(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Σ_n Σ_y p(y|x_n) (∂CE/∂w)², a backward pass for each row and class."""
    parameters = dict(model.named_parameters())
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    for image in images:
        log_p_K = model(image[None]).log_softmax(1)[0]
        for y in range(len(log_p_K)):
            gradients = torch.autograd.grad(-log_p_K[y], list(parameters.values()), retain_graph=True)
            for name, gradient in zip(parameters, gradients, strict=True):
                total[name] += float(log_p_K[y].detach().exp()) * gradient.double() ** 2
    return total


@pytest.mark.parametrize(("architecture", "channels"), [(ResNet18, 3), (AllCNN, 1)], ids=["resnet18", "allcnn"])
@pytest.mark.parametrize("size", [7, 3])
def test_the_diagonal_equals_batches_of_one(architecture: type[nn.Module], channels: int, size: int) -> None:
    model = lived_in(architecture(classes=4, channels=channels, filters=0.1))
    images = torch.randn(7, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    none = torch.zeros(7, dtype=torch.int64)
    batches = [Batch(part, none[: len(part)], none[: len(part)]) for part in images.split(size)]
    actual, expected = fisher_diagonal(model, batches, precision="float32"), by_ones(model, images)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        scale = float(value.max())
        assert scale > 0, name
        torch.testing.assert_close(
            actual[name], value, rtol=1e-10, atol=1e-10 * scale, msg=lambda m, name=name: f"{name} {m}"
        )


def test_variance_is_the_codes_rule() -> None:
    fisher = torch.tensor([[1e-9, 3.0], [1e-4, 4e-4]], dtype=torch.float64)
    inverse = [[min(1 / (f + 1e-8), 1e3) for f in row] for row in fisher.tolist()]
    means = [0.5 * sum(row) for row in inverse]
    expected = torch.tensor([[1e-6 * mean] * 2 for mean in means], dtype=torch.float64)
    torch.testing.assert_close(variance(fisher, 1e-6, in_classifier=False), expected)
    small = [[min(value, 1e2) for value in row] for row in inverse]
    own = torch.tensor([[1e-6 * 0.5 * sum(row)] * 2 for row in small], dtype=torch.float64)
    torch.testing.assert_close(variance(fisher, 1e-6, in_classifier=True), own)
    torch.testing.assert_close(
        variance(fisher[0], 1e-6, in_classifier=False), 1e-6 * torch.tensor(inverse[0], dtype=torch.float64)
    )
    ones = torch.ones(2, 2)
    assert scaled_variance(ones, in_classifier=False).tolist() == [[1, 1], [1, 1]]
    assert scaled_variance(ones[0], in_classifier=False).tolist() == [10, 10]
    assert scaled_variance(ones, in_classifier=True).tolist() == [[10, 10], [10, 10]]


def test_the_noise_has_the_variance_of_its_weight() -> None:
    """Over all weights, (w − w_original) / √v is standard normal."""
    trial = contract.attempt(Case("fisher"))
    split, model = contract.make_split(contract.make_parts(), frozenset({"retain"})), contract.original().eval()
    total = fisher_diagonal(model, split.retain.batches(37), precision="float32")
    scores = []
    for name, p in model.named_parameters():
        in_classifier = name.startswith("classifier.")
        v = variance(total[name] / len(split.retain), 1e-7, in_classifier=in_classifier)
        v = scaled_variance(v, in_classifier=in_classifier)
        scores.append(((trial.after[name].double() - p.detach().double()) / v.sqrt()).flatten())
    z = torch.cat(scores)
    assert abs(float(z.mean())) < 4 / math.sqrt(len(z))
    assert float(z.std()) == pytest.approx(1, abs=4 / math.sqrt(2 * len(z)))


def test_a_class_without_retain_rows_starts_from_zero() -> None:
    case, parts = Case("fisher"), contract.make_parts()
    split, gone = contract.make_split(parts, case.cls.needs), 7
    rows = split.retain.rows[split.retain.labels != gone]
    split.subsets["retain"] = parts.train.select(rows.numpy())
    before = contract.original()
    weight = before.classifier.weight.detach().clone()
    after = case.build().unlearn(before, split, contract.make_context(case.cls.needs)).classifier.weight.detach()
    sd = math.sqrt(10 * 1e-4)
    assert float(after[gone].std()) == pytest.approx(sd, rel=1.0)
    assert float(after[gone].abs().max()) < 5 * sd
    others = [k for k in range(10) if k != gone]
    assert float((after[others] - weight[others]).abs().max()) < 5 * math.sqrt(1e-7 * 1e2 * 10)


@pytest.mark.parametrize("name", ["fisher", "ntk"])
def test_a_layer_without_a_rule_for_per_sample_gradients_is_declined_by_name(name: str) -> None:
    method, model = Case(name).build(), contract.original()
    model.features[0][0] = nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect")
    reason = method.skip(contract.sizes(contract.make_parts()), model)
    assert re.fullmatch(r"layer features.0.0: must be Linear, .* got Conv2d\(1, 4, .*padding_mode=reflect\)", reason)
    with pytest.raises(InputError, match=re.escape(reason)):
        method.unlearn(
            model, contract.make_split(contract.make_parts(), method.needs), contract.make_context(method.needs)
        )


def test_grouped_convolutions_have_no_rule_for_per_sample_gradients() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(InputError, match=r"layer 0: must be .* got Conv2d\(4, 4.*groups=2"):
        fisher_diagonal(model, [], precision="float32")


@pytest.mark.parametrize("name", ["fisher", "ntk"])
def test_a_network_without_a_classifier_is_declined_by_name(name: str) -> None:
    method, model = Case(name).build(), nn.Sequential(nn.Linear(2, 2))
    reason = "network Sequential: must have classifier (see UnlearnableModel), got no classifier"
    assert method.skip(contract.sizes(contract.make_parts()), model) == reason
    with pytest.raises(InputError, match=re.escape(reason)):
        method.unlearn(
            model, contract.make_split(contract.make_parts(), method.needs), contract.make_context(method.needs)
        )
