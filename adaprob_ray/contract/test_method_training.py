"""What a method that trains from the start does: it selects rows, and never trains on those that are forgotten."""

from __future__ import annotations

from adaprob_ray import contract
from adaprob_ray.contract.cases import Case, cases
from adaprob_ray.contract.cells import digest_of
from adaprob_ray.contract.fixtures import every_case

training = every_case(cases("train"))


@training
def test_training_moves_weights(case: Case) -> None:
    facts = contract.train_product(case).facts
    assert facts["start_distance"] > 1e-2
    assert facts["last_epoch_error_percent"] < 80  # of ten classes: it learns


@training
def test_training_again_gives_the_same_weights(case: Case) -> None:
    assert contract.weights_digest(contract.trained(case)) == digest_of(case)


@training
def test_the_declared_cost_of_training_is_what_is_counted(case: Case) -> None:
    facts = contract.train_product(case).facts
    contract.check_cost(case, forward=facts["forward_examples"], backward=facts["backward_examples"])


@training
def test_a_retrained_model_never_sees_a_forget_row(case: Case) -> None:
    """Replacing the forget rows' pixels by noise leaves its weights bit-identical, but changes the original's."""
    same = contract.weights_digest(contract.trained(case, noise=["forget"])) == digest_of(case)
    assert same is case.cls.reads_forget


@training
def test_no_trained_model_sees_validation_or_test(case: Case) -> None:
    assert contract.weights_digest(contract.trained(case, noise=["validation", "test"])) == digest_of(case)
