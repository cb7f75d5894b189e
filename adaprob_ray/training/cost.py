"""Cost of running networks: wall-clock seconds, and forward and backward passes counted in examples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class PassCounter:
    """Counts the examples that pass forward and backward through watched networks and their copies.

    Attributes:
        forward, backward: examples so far.
        trained: the network that was last run to train it, None before the first.
        paused_seconds: of `paused` blocks.
    """

    def __init__(self) -> None:
        self.forward = self.backward = 0
        self.trained: nn.Module | None = None
        self.paused_seconds = 0.0

    def watch(self, model: nn.Module) -> Any:
        """Count the passes of a network until the returned handle is removed."""
        return model.register_forward_hook(self)

    def watched(self, model: nn.Module) -> nn.Module:
        """The network itself, watched for as long as it exists."""
        self.watch(model)
        return model

    def __call__(self, model: nn.Module, inputs: Any, output: Tensor) -> None:
        self.forward += len(output)
        if output.requires_grad:
            self.trained = model
            output.register_hook(self._count_backward)

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward += len(gradient)

    @contextmanager
    def paused(self, device: torch.device) -> Iterator[None]:
        """Leave the block out of the passes that are counted, and out of the seconds of `measure_cost`."""
        start, forward, backward = synchronized_time(device), self.forward, self.backward
        try:
            yield
        finally:
            self.forward, self.backward = forward, backward
            self.paused_seconds += synchronized_time(device) - start

    def __deepcopy__(self, memo: Any) -> PassCounter:
        # A teacher that is copied from a watched student must count into the same counter.
        return self


def synchronized_time(device: torch.device) -> float:
    """The clock, in seconds, once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def measure_cost(model: nn.Module, device: torch.device, counter: PassCounter) -> Iterator[dict[str, float]]:
    """Measure seconds and passes of the block. The mapping that it yields is filled when the block ends.

    The device is synchronized before both readings of the clock.
    """
    facts = dict[str, float]()
    handle = counter.watch(model)
    start = synchronized_time(device) - counter.paused_seconds
    try:
        yield facts
        facts["seconds"] = synchronized_time(device) - start - counter.paused_seconds
        facts["forward_examples"], facts["backward_examples"] = counter.forward, counter.backward
    finally:
        handle.remove()
