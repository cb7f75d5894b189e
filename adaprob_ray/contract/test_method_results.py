"""What a method that unlearns does: it moves the declared weights, and a seed gives the same ones again."""

from __future__ import annotations

import time
import types
from unittest import mock

import pytest
import torch
from safetensors.torch import load

from adaprob_ray import contract
from adaprob_ray.contract.cases import Case, cases
from adaprob_ray.contract.cells import digest_of
from adaprob_ray.contract.fixtures import every_case
from adaprob_ray.errors import DeadlineExceeded
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.training.loop import distance

unlearning, anything = every_case(cases("unlearn")), every_case(cases("train") + cases("unlearn"))


@unlearning
def test_weights_move(case: Case) -> None:
    trial = contract.trial(case)
    before = [trial.before[name] for name, _ in trial.model.named_parameters()]
    assert distance(trial.model.parameters(), before) > 1e-4
    assert contract.is_finite(trial.after)
    assert {name: tensor.dtype for name, tensor in trial.after.items()} == {
        name: tensor.dtype for name, tensor in trial.before.items()
    }


@unlearning
def test_frozen_parameters_stay(case: Case) -> None:
    """Of a partly frozen network, as in fine-tuning, the frozen part stays and the rest moves, or skip() gives the reason."""
    model = contract.original()
    first, *_ = frozen = [name for name, _ in model.named_parameters() if name.startswith("features.0.")]
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    if case.build().skip(contract.sizes(contract.make_parts()), model) is not None:
        return
    with mock.patch("adaprob_ray.contract.trials.original", return_value=model):
        after = contract.attempt(case).after
    before = contract.trial(case).before
    assert first in before
    changed = [name for name in frozen if not torch.equal(after[name], before[name])]
    assert not changed, (
        f"{case.name}: frozen parameters change; change only those whose requires_grad is True: {changed}"
    )
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())


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
        moved, declared = not torch.equal(buffer, trial.before[name]), name in updated
        assert moved is declared, (
            f"{case.name}: {name} {'changes' if moved else 'stays'} under batch_norm: {batch_norm}, and updated_statistics() "
            f"declares that it {'changes' if declared else 'stays'}"
        )
    changed = contract.changed_parameters(case)
    scales = {name for name in changed if name.endswith("1.weight") and name.startswith("features")}
    assert scales or changed <= {"classifier.weight", "classifier.bias"}
    for name in scales:
        assert not torch.equal(trial.after[name], trial.before[name]), f"{name}: scale and shift train nevertheless"


@unlearning
def test_the_declared_layers_change_and_no_others(case: Case) -> None:
    trial, changed = contract.trial(case), contract.changed_parameters(case)
    parameters = [name for name, _ in trial.model.named_parameters()]
    moved = {name for name in parameters if not torch.equal(trial.after[name], trial.before[name])}
    assert moved == changed, f"{case.name}: changed_layers() must declare the layers of {sorted(moved ^ changed)}"


@unlearning
def test_an_expired_deadline_stops_it_at_once(case: Case) -> None:
    with pytest.raises(DeadlineExceeded):
        contract.attempt(case, deadline=time.monotonic() - 1)


@unlearning
def test_the_deadline_is_checked_in_each_epoch(case: Case) -> None:
    trial = contract.trial(case)
    assert trial.looks >= len(set(trained_epochs(trial))), f"{case.name}: call context.check_deadline() once an epoch"


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
        assert not by_epoch, f"{case.name}: it trains in no epoch, and must not call context.report()"
        return
    assert by_epoch, f"{case.name}: call context.report(epoch, loss=…) at the end of each epoch, from 1"
    trained = max(by_epoch)
    assert trained == epochs or (trained < epochs and case.build().may_end_early)
    assert sorted(set(by_epoch)) == list(range(1, trained + 1))
    assert by_solver == list(range(len(by_solver))), "a solver counts its own iterations, from 0"
    assert bool(by_solver) == ("projection_residual" in trial.facts)
    assert all(isinstance(value, float) for _, scalars in trial.reported for value in scalars.values())


@unlearning
def test_the_declared_cost_is_what_is_counted(case: Case) -> None:
    passes = contract.trial(case).passes
    contract.check_cost(case, forward=passes.forward, backward=passes.backward)
