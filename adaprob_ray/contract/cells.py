"""Cells of a method through the stages of the package, without a store on disk."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.contract import bench, trials
from adaprob_ray.contract.bench import CPU, RECIPE, REQUEST, SEED, SETTINGS, make_parts, with_noise
from adaprob_ray.contract.cases import Case
from adaprob_ray.methods.base import Trained
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import TrainSettings
from adaprob_ray.sweep.sweep import Sweep


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
    for cached in (bench._original, trials.trial, train_product):
        cached.cache_clear()


def weights_digest(product: StageOutput) -> str:
    return hashlib.sha256(product.files[WEIGHTS]).hexdigest()


def digest_of(case: Case, precision: str = "float32") -> str:
    """The digest of the weights that a case gives."""
    if case.cls.stage == "train":
        return weights_digest(train_product(case, precision))
    return bench.digest(trials.trial(case, precision).after)
