"""What a method is, and the only window that it has on the world.

A method is a frozen dataclass of hyper-parameters. One that unlearns has the verb `unlearn(model, split, context)`; one that
trains from the start (original, retrain, retrain_independent) says which rows it trains on. `needs` names all that it may
touch; anything else raises. The test set is never reachable.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from adaprob_ray.data.batches import Subset
from adaprob_ray.data.dataset import Integers
from adaprob_ray.errors import DeadlineExceeded, UndeclaredNeed
from adaprob_ray.recipe import Recipe
from adaprob_ray.sizes import Cost, Sizes

Need = Literal["retain", "forget", "validation", "recipe", "initial_state", "fresh_model"]


def derive_seed(seed: int, repeat: int, purpose: str) -> int:
    """A 63-bit seed from (seed, repeat, purpose) alone: settings are compared under the same randomness (DESIGN §9)."""
    digest = hashlib.sha256(f"{seed}/{repeat}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, kw_only=True)
class Split:
    """The parts that an unlearning method may use. Rows are positions in the training set.

    `train` is retain and forget rows together, in data-set order, for methods that declare both.
    """

    needs: frozenset[str]
    parts: Mapping[str, Subset]

    def _part(self, name: str) -> Subset:
        if name not in self.needs:
            raise UndeclaredNeed(
                f"split.{name} is not among the declared needs: {', '.join(sorted(self.needs)) or 'none'}"
            )
        return self.parts[name]

    @property
    def retain(self) -> Subset:
        return self._part("retain")

    @property
    def forget(self) -> Subset:
        return self._part("forget")

    @property
    def validation(self) -> Subset:
        return self._part("validation")

    @property
    def train(self) -> Subset:
        self._part("retain")
        self._part("forget")
        return self.parts["train"]


class Context:
    """Device, precision, generators, reporting, deadline and, if declared, the recipe and the models of the original.

    `report(step, **scalars)` goes to TensorBoard and to the cell's series, a step being an epoch from 1, or one of the
    projection's solver from 0; `note(**facts)` puts numbers into the Record.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        precision: str,
        seed: int,
        repeat: int,
        needs: frozenset[str],
        recipe: Recipe,
        make_model: Callable[[int], nn.Module],
        initial_state: Callable[[], dict[str, Tensor]],
        report: Callable[..., None],
        deadline: float | None = None,
    ) -> None:
        self.device, self.precision, self.report = device, precision, report
        self.facts: dict[str, float] = {}
        self._seed, self._repeat, self._needs, self._deadline = seed, repeat, needs, deadline
        self._recipe, self._make_model, self._initial_state = recipe, make_model, initial_state

    def _declared(self, name: str) -> None:
        if name not in self._needs:
            raise UndeclaredNeed(f"context.{name} is not among the declared needs: {', '.join(sorted(self._needs))}")

    @property
    def recipe(self) -> Recipe:
        """How the original was trained: loss terms, weight decay, batch-norm mode."""
        self._declared("recipe")
        return self._recipe

    def initial_state(self) -> dict[str, Tensor]:
        """The weights from which the original was trained."""
        self._declared("initial_state")
        return self._initial_state()

    def fresh_model(self) -> nn.Module:
        """A randomly initialised network of the same architecture."""
        self._declared("fresh_model")
        return self._make_model(derive_seed(self._seed, self._repeat, "fresh_model"))

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator of its own for each purpose: shuffle, pseudo, noise …"""
        return torch.Generator().manual_seed(derive_seed(self._seed, self._repeat, purpose))

    def note(self, **facts: float) -> None:
        self.facts.update(facts)

    def check_deadline(self) -> None:
        """Raises DeadlineExceeded; methods call it at least once an epoch."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise DeadlineExceeded("the deadline of this cell has passed")


class Method:
    """Base of all methods. Hyper-parameters are the fields of the frozen dataclass that derives from it."""

    name: ClassVar[str]
    stage: ClassVar[Literal["train", "unlearn"]]
    reads_forget: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    revision: ClassVar[int] = 1
    space: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    def cost(self, sizes: Sizes) -> Cost:
        """Passes that the method makes, its preparation included."""
        raise NotImplementedError(f"{type(self).__name__} declares no cost")

    def skip(self, sizes: Sizes, architecture: nn.Module) -> str | None:
        return None


class Trained(Method):
    """A method that trains by the recipe from the original's start: it only chooses rows and randomness."""

    stage = "train"
    generator_suffix: ClassVar[str] = ""  # set: an initial classifier and an order of its own

    def rows(self, train_count: int, forget: Integers, seed: int) -> Integers:
        """Positions to train on; `forget` is empty where `reads_forget` is false."""
        raise NotImplementedError


class Unlearning(Method):
    """A method that starts from the trained original."""

    stage = "unlearn"

    def unlearn(self, model: nn.Module, split: Split, context: Context) -> nn.Module:
        """Return the unlearned model; `model` is a copy of the original that may be changed in place."""
        raise NotImplementedError
