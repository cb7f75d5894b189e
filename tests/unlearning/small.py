"""Small networks and data for the tests of `adaprob_ray.unlearn`."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

CLASSES = 3


def images(count: int = 90, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images [N, 3, 8, 8] whose mean depends on the class, and labels [N]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    noise = torch.randn(count, 3, 8, 8, generator=generator)
    return noise + labels.view(-1, 1, 1, 1) - 1.0, labels


class Convolutional(nn.Module):
    """Convolution, batch norm, dropout and a linear head."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.features(x)))  # type: ignore[no-any-return]


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network whose initial weights are the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


class WithLogits(nn.Module):
    """Takes a keyword and returns an object with .logits, as Hugging Face's classifiers do."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Convolutional()

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.network(pixel_values), loss=None)


def trained(network: nn.Module, data: tuple[Tensor, Tensor], steps: int = 60) -> nn.Module:
    """The network after some steps, in evaluation mode."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    network.train()
    for _ in range(steps):
        output = network(data[0])
        loss = nn.functional.cross_entropy(getattr(output, "logits", output), data[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


class Rows(Dataset[Any]):
    """A map-style data set of what `row(index)` returns."""

    def __init__(self, count: int, row: Any) -> None:
        self.count, self.row = count, row

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.row(index)
