"""What running a network costs: seconds by the wall clock, and passes of single examples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class PassCounter:
    """Counts examples that pass forward and backward through every network made from a watched one, copies included."""

    def __init__(self) -> None:
        self.forward = self.backward = 0

    def watch(self, model: nn.Module) -> Any:
        return model.register_forward_hook(self)

    def watched(self, model: nn.Module) -> nn.Module:
        """The model, watched until it is gone."""
        self.watch(model)
        return model

    def __call__(self, model: nn.Module, inputs: Any, output: Tensor) -> None:
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(self._count_backward)

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward += len(gradient)

    def __deepcopy__(self, memo: Any) -> PassCounter:
        return self  # a teacher copied from a watched student counts too


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def measured(model: nn.Module, device: torch.device, counter: PassCounter) -> Iterator[dict[str, float]]:
    """Seconds by the wall clock, device synchronised at both ends, and passes in examples; filled in at the end."""
    facts = dict[str, float]()
    handle = counter.watch(model)
    synchronize(device)
    start = time.perf_counter()
    try:
        yield facts
        synchronize(device)
        facts["seconds"] = time.perf_counter() - start
        facts["forward_examples"], facts["backward_examples"] = counter.forward, counter.backward
    finally:
        handle.remove()
