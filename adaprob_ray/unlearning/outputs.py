"""What a network says about the samples that are measured before and after an unlearning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from adaprob_ray.data.dataset import Integers
from adaprob_ray.training.loop import predict
from adaprob_ray.unlearning.subset import SampleSubset

# Subsets whose outputs are kept, before and after, in the order of the record.
MEASURED = ("forget", "retain_measured", "validation", "test")


@dataclass(frozen=True)
class ModelOutputs:
    """float32 logits [N, K] of one model over a subset, and its labels [N]."""

    logits: NDArray[np.float32]
    labels: Integers


def measure(network: nn.Module, subsets: Mapping[str, SampleSubset]) -> dict[str, ModelOutputs]:
    """Outputs over the measured subsets."""
    return {
        name: ModelOutputs(predict(network, subsets[name]).cpu().numpy(), subsets[name].labels.cpu().numpy())
        for name in MEASURED
        if name in subsets
    }
