"""`adaprob_ray.unlearn` on any network: frozen parts, batch norm, types of weights, and kinds of outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from calls import DATA, FAST, FORGET, HELD_OUT, IMAGES, LABELS, NETWORK, same, state, unlearned
from sklearn.datasets import load_digits
from small import CLASSES, Convolutional, WithLogits, seeded, trained
from torch import nn

import adaprob_ray
from adaprob_ray.catalogue import METHODS
from adaprob_ray.errors import InputError


class Plain(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, CLASSES))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "convolutional with dropout": (Convolutional, {}),
    "plain": (Plain, {}),
    "object with logits": (WithLogits, {}),
    "keyword": (WithLogits, {"forward": lambda model, x: model(pixel_values=x).logits}),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, precision: str) -> None:
    make, arguments = NETWORKS[name]
    network = trained(seeded(make), DATA, steps=5)
    result = unlearned(network, precision=precision, **arguments)
    assert type(result.model) is type(network)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in result.model.state_dict().values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", FAST)
def test_of_a_partly_frozen_network_the_frozen_part_stays(method: str, precision: str) -> None:
    network = copy.deepcopy(NETWORK)
    network.features.requires_grad_(False)  # type: ignore[union-attr]
    arguments = FAST[method] | ({"validation": HELD_OUT} if "validation" in METHODS[method].needs else {})
    if method == "cf_k":
        with pytest.raises(InputError, match="must have parameters that require gradients in last_stage"):
            adaprob_ray.unlearn(network, DATA, forget=FORGET, method=method, progress=False, **arguments)
        return
    result = adaprob_ray.unlearn(
        network, DATA, forget=FORGET, method=method, precision=precision, progress=False, max_drop=100.0, **arguments
    )
    changed = {
        name
        for name, parameter in result.model.named_parameters()
        if not torch.equal(parameter, network.get_parameter(name))
    }
    assert changed
    assert changed <= {"fc.weight", "fc.bias"}
    assert [parameter.requires_grad for parameter in result.model.parameters()] == [False] * 4 + [True] * 2
    start = dict(network.named_parameters())
    moved = sum(
        float((p - start[name]).detach().double().square().sum()) for name, p in result.model.named_parameters()
    )
    assert result.record["predicate"]["parameterDistance"] == pytest.approx(moved**0.5, rel=1e-5)


def test_frozen_weights_of_float64_keep_their_bits() -> None:
    network = copy.deepcopy(NETWORK).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 + 1e-10)
    network.features.requires_grad_(False)  # type: ignore[union-attr]
    result = unlearned(network)
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert all(torch.equal(result.model.get_parameter(name), network.get_parameter(name)) for name in frozen)


@pytest.mark.parametrize("choice", [None, "train", "recompute"])
def test_statistics_of_frozen_batch_norm_stay_with_every_choice(choice: Any) -> None:
    network = copy.deepcopy(NETWORK)
    network.features.requires_grad_(False)  # type: ignore[union-attr]
    result = unlearned(network, method="scrub", batch_norm=choice, epochs=2, forget_epochs=1, max_drop=100.0)
    assert not same(state(result.model), state(network))
    assert all(map(torch.equal, statistics(result.model), statistics(network)))


@pytest.mark.parametrize("method", ["finetune", "scrub", "bad_teacher"])
def test_a_last_batch_of_one_sample_is_trained_on(method: str) -> None:
    """Batch norm cannot be trained on one value per channel, and uses its running statistics then."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))
    data = (IMAGES[:66], LABELS[:66])
    result = unlearned(network, data, forget=[3], method=method, batch_norm="train", lr=1e-3, max_drop=100.0)
    assert result.run.plan.batch_norm == "train"
    assert not same(state(result.model), state(network))
    assert [module.training for module in result.model.modules()] == [True] * 6


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_on_whatever_the_caller_is_in(mode: Callable[[], Any]) -> None:
    with mode():
        result = unlearned()
    assert same(state(result.model), state(unlearned().model))
    assert not any(parameter.is_inference() for parameter in result.model.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_plain_network_on_digits(precision: str) -> None:
    digits = load_digits()
    pixels = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    trained(network, (pixels[:1000], labels[:1000]), steps=100)
    result = unlearned(
        network, (pixels[:1000], labels[:1000]), test=(pixels[1000:], labels[1000:]), precision=precision, forget="class:5",
        epochs=5,
    )  # fmt: skip
    errors = {
        (item["metric"], item["model"]): item["value"]
        for item in result.record["predicate"]["evidence"]
        if item["metric"].endswith("_error_percent")
    }
    rise = errors["retain_error_percent", "unlearned"] - errors["retain_error_percent", "original"]
    assert rise <= 2.0, "no more than max_drop"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_torchvisions_resnet18(precision: str) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18(num_classes=CLASSES)
    result = unlearned(network, precision=precision)
    assert result.model.fc.out_features == CLASSES  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_another_type_keep_it(dtype: torch.dtype) -> None:
    result = unlearned(copy.deepcopy(NETWORK).to(dtype))
    assert {parameter.dtype for parameter in result.model.parameters()} == {dtype}


def statistics(model: nn.Module) -> list[torch.Tensor]:
    return [model.features[1].running_mean, model.features[1].running_var]  # type: ignore[index, union-attr, list-item]


def test_batch_norm_is_frozen_trained_or_recomputed() -> None:
    before = statistics(NETWORK)
    frozen, train, recompute = (unlearned(batch_norm=choice) for choice in ("frozen", "train", "recompute"))
    assert all(map(torch.equal, statistics(frozen.model), before))
    assert not any(map(torch.equal, statistics(train.model), before))
    rest = [row for row in range(90) if row not in FORGET]
    with torch.no_grad():
        activations = recompute.model.features[0](IMAGES[rest])  # type: ignore[index, operator]
    assert torch.allclose(statistics(recompute.model)[0], activations.mean((0, 2, 3)), atol=1e-5)


def test_batch_norm_is_trained_by_methods_that_always_train_it() -> None:
    chosen = {
        method: unlearned(method=method, epochs=2).run.plan.batch_norm for method in ("adaprob", "finetune", "scrub")
    }
    assert chosen == {"adaprob": "frozen", "finetune": "frozen", "scrub": "train"}
    assert unlearned(method="scrub", batch_norm="frozen", epochs=2).run.plan.batch_norm == "frozen"


NETWORK_INPUTS = IMAGES[0].numel()


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(NETWORK_INPUTS, CLASSES), nn.Linear(NETWORK_INPUTS, 7)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.first(images.flatten(1)), self.second(images.flatten(1))


def test_of_two_heads_the_first_is_taken_and_said_so() -> None:
    (warning,) = [line for line in unlearned(model=TwoHeads(), method="finetune").warnings if "tensors" in line]
    assert warning.startswith("the model returns 2 tensors; the first is taken as the logits.")
    chosen = unlearned(model=TwoHeads(), method="finetune", forward=lambda model, images: model(images)[0])
    assert not [line for line in chosen.warnings if "tensors" in line]
