"""What a method may touch: what it declares to need, and never the test set."""

from __future__ import annotations

import dataclasses
import gc
import types
from typing import Any
from unittest import mock

import pytest
import torch

from adaprob_ray import contract
from adaprob_ray.contract.cases import Case, cases, methods
from adaprob_ray.contract.cells import digest_of
from adaprob_ray.contract.fixtures import every_case
from adaprob_ray.errors import UndeclaredNeed
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.plugins.methods import NEEDS
from adaprob_ray.stages.base import StageContext
from adaprob_ray.store.names import OUTPUTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import UnlearnSettings
from adaprob_ray.training.loop import distance

unlearning = every_case(cases("unlearn"))


@unlearning
def test_it_touches_only_what_it_needs(case: Case) -> None:
    assert contract.trial(case).touched <= case.cls.needs | case.cls.optional_needs


@pytest.mark.parametrize("name", [name for name, cls in methods().items() if cls.optional_needs])
def test_it_can_do_without_optional_needs_and_uses_them(name: str) -> None:
    cls = methods()[name]
    assert cls.optional_needs <= set(NEEDS)
    assert cls.optional_needs.isdisjoint(cls.needs)
    used = set[str]().union(*(contract.trial(case).touched for case in cases("unlearn") if case.method == name))
    assert cls.optional_needs <= used
    assert contract.is_finite(contract.attempt(Case(name), needs=cls.needs).after)


@pytest.mark.parametrize("name", [name for name, cls in methods().items() if cls.stage == "unlearn"])
def test_needs_are_minimal(name: str) -> None:
    """Each need is used under some settings of the method, which cannot run without it."""
    needs = methods()[name].needs
    assert needs <= set(NEEDS)
    own = [case for case in cases("unlearn") if case.method == name]
    for need in needs:
        users = [case for case in own if need in contract.trial(case).touched]
        assert users, f"{name} declares {need} and never uses it"
        with pytest.raises(UndeclaredNeed, match=need):
            contract.attempt(users[0], needs=needs - {need})


@pytest.mark.parametrize("name", [name for name, cls in methods().items() if cls.stage == "unlearn"])
def test_undeclared_needs_raise_when_touched(name: str) -> None:
    needs = methods()[name].needs
    split, context = contract.make_split(contract.make_parts(), needs), contract.make_context(needs)
    reach = {
        "retain": lambda: split.retain,
        "forget": lambda: split.forget,
        "validation": lambda: split.validation,
        "recipe": lambda: context.recipe,
        "initial_state": lambda: context.initial_state(),
        "fresh_model": lambda: context.fresh_model(),
    }
    assert set(reach) == set(NEEDS)
    for need, touch in reach.items():
        if need in needs:
            assert touch() is not None
        else:
            with pytest.raises(UndeclaredNeed, match=need):
                touch()
    if not {"retain", "forget"} <= needs:
        with pytest.raises(UndeclaredNeed):
            _ = split.train


@unlearning
def test_pixels_of_subsets_that_it_does_not_need_have_no_influence(case: Case) -> None:
    """Replacing them by noise leaves all weights bit-identical, which it does not for a subset that the method needs."""
    touched = contract.trial(case).touched
    others = [part for part in contract.PIXELS if part not in touched]
    assert contract.digest(contract.attempt(case, noise=others).after) == digest_of(case)
    for part in contract.PIXELS:
        if part in touched - case.cls.selects_only:
            assert contract.digest(contract.attempt(case, noise=[part]).after) != digest_of(case), part


def reachable(start: Any) -> list[Any]:
    """All objects that are reachable by attributes, items and closures, but not through modules, classes and globals."""
    observations: dict[int, Any] = {}
    pending = [start]
    while pending:
        item = pending.pop()
        if id(item) in observations or isinstance(item, (types.ModuleType, type)):
            continue
        observations[id(item)] = item
        if isinstance(item, types.FunctionType):
            pending.extend([item.__closure__, item.__defaults__, item.__kwdefaults__])
        else:
            pending.extend(gc.get_referents(item))
    return list(observations.values())


def unlearn_cell(case: Case, store: contract.MemoryStore) -> Cell:
    """A cell of the stage unlearn on the bench's original, which the store has."""
    trained: Any = contract.train_cell(Case("original"))
    store.cells[trained.key], store.products[trained.key] = trained, contract.train_product(Case("original"))
    settings = UnlearnSettings(
        dataset=trained.settings.dataset,
        architecture=trained.settings.architecture,
        method=case.method,
        hyper=dataclasses.asdict(case.build()),
        recipe=trained.settings.recipe,
        seed=trained.settings.seed,
        precision=trained.settings.precision,
        forget=contract.REQUEST,
        repeat=0,
    )
    return Cell("unlearn", settings, {"original": trained.key})


@unlearning
def test_the_test_set_is_not_reachable_and_the_stage_leaves_the_original_alone(case: Case) -> None:
    """With the arguments of the stage itself: no tensor with test images or labels is reachable from them."""
    store, parts = contract.MemoryStore(), contract.make_parts()
    cell = unlearn_cell(case, store)
    forbidden = {parts.test.pixels.images_NHWC.data_ptr(), parts.test.pixels.labels.data_ptr()}
    permitted = {parts.train.pixels.images_NHWC.data_ptr(), parts.validation.pixels.images_NHWC.data_ptr()}
    before = contract.weights_digest(store.products[cell.parents["original"]])
    observations: set[int] = set()
    real = case.cls.unlearn

    def spying(self: Any, model: Any, split: Any, context: Any) -> Any:
        assert sorted(split.subsets) == ["forget", "retain", "train", "validation"]
        assert not any("test" in name for name in dir(split) + dir(context) if not name.startswith("__"))
        items = reachable((model, split, context))
        observations.update(item.data_ptr() for item in items if isinstance(item, torch.Tensor))
        return real(self, model, split, context)

    with (
        mock.patch.object(StageContext, "subsets", return_value=parts),
        mock.patch.object(case.cls, "unlearn", spying),
    ):
        product = store.run(cell)
    assert permitted <= observations  # the search finds what is reachable
    assert observations.isdisjoint(forbidden)
    assert contract.weights_digest(store.products[cell.parents["original"]]) == before
    trial = contract.trial(case)
    moved = distance(trial.model.parameters(), [trial.before[name] for name, _ in trial.model.named_parameters()])
    assert product.facts["parameter_distance"] == moved > 0  # the stage gives the result of the bench
    logits = Outputs.from_bytes(product.files[OUTPUTS]).logits
    assert {name: len(rows) for name, rows in logits.items()} == contract.ROWS
