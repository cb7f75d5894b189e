"""A batch with a single value per channel: normalized by the running statistics, and everything else as PyTorch does it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adaprob_ray.models import AllCNN, ResNet18
from adaprob_ray.models.batch_norm import BatchNorm2d
from adaprob_ray.training.loop import set_mode


def test_a_single_value_per_channel_is_normalized_by_the_running_statistics() -> None:
    layer = BatchNorm2d(3).train()
    layer(torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0)))
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    images = torch.full((1, 3, 1, 1), 2.0)
    outputs = layer(images)
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())
    assert torch.equal(outputs, layer.eval()(images))


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 2, 1), (1, 3, 4, 4), (128, 3, 8, 8)])
def test_every_other_batch_has_the_bits_of_pytorch(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = BatchNorm2d(3).train(), nn.BatchNorm2d(3).train()
    assert torch.equal(ours(images), theirs(images))
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
@pytest.mark.parametrize(
    ("model", "channels", "size"), [(ResNet18, 1, 8), (ResNet18, 3, 5), (AllCNN, 3, 4), (AllCNN, 1, 1)]
)
def test_a_network_trains_on_one_image_of_any_size(
    model: type[nn.Module], channels: int, size: int, batch_norm: str
) -> None:
    torch.manual_seed(0)
    network = model(classes=4, channels=channels, filters=0.1)
    set_mode(network, batch_norm)
    network(torch.rand(1, channels, size, size)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
