"""Sizes that are known before anything is read, and the cost of a method in passes. A leaf: the planner uses both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the cost and the limits of a method depend on.

    `retain`, `forget` and `validation` are numbers of samples; `validation` counts only the classes that occur in the forget
    set. `whole_classes`: whether all samples of the forgotten classes are forgotten. `recipe_epochs` and `recipe_decay` (weight
    decay in either form, 0 for none) are of the original's recipe, `classes` and `parameters` of the network.
    """

    retain: int
    forget: int
    validation: int
    recipe_epochs: int
    recipe_decay: float
    classes: int
    parameters: int
    whole_classes: bool = False

    @property
    def train(self) -> int:
        """The number of training samples."""
        return self.retain + self.forget


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Passes of single samples through one network: `forward` counts teachers and students, `backward` one per gradient."""

    forward: int
    backward: int
