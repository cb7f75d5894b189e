"""Sizes that are known before anything is read, and the cost of a method in passes. A leaf: the planner uses both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the cost of a method depends on: samples of each subset, the original's recipe, and the network.

    `validation` counts the validation samples whose class occurs in the forget set; `recipe_decay` is the recipe's weight
    decay in whichever of its two forms.
    """

    retain: int
    forget: int
    validation: int
    recipe_epochs: int
    recipe_decay: float
    classes: int
    parameters: int

    @property
    def train(self) -> int:
        return self.retain + self.forget


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Passes of single samples through one network: `forward` counts teachers and students, `backward` one per gradient."""

    forward: int
    backward: int
