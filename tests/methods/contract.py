"""Test bench for methods: a tiny real split, a quickly trained original, and runs of every method in the catalogue on it.

Run as a script it prints the digest of the weights that each case gives, for the comparison between processes.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from adaprob_ray.catalogue import METHODS, REGISTRY
from adaprob_ray.data.batches import DeviceImages, Subset, Subsets, load_subsets
from adaprob_ray.data.split import forget_positions, retain_positions
from adaprob_ray.methods.base import Context, Split, Trained, derive_seed
from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import as_mapping, hyperparameters
from adaprob_ray.sizes import Sizes
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.stages.models import build_model, to_device
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import (
    ArchitectureSettings,
    CellSettings,
    DatasetSettings,
    ForgetRequest,
    TrainSettings,
)
from adaprob_ray.sweep.sweep import Sweep
from adaprob_ray.training.cost import PassCounter
from adaprob_ray.training.loop import fit

CPU = torch.device("cpu")
SEED = 1
ROWS = {"train": 160, "validation": 120, "test": 40}  # validation is ordered by class: enough for the forget class
FORGET = {"kind": "selective", "class": 3, "count": 12}
REQUEST = ForgetRequest.from_document(FORGET)
FILTERS = 0.04
RECIPE = Recipe(epochs=5, lr=0.05, batch_size=20, weight_decay=5e-4)
SETTINGS = CellSettings(
    dataset=DatasetSettings(name="digits"),
    architecture=ArchitectureSettings(name="allcnn", filters=FILTERS),
    seed=SEED,
    precision="float32",
)
NEEDS = ("retain", "forget", "validation", "recipe", "initial_state", "fresh_model")
PIXELS = ("forget", "retain", "validation", "test")  # what can be replaced by noise


# -- cases ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A method with some settings, as JSON text so that it can be hashed."""

    method: str
    settings: str = "{}"

    @property
    def name(self) -> str:
        settings = json.loads(self.settings).items()
        return "-".join([self.method, *(f"{key}={value}" for key, value in settings)])

    @property
    def cls(self) -> Any:
        return METHODS[self.method]

    def build(self) -> Any:
        return self.cls(**json.loads(self.settings))


def cases(stage: str) -> list[Case]:
    """Every method of a stage with `{}`, with each choice that is not a default, if allowed, and with its tested settings."""
    selected = []
    for name, cls in METHODS.items():
        if cls.stage != stage:
            continue
        selected.append(Case(name))
        choices = [
            {item.name: choice}
            for item in hyperparameters(cls).values()
            for choice in item.choices
            if choice != item.default
        ]
        for settings in [*choices, *cls.tested_settings]:
            with contextlib.suppress(ValueError):
                cls(**settings)
                selected.append(Case(name, json.dumps(settings)))
    return selected


UNLEARN, TRAIN = cases("unlearn"), cases("train")


def changed_parameters(case: Case) -> set[str]:
    """The names of the parameters that the method declares to change."""
    model = original()
    return case.build().changed_parameters(model)


def updated_buffers(case: Case, batch_norm: str) -> set[str]:
    """The names of the batch-norm statistics that the method declares to update, under a recipe with this `batch_norm`."""
    model = original()
    buffers = {id(b) for layer in case.build().updated_statistics(model, batch_norm) for b in layer.buffers()}
    return {name for name, buffer in model.named_buffers() if id(buffer) in buffers}


# -- the split and the original -----------------------------------------------------------------------------------------------


def shrunk(part: Subset, rows: int) -> Subset:
    """The first rows as a subset of their own images, so that positions start at 0."""
    pixels = part.pixels
    return Subset(
        DeviceImages(pixels.images_NHWC[:rows].clone(), pixels.labels[:rows].clone(), pixels.scale_C, pixels.shift_C),
        torch.arange(rows),
    )


@functools.cache
def make_parts() -> Subsets:
    whole = load_subsets(REGISTRY.datasets["digits"], Path(), SEED, test_pool="clean", device=CPU)
    small = {name: shrunk(getattr(whole, name), rows) for name, rows in ROWS.items()}
    return Subsets(**small)


def forget_rows(parts: Subsets) -> np.ndarray:
    return forget_positions(parts.train.labels.numpy(), REQUEST, SEED)


def noisy(part: Subset, rows: Any) -> Subset:
    """The same subset with the pixels of some rows replaced by noise."""
    images = part.pixels.images_NHWC.clone()
    noise = torch.randint(0, 256, (len(rows), *images.shape[1:]), generator=torch.Generator().manual_seed(99))
    images[torch.as_tensor(rows)] = noise.to(torch.uint8)
    return Subset(dataclasses.replace(part.pixels, images_NHWC=images), part.rows)


def with_noise(parts: Subsets, names: Sequence[str]) -> Subsets:
    """The subsets with noise for all pixels of some of PIXELS."""
    forget = forget_rows(parts)
    rows = {"forget": forget, "retain": retain_positions(len(parts.train), forget)}
    for name in names:
        if name in rows:
            parts = dataclasses.replace(parts, train=noisy(parts.train, rows[name]))
        else:
            part = getattr(parts, name)
            parts = dataclasses.replace(parts, **{name: noisy(part, part.rows)})
    return parts


def new_model(seed: int = derive_seed(SEED, 0, "initial")) -> nn.Module:
    return to_device(build_model(SETTINGS, seed, REGISTRY), CPU)


@functools.cache
def _original() -> nn.Module:
    model = new_model()
    shuffle = torch.Generator().manual_seed(derive_seed(SEED, 0, "order"))
    recipe = dataclasses.replace(RECIPE, batch_norm="train")
    fit(model, make_parts().train, recipe, generator=shuffle, precision="float32", report=lambda step, **scalars: None)
    return model


def original() -> nn.Module:
    """A copy of the original that may be changed."""
    return copy.deepcopy(_original())


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def digest(tensors: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name, tensor in tensors.items():
        content.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return content.hexdigest()


# -- trials ---------------------------------------------------------------------------------------------------------------


class WatchedSplit(Split):
    """Records which subsets were used."""

    def _subset(self, name: str) -> Subset:
        subset = super()._subset(name)
        self.subsets["touched"].add(name)
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
    return attempt(case, precision=precision, recipe=dataclasses.replace(RECIPE, batch_norm=batch_norm))


def sizes(parts: Subsets) -> Sizes:
    forget = len(forget_rows(parts))
    return Sizes(
        retain=len(parts.train) - forget,
        forget=forget,
        validation=int((parts.validation.labels == FORGET["class"]).sum()),
        recipe_epochs=RECIPE.epochs,
        recipe_decay=RECIPE.decay,
        classes=10,
        parameters=sum(p.numel() for p in _original().parameters()),
    )


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


# -- cells through the stages, without a store on disk -------------------------------------------------------------------------


class MemoryStore:
    """The store interface that a stage reads, in memory."""

    def __init__(self) -> None:
        self.products: dict[str, StageOutput] = {}
        self.cells: dict[str, Cell] = {}

    def read(self, key: str, name: str) -> bytes:
        return self.products[key].files[name]

    def read_json(self, key: str, name: str) -> Any:
        return json.loads(self.read(key, name))

    def cell(self, key: str) -> dict[str, Any] | None:
        return self.cells[key].identity if key in self.cells else None

    def commit(self, key: str) -> Any:
        return SimpleNamespace(facts=self.products[key].facts)

    def run(self, cell: Cell) -> StageOutput:
        context = StageContext(
            store=self,
            registry=REGISTRY,
            data_root=Path(),
            device=CPU,
            report=lambda step, **scalars: None,
        )
        self.cells[cell.key] = cell
        self.products[cell.key] = REGISTRY.stages[cell.stage].run(cell, context)
        return self.products[cell.key]


def planned(text: str) -> dict[str, Cell]:
    """The cells of a sweep, from its text, parents first."""
    return dict(Sweep.parse(text, REGISTRY).cells)


def train_cell(case: Case, precision: str = "float32") -> Cell:
    """A cell of the stage train on the bench's settings."""
    method = case.build()
    settings = TrainSettings(
        dataset=SETTINGS.dataset,
        architecture=SETTINGS.architecture,
        method=case.method,
        hyper=dataclasses.asdict(method),
        recipe=RECIPE,
        seed=SEED,
        precision=precision,
        forget=REQUEST if method.reads_forget else None,
    )
    return Cell("train", settings)


def trained(case: Case, *, precision: str = "float32", noise: Sequence[str] = ()) -> StageOutput:
    """Run a method of the stage train on the bench, through the stage."""
    assert issubclass(case.cls, Trained)
    parts = with_noise(make_parts(), noise)
    with mock.patch.object(StageContext, "subsets", return_value=parts):
        return MemoryStore().run(train_cell(case, precision))


@functools.cache
def train_product(case: Case, precision: str = "float32") -> StageOutput:
    return trained(case, precision=precision)


def clear_caches() -> None:
    """Forget trained networks: what follows trains them in another precision."""
    for cached in (_original, trial, train_product):
        cached.cache_clear()


def weights_digest(product: StageOutput) -> str:
    return hashlib.sha256(product.files[WEIGHTS]).hexdigest()


def all_digests() -> dict[str, str]:
    """Digests of the weights that each case gives in this process, by name."""
    unlearned = {case.name: digest(attempt(case).after) for case in UNLEARN}
    return {**unlearned, **{case.name: weights_digest(trained(case)) for case in TRAIN}}


def is_finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(math.isfinite(float(tensor.double().sum())) for tensor in tensors.values())


if __name__ == "__main__":
    import sys

    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(all_digests()))
