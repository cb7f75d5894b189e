"""The contract of all methods in the catalogue. A new method is tested as soon as it is listed there."""

from __future__ import annotations

import dataclasses
import gc
import inspect
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any
from unittest import mock

import contract
import numpy as np
import pytest
import torch
from contract import NEEDS, TRAIN, UNLEARN, Case
from safetensors.torch import load

from adaprob_ray.catalogue import ARCHITECTURES, METHODS
from adaprob_ray.data.batches import Subsets
from adaprob_ray.errors import DeadlineExceeded, UndeclaredNeed
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.settings import Choice, Int, Log, as_mapping, hyperparameters, parse_settings
from adaprob_ray.stages.base import StageContext
from adaprob_ray.store.names import OUTPUTS, WEIGHTS
from adaprob_ray.sweep.cell_settings import UnlearnSettings
from adaprob_ray.training.loop import distance

ROOT = Path(__file__).resolve().parents[2]
ALL = TRAIN + UNLEARN


def every_case(cases: list[Case]) -> pytest.MarkDecorator:
    """Once for each case; cases other than `{}` are marked slow."""
    marks = {True: [], False: [pytest.mark.slow]}
    return pytest.mark.parametrize(
        "case", [pytest.param(case, id=case.name, marks=marks[case.settings == "{}"]) for case in cases]
    )


unlearning, training, anything = every_case(UNLEARN), every_case(TRAIN), every_case(ALL)
every_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(scope="session")
def digests_of_another_process() -> dict[str, str]:
    """The digests of all cases in another process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = [sys.executable, str(Path(contract.__file__))]
    process = subprocess.run(script, capture_output=True, text=True, env=environment, check=True)
    return json.loads(process.stdout)


def digest_of(case: Case, precision: str = "float32") -> str:
    if case.cls.stage == "train":
        return contract.weights_digest(contract.train_product(case, precision))
    return contract.digest(contract.trial(case, precision).after)


def test_the_suite_covers_the_whole_catalogue() -> None:
    assert {case.method for case in ALL} == set(METHODS)
    assert all(Case(name) in ALL for name in METHODS)
    assert all(name == cls.name for name, cls in METHODS.items())


# -- what a method does ---------------------------------------------------------------------------------------------------


@unlearning
def test_weights_move(case: Case) -> None:
    trial = contract.trial(case)
    before = [trial.before[name] for name, _ in trial.model.named_parameters()]
    assert distance(trial.model.parameters(), before) > 1e-4
    assert contract.is_finite(trial.after)
    assert {name: tensor.dtype for name, tensor in trial.after.items()} == {
        name: tensor.dtype for name, tensor in trial.before.items()
    }


@training
def test_training_moves_weights(case: Case) -> None:
    facts = contract.train_product(case).facts
    assert facts["start_distance"] > 1e-2
    assert facts["last_epoch_error_percent"] < 80  # of ten classes: it learns


@training
def test_training_again_gives_the_same_weights(case: Case) -> None:
    assert contract.weights_digest(contract.trained(case)) == digest_of(case)


@anything
@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_in_another_process(
    case: Case, digests_of_another_process: dict[str, str]
) -> None:
    assert digests_of_another_process[case.name] == digest_of(case)


@unlearning
def test_the_same_seed_gives_the_same_weights_and_the_global_generator_is_left_alone(case: Case) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    after = contract.attempt(case).after
    assert torch.equal(torch.random.get_rng_state(), before)
    assert contract.digest(after) == digest_of(case)


@unlearning
def test_teachers_stay_bit_identical(case: Case) -> None:
    for teacher, first in contract.trial(case).teachers:
        assert contract.digest(dict(teacher.state_dict())) == first


@unlearning
def test_an_unlearned_model_shares_no_memory_with_a_teacher(case: Case) -> None:
    trial = contract.trial(case)
    own = {tensor.data_ptr() for tensor in trial.model.state_dict().values()}
    for teacher, _ in trial.teachers:
        assert own.isdisjoint(tensor.data_ptr() for tensor in teacher.state_dict().values())


@unlearning
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_batch_norm_is_handled_as_declared(case: Case, batch_norm: str) -> None:
    trial, updated = contract.trial(case, "float32", batch_norm), contract.updated_buffers(case, batch_norm)
    for name, buffer in trial.model.named_buffers():
        assert torch.equal(buffer, trial.before[name]) is (name not in updated), name
    changed = contract.changed_parameters(case)
    scales = {name for name in changed if name.endswith("1.weight") and name.startswith("features")}
    assert scales or changed <= {"classifier.weight", "classifier.bias"}
    for name in scales:
        assert not torch.equal(trial.after[name], trial.before[name]), f"{name}: scale and shift train nevertheless"


@unlearning
def test_the_declared_layers_change_and_no_others(case: Case) -> None:
    trial, changed = contract.trial(case), contract.changed_parameters(case)
    assert {
        name for name, _ in trial.model.named_parameters() if not torch.equal(trial.after[name], trial.before[name])
    } == changed


@unlearning
def test_an_expired_deadline_stops_it_at_once(case: Case) -> None:
    with pytest.raises(DeadlineExceeded):
        contract.attempt(case, deadline=time.monotonic() - 1)


@unlearning
def test_the_deadline_is_checked_in_each_epoch(case: Case) -> None:
    trial = contract.trial(case)
    assert trial.looks >= len(set(trained_epochs(trial)))


@unlearning
def test_a_deadline_in_the_middle_stops_it(case: Case) -> None:
    """The clock passes the deadline at the last check. Only the context's clock is replaced, because other threads use it."""
    looks = contract.trial(case).looks
    ticks = iter([0.0] * (looks - 1) + [2.0])
    clock = types.SimpleNamespace(monotonic=ticks.__next__)
    with mock.patch("adaprob_ray.methods.context.time", clock), pytest.raises(DeadlineExceeded):
        contract.attempt(case, deadline=1.0)


@anything
def test_bfloat16_runs_and_leaves_float32_weights(case: Case) -> None:
    if case.build().cost(contract.sizes(contract.make_parts())).backward > 0:  # only training has a precision
        assert digest_of(case, "bfloat16") != digest_of(case, "float32")
    if case.cls.stage == "train":
        after = load(contract.train_product(case, "bfloat16").files[WEIGHTS])
    else:
        after = contract.trial(case, "bfloat16").after
    assert contract.is_finite(after)
    assert {tensor.dtype for tensor in after.values()} == {torch.float32, torch.int64}


def trained_epochs(trial: contract.Trial) -> list[int]:
    """The epochs of the reports, without those of the projection's solver, which counts its own iterations."""
    return [step for step, scalars in trial.reported if "projection_residual" not in scalars]


@unlearning
def test_it_reports_every_epoch(case: Case) -> None:
    trial = contract.trial(case)
    epochs = getattr(case.build(), "epochs", 1)
    by_solver = [step for step, scalars in trial.reported if set(scalars) == {"projection_residual"}]
    by_epoch = trained_epochs(trial)
    if not case.build().cost(contract.sizes(contract.make_parts())).backward:
        assert not by_epoch, "it trains in no epoch"
        return
    trained = max(by_epoch)
    assert trained == epochs or (trained < epochs and case.build().may_end_early)
    assert sorted(set(by_epoch)) == list(range(1, trained + 1))
    assert by_solver == list(range(len(by_solver))), "a solver counts its own iterations, from 0"
    assert bool(by_solver) == ("projection_residual" in trial.facts)
    assert all(isinstance(value, float) for _, scalars in trial.reported for value in scalars.values())


# -- what it may touch ----------------------------------------------------------------------------------------------------


@unlearning
def test_it_touches_only_what_it_needs(case: Case) -> None:
    assert contract.trial(case).touched <= case.cls.needs | case.cls.optional_needs


@pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.optional_needs])
def test_it_can_do_without_optional_needs_and_uses_them(name: str) -> None:
    cls = METHODS[name]
    assert cls.optional_needs <= set(NEEDS)
    assert cls.optional_needs.isdisjoint(cls.needs)
    used = set[str]().union(*(contract.trial(case).touched for case in UNLEARN if case.method == name))
    assert cls.optional_needs <= used
    assert contract.is_finite(contract.attempt(Case(name), needs=cls.needs).after)


@pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.stage == "unlearn"])
def test_needs_are_minimal(name: str) -> None:
    """Each need is used under some settings of the method, which cannot run without it."""
    needs = METHODS[name].needs
    assert needs <= set(NEEDS)
    own = [case for case in UNLEARN if case.method == name]
    for need in needs:
        users = [case for case in own if need in contract.trial(case).touched]
        assert users, f"{name} declares {need} and never uses it"
        with pytest.raises(UndeclaredNeed, match=need):
            contract.attempt(users[0], needs=needs - {need})


@pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.stage == "unlearn"])
def test_undeclared_needs_raise_when_touched(name: str) -> None:
    needs = METHODS[name].needs
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


def unlearn_cell(case: Case, store: contract.MemoryStore) -> Any:
    trained = contract.train_cell(Case("original"))
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
    return contract.Cell("unlearn", settings, {"original": trained.key})


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


# -- what it costs ----------------------------------------------------------------------------------------------------------


@unlearning
def test_the_declared_cost_is_what_is_counted(case: Case) -> None:
    passes = contract.trial(case).passes
    contract.check_cost(case, forward=passes.forward, backward=passes.backward)


@training
def test_the_declared_cost_of_training_is_what_is_counted(case: Case) -> None:
    facts = contract.train_product(case).facts
    contract.check_cost(case, forward=facts["forward_examples"], backward=facts["backward_examples"])


@every_method
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_skips_none_of_our_networks_which_may_be_on_the_meta_device(name: str, architecture: str) -> None:
    with torch.device("meta"):
        model = ARCHITECTURES[architecture].build(classes=10, channels=1, filters=0.1)
    assert METHODS[name]().skip(contract.sizes(contract.make_parts()), model) is None


# -- how it is declared -----------------------------------------------------------------------------------------------------


@anything
def test_settings_survive_json(case: Case) -> None:
    method = case.build()
    parsed, faults = parse_settings(case.cls, json.loads(json.dumps(as_mapping(method))), case.method)
    assert faults == []
    assert parsed == method


@every_method
def test_it_is_a_frozen_keyword_only_dataclass_whose_defaults_are_in_range(name: str) -> None:
    cls = METHODS[name]
    assert parse_settings(cls, {}, name) == (cls(), [])
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert all(item.kw_only for item in dataclasses.fields(cls))
    assert isinstance(cls.revision, int)
    assert cls.revision >= 1


@every_method
def test_the_search_space_names_fields_and_stays_in_their_ranges(name: str) -> None:
    cls = METHODS[name]
    for key, field in hyperparameters(cls).items():
        if field.search is None:
            continue
        if isinstance(field.search, Choice):
            bounds = field.search.values
            assert len(bounds) > 1
        else:
            bounds = (field.search.low, field.search.high)
            assert bounds[0] < bounds[1]
            assert not isinstance(field.search, Log) or bounds[0] > 0
            assert isinstance(field.search, Int) is isinstance(bounds[0], int)
        for bound in bounds:
            assert getattr(cls(**{key: bound}), key) == bound


@every_method
def test_the_docstring_names_needs_and_cost(name: str) -> None:
    text = " ".join((inspect.getmodule(METHODS[name]).__doc__ or "").lower().split())
    assert "needs" in text
    assert "cost" in text
    words = {"initial_state": "initial", "fresh_model": "random"}
    for need in METHODS[name].needs:
        assert words.get(need, need) in text, f"{name}: the docstring does not name {need}"


@every_method
def test_unlearn_is_short_enough_to_read(name: str) -> None:
    cls = METHODS[name]
    if cls.stage == "unlearn":
        assert len(inspect.getsource(cls.unlearn).splitlines()) <= 40


# -- Retrain ----------------------------------------------------------------------------------------------------------------


@training
def test_a_retrained_model_never_sees_a_forget_row(case: Case) -> None:
    """Replacing the forget rows' pixels by noise leaves its weights bit-identical, but changes the original's."""
    same = contract.weights_digest(contract.trained(case, noise=["forget"])) == digest_of(case)
    assert same is case.cls.reads_forget


@training
def test_no_trained_model_sees_validation_or_test(case: Case) -> None:
    assert contract.weights_digest(contract.trained(case, noise=["validation", "test"])) == digest_of(case)


def test_retrain_takes_as_many_rows_as_the_original_or_only_retain() -> None:
    parts = contract.make_parts()
    forget, count = contract.forget_rows(parts), len(parts.train)
    for case in TRAIN:
        rows = case.build().rows(count, forget, contract.SEED)
        assert set(rows) <= set(range(count))
        if case.cls.reads_forget:
            assert set(rows).isdisjoint(forget)
            plain = "plain" in case.settings
            assert len(rows) == (count - len(forget) if plain else count)
            if not plain:
                others = [row for row in range(count) if row not in set(forget.tolist())]
                # Only the forget rows are overwritten, in place.
                assert [int(rows[row]) for row in others] == others


def test_original_and_retrain_share_start_and_order_and_the_independent_one_has_its_own() -> None:
    """Without any forget row retrain equals the original, bit for bit; retrain_independent does not."""
    nothing = np.empty(0, np.int64)
    no_forget_rows = mock.patch.object(Subsets, "request_positions", return_value=(nothing, nothing))
    with no_forget_rows:
        same = contract.weights_digest(contract.trained(Case("retrain")))
        other = contract.weights_digest(contract.trained(Case("retrain_independent")))
    assert same == digest_of(Case("original"))
    assert other != same
