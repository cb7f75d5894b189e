"""All that a method may use of data, networks and randomness, as far as it declares it in `needs`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adaprob_ray.data.batches import Subset
from adaprob_ray.errors import DeadlineExceeded, UndeclaredNeed
from adaprob_ray.recipe import Recipe


def derive_seed(seed: int, repeat: int, purpose: str) -> int:
    """A 63-bit seed of (seed, repeat, purpose) only, so that settings are compared under the same randomness (DESIGN §9)."""
    digest = hashlib.sha256(f"{seed}/{repeat}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def check_deadline(deadline: float | None) -> None:
    """Raises DeadlineExceeded if `deadline`, a reading of the monotonic clock, has passed; None is no limit."""
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineExceeded("the deadline of this cell has passed")


def _undeclared(owner: str, name: str, needs: frozenset[str]) -> str:
    declared = ", ".join(sorted(needs)) or "none"
    return f"{owner}.{name}: must be among the declared needs (known: {declared})"


@dataclass(frozen=True, kw_only=True)
class Split:
    """The subsets of the data that an unlearning method may use, as far as it declares them in `needs`.

    Rows are positions in the training set. `train` holds the retain and forget samples together, in data-set order, for methods
    that declare both.

    Args:
        needs: the declared needs of the method.
        subsets: `retain`, `forget`, `train` and `validation`.

    Raises:
        UndeclaredNeed: on access to a subset that `needs` does not name.

    Example:
        >>> from adaprob_ray.data.batches import DeviceImages
        >>> images = torch.zeros(6, 2, 2, 1, dtype=torch.uint8)
        >>> device_images = DeviceImages(images, torch.arange(6) % 2, torch.ones(1), torch.zeros(1))
        >>> split = Split(needs=frozenset({"retain"}), subsets={"retain": Subset(device_images, torch.arange(4))})
        >>> len(split.retain)
        4
        >>> split.forget
        Traceback (most recent call last):
        adaprob_ray.errors.UndeclaredNeed: split.forget: must be among the declared needs (known: retain)
    """

    needs: frozenset[str]
    subsets: Mapping[str, Subset]

    def _subset(self, name: str) -> Subset:
        if name not in self.needs:
            raise UndeclaredNeed(_undeclared("split", name, self.needs))
        return self.subsets[name]

    def available(self, name: str) -> Subset | None:
        """A subset that the method uses if there is one; None if it may not use it, or if it is missing or has no rows."""
        if name not in self.needs or not len(self.subsets.get(name, ())):
            return None
        return self._subset(name)

    @property
    def retain(self) -> Subset:
        return self._subset("retain")

    @property
    def forget(self) -> Subset:
        return self._subset("forget")

    @property
    def validation(self) -> Subset:
        return self._subset("validation")

    @property
    def train(self) -> Subset:
        self._subset("retain")
        self._subset("forget")
        return self.subsets["train"]


class Context:
    """Device, precision, randomness, reporting and deadline of a run and, if declared, what the original was trained with.

    Args:
        device: where the network and the data are.
        precision: `float32` or `bfloat16`, of the training passes.
        seed: of the cell.
        repeat: number of the repetition under this seed.
        needs: the declared needs of the method.
        recipe: how the original was trained.
        make_model: returns a randomly initialized network, given a seed.
        initial_state: returns the weights from which the original was trained.
        report: `report(step, **scalars)` records scalars in the cell's series and for TensorBoard. A step is an epoch, from
            1, or an iteration of the projection's solver, from 0.
        deadline: reading of the monotonic clock after which the run must stop; None for no limit.

    Raises:
        UndeclaredNeed: on access to something that `needs` does not name.

    Example:
        >>> context = Context(
        ...     device=torch.device("cpu"),
        ...     precision="float32",
        ...     seed=1,
        ...     repeat=0,
        ...     needs=frozenset({"recipe"}),
        ...     recipe=Recipe(epochs=3),
        ...     make_model=lambda seed: nn.Linear(2, 2),
        ...     initial_state=dict,
        ...     report=lambda step, **scalars: None,
        ... )
        >>> context.recipe.epochs
        3
        >>> context.note(rewound_to=2.0)
        >>> context.facts
        {'rewound_to': 2.0}
        >>> context.fresh_model()
        Traceback (most recent call last):
        adaprob_ray.errors.UndeclaredNeed: context.fresh_model: must be among the declared needs (known: recipe)
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
            raise UndeclaredNeed(_undeclared("context", name, self._needs))

    @property
    def recipe(self) -> Recipe:
        """Loss terms, weight decay and batch-norm mode of the original's training."""
        self._declared("recipe")
        return self._recipe

    def initial_state(self) -> dict[str, Tensor]:
        """The weights from which the original was trained."""
        self._declared("initial_state")
        return self._initial_state()

    def fresh_model(self) -> nn.Module:
        """A randomly initialized network of the same architecture."""
        self._declared("fresh_model")
        return self._make_model(derive_seed(self._seed, self._repeat, "fresh_model"))

    def generator(self, purpose: str) -> torch.Generator:
        """A new CPU generator for one purpose (shuffle, pseudo, noise …), independent of those for other purposes."""
        return torch.Generator().manual_seed(derive_seed(self._seed, self._repeat, purpose))

    def note(self, **facts: float) -> None:
        """Add numbers to the Record."""
        self.facts.update(facts)

    def check_deadline(self) -> None:
        """Raises DeadlineExceeded after the deadline. Methods call it at least once per epoch."""
        check_deadline(self._deadline)
