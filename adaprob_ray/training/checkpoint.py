"""How far a training has come: all that its next epoch depends on, so that another process goes on where this one stopped.

    the network with batch norm's statistics · the optimiser's momenta · the order's generator · torch's own generators

What goes on from here ends with the same bits as a training that nobody stopped; only the epoch that ran is run again.
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
    """After `epoch` epochs, the last of which had these means; `momenta` stand in the optimiser's order."""

    epoch: int
    loss: float
    error_percent: float
    network: Mapping[str, Tensor]
    momenta: list[Tensor | None]
    generators: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        optimizer: torch.optim.SGD,
        generator: torch.Generator,
        *,
        epoch: int,
        loss: float,
        error_percent: float,
    ) -> TrainingState:
        """The state as it is now, sharing memory with the training: write it down before the next step."""
        generators = {"order": generator.get_state(), "cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized():
            generators["cuda"] = torch.cuda.get_rng_state()
        return cls(
            epoch=epoch,
            loss=loss,
            error_percent=error_percent,
            network=model.state_dict(),
            momenta=[optimizer.state[p].get("momentum_buffer") for p in parameters_of(optimizer)],
            generators=generators,
        )

    def restore(self, model: nn.Module, optimizer: torch.optim.SGD, generator: torch.Generator) -> None:
        """Bring a training that was set up in the same way to this state."""
        model.load_state_dict(self.network)
        for parameter, momentum in zip(parameters_of(optimizer), self.momenta, strict=True):
            if momentum is not None:  # in the parameter's memory format, as the optimiser makes it
                optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).detach().copy_(momentum)
        generator.set_state(self.generators["order"])
        torch.set_rng_state(self.generators["cpu"])
        if "cuda" in self.generators:
            torch.cuda.set_rng_state(self.generators["cuda"])


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """What the optimiser moves, in its order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A state, and what its cell had spent and reported until then. Seconds are those of training, all attempts together."""

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
        """What `to_bytes` wrote, on the CPU."""
        found: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return cls(**{**found, "state": TrainingState(**found["state"])})


class Checkpoints(Protocol):
    """Where a cell keeps its checkpoints, and finds that of an attempt before it."""

    def last(self) -> bytes | None:
        """What an earlier attempt kept, if this one would end with the same bits; None to begin from the start."""

    def due(self) -> bool:
        """Whether so much time has passed that it is worth keeping one."""

    def save_checkpoint(self, make: Callable[[], bytes]) -> None:
        """Make one and put it in the place of the last."""
