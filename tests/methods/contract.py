"""A bench for methods: a tiny real split, a quickly trained original, and trials of every method in the catalogue on it.

Run as a script it prints the digest of the weights that each case leaves, for the comparison between processes.
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
from adaprob_ray.data.batches import DeviceImages, Subset, Subsets
from adaprob_ray.data.split import forget_positions, retain_positions
from adaprob_ray.methods.base import Context, Sizes, Split, Trained, derive_seed
from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import hyperparameters
from adaprob_ray.stages import models as stages
from adaprob_ray.stages.models import PassCounter, StageContext, StageOutput
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.expand import Sweep
from adaprob_ray.training.loop import fit

CPU = torch.device("cpu")
SEED = 1
ROWS = {"train": 160, "validation": 120, "test": 40}  # validation stands class by class: enough for the forget class
FORGET = {"kind": "selective", "class": 3, "count": 12}
FILTERS = 0.04
RECIPE = Recipe(epochs=5, lr=0.05, batch_size=20, weight_decay=5e-4)
SETTINGS = {"dataset": {"name": "digits", "test_pool": "clean"}, "architecture": {"name": "allcnn", "filters": FILTERS}}
NEEDS = ("retain", "forget", "validation", "recipe", "initial_state", "fresh_model")
KEEPS_STATISTICS = ("fisher", "ntk")  # they never train: batch norm's statistics stay whatever the recipe
PIXELS = ("forget", "retain", "validation", "test")  # what can be replaced by noise
ONLY_CHOOSES = {
    ("scrub_rewind", "validation")
}  # a part that picks one of several results need not change the picked one
LAST_STAGE = "features.7."  # of the bench's network: all that CF-k and EU-k train, but for the classifier of `random`


# -- cases ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A method with some settings, as JSON text so that it can be hashed."""

    method: str
    settings: str = "{}"

    @property
    def name(self) -> str:
        given = json.loads(self.settings)
        return "-".join([self.method, *(f"{key}={value}" for key, value in given.items())])

    @property
    def cls(self) -> Any:
        return METHODS[self.method]

    def build(self) -> Any:
        return self.cls(**json.loads(self.settings))


EXTRA = {"scrub": [{"smoothing": 0.5, "smoothing_start": 2}], "cf_k": [{"momentum": 0.9}], "eu_k": [{"momentum": 0.9}]}


def cases(stage: str) -> list[Case]:
    """Every method of a stage with `{}`, and once with each choice that is not a default, as far as a method allows it."""
    found = []
    for name, cls in METHODS.items():
        if cls.stage != stage:
            continue
        found.append(Case(name))
        choices = [
            {item.name: choice}
            for item in hyperparameters(cls).values()
            for choice in item.choices
            if choice != item.default
        ]
        for given in choices + EXTRA.get(name, []):
            with contextlib.suppress(ValueError):
                cls(**given)
                found.append(Case(name, json.dumps(given)))
    return found


UNLEARN, TRAIN = cases("unlearn"), cases("train")


def keeps_statistics(case: Case, recipe: Recipe, name: str) -> bool:
    """Whether a buffer of batch norm stays as it was. Who asks for the recipe follows it, others train."""
    if case.method == "eu_k" and "random" in case.settings and name.startswith(LAST_STAGE):
        return False
    if case.method == "adaprob" and "scrub" in case.settings:  # SCRUB trains them
        return False
    frozen = "recipe" in case.cls.needs and recipe.batch_norm == "frozen"
    return frozen or case.method in KEEPS_STATISTICS


def trains(case: Case, name: str) -> bool:
    """Whether a method may change this parameter."""
    if case.method not in ("cf_k", "eu_k"):
        return True
    starts_anew = case.method == "eu_k"  # ALL-CNN's classifier goes back to its start and stays there
    return name.startswith(LAST_STAGE) or (starts_anew and name.startswith("classifier."))


# -- the split and the original -----------------------------------------------------------------------------------------------


def shrunk(part: Subset, rows: int) -> Subset:
    """The first rows as a part of its own, so that positions run from 0."""
    pixels = part.pixels
    return Subset(
        DeviceImages(pixels.images_NHWC[:rows].clone(), pixels.labels[:rows].clone(), pixels.scale_C, pixels.shift_C),
        torch.arange(rows),
    )


@functools.cache
def make_parts() -> Subsets:
    whole = stages.load_subsets(REGISTRY.datasets["digits"], Path(), SEED, test_pool="clean", device=CPU)
    small = {name: shrunk(getattr(whole, name), rows) for name, rows in ROWS.items()}
    return Subsets(**small)


def forget_rows(parts: Subsets) -> np.ndarray:
    return forget_positions(parts.train.labels.numpy(), FORGET, SEED)


def noisy(part: Subset, rows: Any) -> Subset:
    """The same part with the pixels of some rows replaced by noise."""
    images = part.pixels.images_NHWC.clone()
    noise = torch.randint(0, 256, (len(rows), *images.shape[1:]), generator=torch.Generator().manual_seed(99))
    images[torch.as_tensor(rows)] = noise.to(torch.uint8)
    return Subset(dataclasses.replace(part.pixels, images_NHWC=images), part.rows)


def with_noise(parts: Subsets, names: Sequence[str]) -> Subsets:
    """The parts with noise for all pixels of some of PIXELS."""
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
    return stages.to_device(stages.build_model(SETTINGS, seed), CPU)


@functools.cache
def _original() -> nn.Module:
    model = new_model()
    shuffle = torch.Generator().manual_seed(derive_seed(SEED, 0, "order"))
    recipe = dataclasses.replace(RECIPE, batch_norm="train")
    fit(model, make_parts().train, recipe, generator=shuffle, precision="float32", report=lambda step, **scalars: None)
    return model


def original() -> nn.Module:
    """A copy that may be changed."""
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
    """Notes which parts were touched."""

    def _part(self, name: str) -> Subset:
        part = super()._part(name)
        self.parts["touched"].add(name)
        return part


class WatchedContext(Context):
    """Notes what was touched, what was handed out, and how often the deadline was looked at."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
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
    """What one run of a method left. `teachers` are networks that it copied or was handed, with their first digests."""

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
    chosen: dict[str, Any] = {
        "forget": parts.train.select(forget),
        "retain": parts.train.select(retain_positions(len(parts.train), forget)),
        "train": parts.train,
        "validation": parts.validation,
    }
    if kind is WatchedSplit:
        chosen["touched"] = set()
    return kind(needs=needs, parts=chosen)


def make_context(needs: frozenset[str], kind: type[Context] = Context, **given: Any) -> Any:
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
    return kind(needs=needs, **{**defaults, **given})


@contextlib.contextmanager
def copies_noted() -> Iterator[list[tuple[nn.Module, str]]]:
    """Networks that are made by `copy.deepcopy` meanwhile, with their digests."""
    made: list[tuple[nn.Module, str]] = []
    plain = copy.deepcopy

    def noting(value: Any, memo: Any = None) -> Any:
        result = plain(value, memo)
        if isinstance(value, nn.Module) and memo is None:
            made.append((result, digest(state(result))))
        return result

    with mock.patch.object(copy, "deepcopy", noting):
        yield made


def attempt(case: Case, *, needs: frozenset[str] | None = None, noise: Sequence[str] = (), **context: Any) -> Trial:
    """Run a method of the stage unlearn on the bench; `noise` names parts whose pixels are replaced."""
    parts = with_noise(make_parts(), noise)
    method = case.build()
    needs = method.needs if needs is None else needs
    model, passes = original(), PassCounter()
    handle, make_model = passes.watch(model), lambda seed: passes.watched(new_model(seed))
    before = state(model)
    reported: list[tuple[int, dict[str, float]]] = []
    window = make_context(
        needs,
        WatchedContext,
        **{
            "report": lambda step, **scalars: reported.append((step, scalars)),
            "make_model": make_model,
            **context,
        },
    )
    split = make_split(parts, needs, WatchedSplit)
    with copies_noted() as made:
        result = method.unlearn(model, split, window)
    handle.remove()
    touched = window.touched | split.parts["touched"]
    teachers = [(net, first) for net, first in [*made, *window.handed] if net is not result]
    return Trial(result, before, touched, teachers, passes, window.looks, window.facts, reported)


@functools.cache
def trial(case: Case, precision: str = "float32", batch_norm: str = "train") -> Trial:
    """One run for all the laws that look at it."""
    return attempt(case, precision=precision, recipe=dataclasses.replace(RECIPE, batch_norm=batch_norm))


def sizes(parts: Subsets) -> Sizes:
    forget = len(forget_rows(parts))
    return Sizes(
        retain=len(parts.train) - forget,
        forget=forget,
        validation=int((parts.validation.labels == FORGET["class"]).sum()),
        recipe_epochs=RECIPE.epochs,
        classes=10,
        parameters=sum(p.numel() for p in _original().parameters()),
    )


# -- cells through the stages, without a store on disk -------------------------------------------------------------------------


class MemoryStore:
    """What a stage reads, in memory."""

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
        workspace = StageContext(
            store=self,
            data_root=Path(),
            device=CPU,
            report=lambda step, **scalars: None,
        )
        self.cells[cell.key] = cell
        self.products[cell.key] = stages.STAGES[cell.stage](cell, workspace)
        return self.products[cell.key]


def planned(text: str) -> dict[str, Cell]:
    """The cells of a sweep given as text, parents first."""
    return dict(Sweep.parse(text, REGISTRY).cells)


def train_cell(case: Case, precision: str = "float32") -> Cell:
    """A cell of the stage train on the bench's settings."""
    method = case.build()
    settings = {
        **SETTINGS,
        "method": case.method,
        "hyper": dataclasses.asdict(method),
        "recipe": dataclasses.asdict(RECIPE),
        "seed": SEED,
        "precision": precision,
    }
    if method.reads_forget:
        settings["forget"] = FORGET
    return Cell("train", settings)


def trained(case: Case, *, precision: str = "float32", noise: Sequence[str] = ()) -> StageOutput:
    """Run a method of the stage train on the bench, through the stage."""
    assert issubclass(case.cls, Trained)
    parts = with_noise(make_parts(), noise)
    with mock.patch.object(stages, "subsets_of", return_value=parts):
        return MemoryStore().run(train_cell(case, precision))


@functools.cache
def train_product(case: Case, precision: str = "float32") -> StageOutput:
    return trained(case, precision=precision)


def clear_caches() -> None:
    """Forget trained networks: what follows trains them in another precision."""
    for cached in (_original, trial, train_product):
        cached.cache_clear()


def weights_digest(product: StageOutput) -> str:
    return hashlib.sha256(product.files[stages.WEIGHTS]).hexdigest()


def all_digests() -> dict[str, str]:
    """What each case leaves, by name, in this process."""
    unlearned = {case.name: digest(attempt(case).after) for case in UNLEARN}
    return {**unlearned, **{case.name: weights_digest(trained(case)) for case in TRAIN}}


def is_finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(math.isfinite(float(tensor.double().sum())) for tensor in tensors.values())


if __name__ == "__main__":
    import sys

    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(all_digests()))
