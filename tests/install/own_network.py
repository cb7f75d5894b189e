"""A network and data of a user's own, for `adaprob-ray unlearn`."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


def make() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def data() -> tuple[Tensor, Tensor]:
    digits = load_digits()
    return torch.tensor(digits.images[:300, None] / 16, dtype=torch.float32), torch.tensor(digits.target[:300])
