"""Runs of a method on the bench that record what it uses, hands out and changes."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

from torch import Tensor, nn

from adaprob_ray.contract.bench import (
    CPU,
    RECIPE,
    SEED,
    digest,
    forget_rows,
    make_parts,
    new_model,
    original,
    sizes,
    state,
    with_noise,
)
from adaprob_ray.contract.cases import Case
from adaprob_ray.data.batches import Subset, Subsets
from adaprob_ray.data.split import retain_positions
from adaprob_ray.methods.base import Context, Split
from adaprob_ray.settings import as_mapping
from adaprob_ray.training.cost import PassCounter


class WatchedSplit(Split):
    """Records which subsets were used."""

    def _subset(self, name: str) -> Subset:
        subset = super()._subset(name)
        touched: Any = self.subsets["touched"]
        touched.add(name)
        return subset


class WatchedContext(Context):
    """Records what was used, what was handed out, and how often the deadline was checked."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.touched: set[str] = set()
        self.handed: list[tuple[Any, str]] = []
        self.looks = 0

    def _declared(self, name: str) -> None:
        super()._declared(name)
        self.touched.add(name)

    def initial_state(self) -> dict[str, Tensor]:
        tensors = super().initial_state()
        self.handed.append((SimpleNamespace(state_dict=lambda: tensors), digest(tensors)))
        return tensors

    def fresh_model(self) -> nn.Module:
        model = super().fresh_model()
        self.handed.append((model, digest(state(model))))
        return model

    def check_deadline(self) -> None:
        self.looks += 1
        super().check_deadline()


@dataclass
class Trial:
    """Results of one run of a method. `teachers` are networks that it copied or received, with their initial digests."""

    model: nn.Module
    before: dict[str, Tensor]
    touched: set[str]
    teachers: list[tuple[Any, str]]
    passes: PassCounter
    looks: int
    facts: dict[str, float]
    reported: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    @property
    def after(self) -> dict[str, Tensor]:
        return state(self.model)


def make_split(parts: Subsets, needs: frozenset[str], kind: type[Split] = Split) -> Split:
    forget = forget_rows(parts)
    subsets: dict[str, Any] = {
        "forget": parts.train.select(forget),
        "retain": parts.train.select(retain_positions(len(parts.train), forget)),
        "train": parts.train,
        "validation": parts.validation,
    }
    if kind is WatchedSplit:
        subsets["touched"] = set()
    return kind(needs=needs, subsets=subsets)


def make_context(needs: frozenset[str], kind: type[Context] = Context, **overrides: Any) -> Any:
    defaults: dict[str, Any] = {
        "device": CPU,
        "precision": "float32",
        "seed": SEED,
        "repeat": 0,
        "recipe": RECIPE,
        "make_model": new_model,
        "initial_state": lambda: state(new_model()),
        "report": lambda step, **scalars: None,
    }
    return kind(needs=needs, **{**defaults, **overrides})


@contextlib.contextmanager
def record_copies() -> Iterator[list[tuple[nn.Module, str]]]:
    """Networks that `copy.deepcopy` returns in the block, with their digests."""
    copies: list[tuple[nn.Module, str]] = []
    deepcopy = copy.deepcopy

    def spying(value: Any, memo: Any = None) -> Any:
        result = deepcopy(value, memo)
        if isinstance(value, nn.Module) and memo is None:
            copies.append((result, digest(state(result))))
        return result

    with mock.patch.object(copy, "deepcopy", spying):
        yield copies


def attempt(case: Case, *, needs: frozenset[str] | None = None, noise: Sequence[str] = (), **context: Any) -> Trial:
    """Run a method of the stage unlearn on the bench; `noise` names parts whose pixels are replaced."""
    parts = with_noise(make_parts(), noise)
    method = case.build()
    needs = method.needs | method.optional_needs if needs is None else needs
    model, passes = original(), PassCounter()
    handle, make_model = passes.watch(model), lambda seed: passes.watched(new_model(seed))
    before = state(model)
    reported: list[tuple[int, dict[str, float]]] = []
    context_spy = make_context(
        needs,
        WatchedContext,
        **{
            "report": lambda step, **scalars: reported.append((step, scalars)),
            "make_model": make_model,
            **context,
        },
    )
    split = make_split(parts, needs, WatchedSplit)
    with record_copies() as copies:
        result = method.unlearn(model, split, context_spy)
    handle.remove()
    touched = context_spy.touched | split.subsets["touched"]
    teachers = [(net, first) for net, first in [*copies, *context_spy.handed] if net is not result]
    return Trial(result, before, touched, teachers, passes, context_spy.looks, context_spy.facts, reported)


@functools.cache
def trial(case: Case, precision: str = "float32", batch_norm: str = "train") -> Trial:
    """One run, shared by all tests that inspect it."""
    changed: dict[str, Any] = {"batch_norm": batch_norm}
    return attempt(case, precision=precision, recipe=dataclasses.replace(RECIPE, **changed))


def check_cost(case: Case, *, forward: float, backward: float) -> None:
    """Fail where the passes that were counted are not those that the method declares, with what the numbers are made of.

    A method that may end early declares the most that it makes.
    """
    numbers = sizes(make_parts())
    method = case.build()
    declared = method.cost(numbers)
    if getattr(method, "may_end_early", False):
        agrees = forward <= declared.forward and backward <= declared.backward
    else:
        agrees = (forward, backward) == (declared.forward, declared.backward)
    assert agrees, (
        f"{case.name}: counted {forward:g} forward and {backward:g} backward, "
        f"cost() declares {declared.forward} and {declared.backward}; samples: retain {numbers.retain}, "
        f"forget {numbers.forget}, validation {numbers.validation}; recipe: {numbers.recipe_epochs} epochs; "
        f"settings: {as_mapping(method)}"
    )


def is_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no number in these tensors is NaN or infinite."""
    return all(math.isfinite(float(tensor.double().sum())) for tensor in tensors.values())
