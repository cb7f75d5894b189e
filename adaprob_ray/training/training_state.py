"""Resumable state of a training: all that its next epoch depends on.

    the network with batch norm's statistics · the optimizer's state · the generator of the order · torch's own generators

A training that resumes from it ends with the same bits as one that was never interrupted; only the epoch that was
interrupted is repeated.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """State after `epoch` epochs, with the mean loss and error of the last one."""

    epoch: int
    loss: float
    error_percent: float
    network: Mapping[str, Tensor]
    optimizer: dict[str, Any]
    generators: Mapping[str, Tensor]

    @classmethod
    def capture(
        cls,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        *,
        epoch: int,
        loss: float,
        error_percent: float,
    ) -> TrainingState:
        """The current state. It shares memory with the training: serialize it before the next step."""
        generators = {"order": generator.get_state(), "cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized():
            generators["cuda"] = torch.cuda.get_rng_state()
        return cls(
            epoch=epoch,
            loss=loss,
            error_percent=error_percent,
            network=model.state_dict(),
            optimizer=optimizer.state_dict(),
            generators=generators,
        )

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> None:
        """Bring a training that was set up in the same way to this state."""
        model.load_state_dict(self.network)
        optimizer.load_state_dict(self.optimizer)
        generator.set_state(self.generators["order"])
        torch.set_rng_state(self.generators["cpu"])
        if "cuda" in self.generators:
            torch.cuda.set_rng_state(self.generators["cuda"])


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A state, with the cost and the series of its cell so far. Seconds are of training only, summed over attempts."""

    state: TrainingState
    seconds: float
    forward: int
    backward: int
    series: Mapping[str, list[tuple[int, float]]]

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        torch.save({**vars(self), "state": vars(self.state)}, file)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """Read what `to_bytes` wrote, onto the CPU."""
        fields: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return cls(**{**fields, "state": TrainingState(**fields["state"])})


class Checkpoints(Protocol):
    """Where a cell saves its checkpoints and finds those of an earlier attempt."""

    def last(self) -> bytes | None:
        """The last checkpoint of an earlier attempt, if resuming from it gives the same bits; None to start over."""

    def due(self) -> bool:
        """Whether enough time has passed since the last checkpoint to save another."""

    def save_checkpoint(self, make: Callable[[], bytes]) -> None:
        """Serialize a checkpoint and replace the last one by it."""
