"""AdaProb: its targets against brute force, the meaning of λ in each reading, and the training against an ordinary loop.

Axes: N rows, K classes. The targets are computed in float64.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import optimize, special
from torch import Tensor, nn

from adaprob_ray import contract
from adaprob_ray.contract import RECIPE, Case
from adaprob_ray.data.batches import Batch
from adaprob_ray.errors import ProjectionFailed
from adaprob_ray.methods import adaprob
from adaprob_ray.methods.adaprob import AdaProb
from adaprob_ray.methods.adaprob_targets import mean_shift, predicted_classes, pseudo_probabilities
from adaprob_ray.methods.scrub import Scrub
from adaprob_ray.settings import as_mapping, flatten, parse_settings
from adaprob_ray.training.loop import set_mode
from adaprob_ray.training.losses import soft_target_loss

READINGS = {
    "eq1": {"reference": "original", "totals": "pseudo"},
    "script": {"reference": "pseudo", "totals": "pseudo"},
    "restore": {"reference": "pseudo", "totals": "original"},
}
every_reading = pytest.mark.parametrize("reading", READINGS)
every_pseudo = pytest.mark.parametrize("pseudo", ["uniform", "random"])


def outputs(rows: int = 80, classes: int = 5, margin: float = 3.0) -> Tensor:
    """Log-probabilities of a fairly sure model; row n is of class n mod K."""
    logits = torch.randn(rows, classes, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    logits[torch.arange(rows), torch.arange(rows) % classes] += margin
    return logits.log_softmax(1)


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


FORGET = torch.tensor([30, 0, 15, 5])  # of class 0, in no order


def pseudo_matrix(log_f_NK: Tensor, forget: Tensor, kind: str) -> Tensor:
    """[f for retain rows; pseudo-probabilities for forget rows], as probabilities."""
    matrix_NK = log_f_NK.exp()
    matrix_NK[forget] = pseudo_probabilities(len(forget), log_f_NK.shape[1], kind, generator()).exp()
    return matrix_NK


def targets(log_f_NK: Tensor, forget: Tensor = FORGET, **settings: Any) -> Tensor:
    solution, _ = AdaProb(**settings).targets(log_f_NK, forget, generator())
    return solution.targets


def brute_force(reference_NK: np.ndarray, weights_N: np.ndarray, totals_K: np.ndarray) -> np.ndarray:
    """The problem (1)-(4) itself, by a general solver (trust-constr) with no idea of duality or exponentials."""
    shape = reference_NK.shape
    rows = np.kron(np.eye(shape[0]), np.ones(shape[1]))
    columns = np.kron(np.ones(shape[0]), np.eye(shape[1]))[:-1]  # the last one follows from the others
    weights = np.repeat(weights_N, shape[1])

    def objective(g: np.ndarray) -> float:
        return float((weights * special.rel_entr(g, reference_NK.ravel())).sum())

    def gradient(g: np.ndarray) -> np.ndarray:
        return weights * (np.log(g / reference_NK.ravel()) + 1)

    result = optimize.minimize(
        objective,
        reference_NK.ravel(),
        jac=gradient,
        hess=lambda g: np.diag(weights / g),
        method="trust-constr",
        bounds=optimize.Bounds(1e-9, 1),
        constraints=optimize.LinearConstraint(
            np.vstack([rows, columns]), *[np.r_[np.ones(shape[0]), totals_K[:-1]]] * 2
        ),
        options={"gtol": 1e-9, "xtol": 1e-12, "barrier_tol": 1e-10, "maxiter": 500},
    )
    return result.x.reshape(shape)


@every_reading
@pytest.mark.parametrize("lam", [0.5, 3.0])
def test_targets_are_the_optimum_of_eq_1_to_4(reading: str, lam: float) -> None:
    """Forget rows weigh 1, retain rows λ; the reference and the totals are as the reading's name says."""
    log_f_NK, forget = outputs(7, 3, margin=1.0), torch.tensor([3, 0])
    pseudo_NK = pseudo_matrix(log_f_NK, forget, "random").numpy()
    f_NK = log_f_NK.exp().numpy()
    weights_N = np.full(7, lam)
    weights_N[forget.numpy()] = 1.0
    reference_NK, totals_K = {
        "eq1": (f_NK, pseudo_NK.sum(0)),
        "script": (pseudo_NK, pseudo_NK.sum(0)),
        "restore": (pseudo_NK, f_NK.sum(0)),
    }[reading]
    expected_NK = brute_force(reference_NK, weights_N, totals_K)
    actual_NK = targets(log_f_NK, forget, pseudo="random", lam=lam, **READINGS[reading])
    np.testing.assert_allclose(actual_NK.numpy(), expected_NK, atol=2e-6)  # the general solver's accuracy


@every_reading
@every_pseudo
@pytest.mark.parametrize("lam", [0.3, 1.0, 10.0])
def test_rows_sum_to_one_and_columns_to_the_totals_of_the_reading(reading: str, pseudo: str, lam: float) -> None:
    log_f_NK = outputs()
    actual_NK = targets(log_f_NK, pseudo=pseudo, lam=lam, **READINGS[reading])
    whose_NK = log_f_NK.exp() if reading == "restore" else pseudo_matrix(log_f_NK, FORGET, pseudo)
    torch.testing.assert_close(actual_NK.sum(1), torch.ones(80, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        actual_NK.sum(0), whose_NK.sum(0), rtol=0, atol=80 * 1e-9
    )  # the solver's tolerance, times N
    assert bool((actual_NK >= 0).all())


@every_pseudo
@pytest.mark.parametrize("lam", [0.1, 1.0, 10.0])
def test_the_scripts_refinement_is_a_no_op(pseudo: str, lam: float) -> None:
    """Its start meets its own constraints (defect 1 of the published code): targets are the pseudo-probabilities themselves."""
    log_f_NK = outputs()
    actual_NK = targets(log_f_NK, pseudo=pseudo, lam=lam, **READINGS["script"])
    torch.testing.assert_close(actual_NK, pseudo_matrix(log_f_NK, FORGET, pseudo), rtol=0, atol=1e-15)


def test_the_scripts_target_shift_is_zero_and_the_others_are_not() -> None:
    shifts = {}
    for reading, settings in READINGS.items():
        facts = contract.attempt(Case("adaprob", json.dumps({**settings, "epochs": 1}))).facts
        shifts[reading] = (facts["target_shift"], facts["target_shift_retain"])
    assert max(shifts["script"]) < 1e-15
    assert min(*shifts["eq1"], *shifts["restore"]) > 1e-4


def test_the_noted_shifts_are_those_of_forget_and_of_retain_rows() -> None:
    """½ Σ_k |g* − r| per row: where only forget rows could move, the retain rows' shift would be 0."""
    calls: dict[str, Any] = {}
    real = AdaProb.targets

    def spying(self: AdaProb, *arguments: Any) -> Any:
        calls["solution"], calls["reference"] = real(self, *arguments)
        return calls["solution"], calls["reference"]

    with mock.patch.object(AdaProb, "targets", spying):
        trial = contract.attempt(Case("adaprob", json.dumps({"epochs": 1})))
    facts = trial.facts
    residuals = [scalars["projection_residual"] for _, scalars in trial.reported if "projection_residual" in scalars]
    assert residuals == calls["solution"].trajectory.tolist(), "the solver's way is in the cell's series"
    moved_N = (calls["solution"].targets - calls["reference"].exp()).abs().sum(1) / 2
    is_forget = torch.zeros(len(moved_N), dtype=torch.bool)
    is_forget[torch.from_numpy(contract.forget_rows(contract.make_parts()))] = True
    assert facts["target_shift"] == pytest.approx(float(moved_N[is_forget].mean()))
    assert facts["target_shift_retain"] == pytest.approx(float(moved_N[~is_forget].mean()))
    assert facts["projection_residual"] == calls["solution"].residual <= 1e-9


def test_mean_shift_is_total_variation() -> None:
    start, moved = torch.eye(2), torch.tensor([[0.0, 1.0], [0.25, 0.75]])
    assert mean_shift(moved, start) == pytest.approx((1 + 0.25) / 2)


# -- scores of the targets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_uniform_targets_score_as_one_who_guesses(classes: int) -> None:
    """100·(1 − 1/K) %, whatever the label: neither 0 nor 100. 4 standard deviations of 20,000 fair draws are allowed."""
    rows, share = 20_000, 1 / classes
    uniform_NK = torch.full((rows, classes), share, dtype=torch.float64)
    hits_K = torch.bincount(predicted_classes(uniform_NK, generator()), minlength=classes)
    deviation = (rows * share * (1 - share)) ** 0.5
    assert float((hits_K - rows * share).abs().max()) < 4 * deviation


def test_only_ties_are_drawn_for_and_rounding_makes_none_of_them_a_winner() -> None:
    rows = 2000
    row_K = torch.tensor([0.1, 0.3, 0.3 * (1 - 1e-12), 0.29, 0.01], dtype=torch.float64)
    hits_K = torch.bincount(predicted_classes(row_K.expand(rows, 5), generator()), minlength=5)
    assert hits_K[[0, 3, 4]].tolist() == [0, 0, 0]
    assert abs(int(hits_K[1]) - rows / 2) < 4 * (rows / 4) ** 0.5
    clear_NK = outputs(40, 7).exp()
    np.testing.assert_array_equal(predicted_classes(clear_NK, generator()).numpy(), clear_NK.numpy().argmax(1))


@every_reading
@every_pseudo
def test_the_noted_errors_of_targets_are_those_of_labels_and_rows(reading: str, pseudo: str) -> None:
    """Against a count with numpy in which a row of T equal largest entries hits its label with probability 1/T."""
    calls: list[np.ndarray] = []
    real = AdaProb.targets

    def spying(self: AdaProb, *arguments: Any) -> Any:
        solution, reference = real(self, *arguments)
        calls.append(solution.targets.numpy())
        return solution, reference

    case = Case("adaprob", json.dumps({**READINGS[reading], "pseudo": pseudo, "epochs": 1}))
    with mock.patch.object(AdaProb, "targets", spying):
        facts = contract.attempt(case).facts
    parts = contract.make_parts()
    labels = parts.train.labels.numpy()
    forget = contract.forget_rows(parts)
    best_NK = np.isclose(calls[0], calls[0].max(1, keepdims=True), rtol=1e-7, atol=0)
    misses_N = 1 - best_NK[np.arange(len(labels)), labels] / best_NK.sum(1)
    retain = np.setdiff1d(np.arange(len(labels)), forget)
    assert facts["target_retain_error_percent"] == pytest.approx(100 * misses_N[retain].mean())
    spread = 100 * (misses_N[forget] * (1 - misses_N[forget])).sum() ** 0.5 / len(forget)
    assert facts["target_forget_error_percent"] == pytest.approx(100 * misses_N[forget].mean(), abs=4 * spread + 1e-9)


def scored(**context: Any) -> float:
    case = Case("adaprob", json.dumps({"reference": "pseudo", "epochs": 1}))
    return contract.attempt(case, **context).facts["target_forget_error_percent"]


def test_ties_are_broken_by_seed_and_repeat() -> None:
    scores = [scored(seed=1, repeat=repeat) for repeat in range(8)]
    assert scored(seed=1, repeat=0) == scores[0]
    assert len(set(scores)) > 1
    assert 0 < np.mean(scores) < 100


# -- λ -----------------------------------------------------------------------------------------------------------------------


@every_pseudo
def test_eq1_moves_forget_rows_more_as_lam_grows(pseudo: str) -> None:
    log_f_NK = outputs()
    f_NK = log_f_NK.exp()
    targets_by_lam = [targets(log_f_NK, pseudo=pseudo, lam=lam, **READINGS["eq1"]) for lam in (0.3, 1.0, 3.0, 10.0)]
    shifts = [mean_shift(g_NK[FORGET], f_NK[FORGET]) for g_NK in targets_by_lam]
    true_class = [float(g_NK[FORGET, 0].mean()) for g_NK in targets_by_lam]
    assert all(b > a + 1e-3 for a, b in itertools.pairwise(shifts)), shifts
    assert all(b < a - 1e-3 for a, b in itertools.pairwise(true_class)), true_class


@every_pseudo
def test_restore_moves_forget_rows_back_to_the_true_class_as_lam_grows(pseudo: str) -> None:
    log_f_NK = outputs()
    targets_by_lam = [targets(log_f_NK, pseudo=pseudo, lam=lam, **READINGS["restore"]) for lam in (0.3, 1.0, 3.0, 10.0)]
    true_class = [float(g_NK[FORGET, 0].mean()) for g_NK in targets_by_lam]
    start = float(pseudo_matrix(log_f_NK, FORGET, pseudo)[FORGET, 0].mean())
    assert all(b > a + 1e-3 for a, b in itertools.pairwise([start, *true_class])), true_class


@every_reading
def test_lam_in_loss_leaves_the_targets_of_lam_1(reading: str) -> None:
    log_f_NK, settings = outputs(), READINGS[reading]
    plain = targets(log_f_NK, lam=1.0, **settings)
    assert torch.equal(targets(log_f_NK, lam=7.0, lam_in="loss", **settings), plain)
    in_targets = targets(log_f_NK, lam=7.0, lam_in="targets", **settings)
    assert torch.equal(targets(log_f_NK, lam=7.0, lam_in="both", **settings), in_targets)
    assert torch.allclose(in_targets, plain, atol=1e-6) is (reading == "script")


# -- the paper's solver ---------------------------------------------------------------------------------------------------


def test_the_papers_ascent_arrives_at_the_same_targets_and_says_how_far_it_came() -> None:
    settings = {**READINGS["eq1"], "solver": "dual_ascent"}
    solutions = [
        AdaProb(**settings, solver_iterations=steps).targets(outputs(), FORGET, generator())[0] for steps in (3, 5000)
    ]
    early, late = solutions
    assert (early.status, late.status) == ("max_iterations", "converged")
    assert early.residual > 1e-4 > 1e-9 >= late.residual
    torch.testing.assert_close(late.targets, targets(outputs(), **READINGS["eq1"]), rtol=0, atol=1e-6)


def test_a_step_size_that_diverges_is_a_failure() -> None:
    with pytest.raises(ProjectionFailed, match="lower step_size"):
        targets(outputs(), solver="dual_ascent", eta=1e3)


def test_a_step_size_without_the_papers_ascent_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"eta: must be left out unless solver is dual_ascent, got 0\.1 with solver newton"
    ):
        AdaProb(eta=0.1)


# -- pseudo-probabilities -----------------------------------------------------------------------------------------------------


def test_uniform_is_one_over_k() -> None:
    torch.testing.assert_close(
        pseudo_probabilities(3, 5, "uniform", generator()).exp(), torch.full((3, 5), 0.2).double()
    )


@pytest.mark.parametrize(("classes", "entropy"), [(5, 1.432), (10, 2.116), (100, 4.412)])
def test_random_rows_have_the_protocols_mean_entropy(classes: int, entropy: float) -> None:
    """Protocol §4.1: i.i.d. U(0, 1) entries divided by their row sum."""
    log_p_NK = pseudo_probabilities(20_000, classes, "random", generator())
    p_NK = log_p_NK.exp()
    torch.testing.assert_close(p_NK.sum(1), torch.ones(20_000, dtype=torch.float64))
    assert float(-(p_NK * log_p_NK).sum(1).mean()) == pytest.approx(entropy, abs=3e-3)


def captured(**context: Any) -> Tensor:
    """The totals that the projection is asked for; with `random` they depend on the draw."""
    case, calls = Case("adaprob", json.dumps({"pseudo": "random", "epochs": 1})), []
    real = adaprob.project

    def spying(reference: Tensor, weights: Tensor, totals: Tensor, **options: Any) -> Any:
        calls.append(totals.clone())
        return real(reference, weights, totals, **options)

    with mock.patch.object(adaprob, "project", spying):
        contract.attempt(case, **context)
    return calls[0]


def test_random_pseudo_probabilities_are_seeded_by_seed_and_repeat() -> None:
    first = captured(seed=1, repeat=0)
    assert torch.equal(captured(seed=1, repeat=0), first)
    assert not torch.allclose(captured(seed=1, repeat=1), first, atol=1e-3)
    assert not torch.allclose(captured(seed=2, repeat=0), first, atol=1e-3)


# -- training ----------------------------------------------------------------------------------------------------------------


class Table(nn.Module):
    """A network whose logits are its parameters, one row for each image: image n holds the number n."""

    def __init__(self, logits_NK: Tensor) -> None:
        super().__init__()
        self.logits_NK = nn.Parameter(logits_NK)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits_NK[x.long()]


def test_the_loss_is_the_weighted_mean_divergence_and_flat_at_the_targets() -> None:
    goal_NK, start_NK = outputs(6, 4).exp(), outputs(6, 4, margin=-1.0)
    weight_N = torch.tensor([1.0, 3.0, 3.0, 1.0, 3.0, 3.0], dtype=torch.float64)
    rows = torch.tensor([4, 1, 0])
    batch = Batch(rows, torch.zeros(3, dtype=torch.long), rows)
    loss = soft_target_loss(goal_NK.float(), weight_N.float())
    away = loss(Table(start_NK.float()), batch).loss
    kl_N = special.rel_entr(goal_NK.numpy(), start_NK.exp().numpy()).sum(1)
    assert float(away.detach()) == pytest.approx(float((weight_N.numpy() * kl_N)[rows].mean()), rel=1e-5)
    there = Table(goal_NK.log().float() + 5.0)  # logits are log-probabilities up to a constant
    at_goal = loss(there, batch).loss
    at_goal.backward()
    assert abs(float(at_goal.detach())) < 1e-6
    assert float(there.logits_NK.grad.abs().max()) < 1e-6


@pytest.mark.parametrize("lam_in", ["targets", "loss", "both"])
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_training_equals_the_plain_loop(lam_in: str, batch_norm: str) -> None:
    """mean_n c_n KL(g*_n ‖ f_n) over all training rows, c = λ on retain rows if λ is in the loss; the recipe's decay."""
    settings = {"epochs": 2, "lr": 0.02, "batch_size": 64, "lam": 2.0, "lam_in": lam_in, "reference": "pseudo"}
    case, recipe = Case("adaprob", json.dumps(settings)), dataclasses.replace(RECIPE, batch_norm=batch_norm)
    after = contract.attempt(case, recipe=recipe).after

    method, model, part = case.build(), contract.original().eval(), contract.make_parts().train
    forget = torch.from_numpy(contract.forget_rows(contract.make_parts()))
    with torch.no_grad():
        log_f_NK = model(part.pixels.select(part.rows)).double().log_softmax(1)
    goal_NK = method.targets(log_f_NK, forget, generator())[0].targets.float()
    c_N = torch.full((len(part),), 1.0 if lam_in == "targets" else 2.0)
    c_N[forget] = 1.0
    parameters = list(model.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    shuffle = contract.make_context(frozenset()).generator("shuffle")
    set_mode(model, batch_norm)
    for epoch in range(2):
        for begin, rows in enumerate(part.rows[torch.randperm(len(part), generator=shuffle)].split(64)):
            log_q_BK = model(part.pixels.select(rows)).log_softmax(1)
            divergence_B = nn.functional.kl_div(log_q_BK, goal_NK[rows], reduction="none").sum(1)
            gradients = torch.autograd.grad((c_N[rows] * divergence_B).mean(), parameters)
            with torch.no_grad():
                for p, g, v in zip(parameters, gradients, velocity, strict=True):
                    g = g + recipe.weight_decay * p
                    v.copy_(g if (epoch, begin) == (0, 0) else 0.9 * v + g)
                    p -= 0.02 * v
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(
            after[name], tensor, rtol=0, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_forget_rows_become_less_sure_and_retain_rows_stay() -> None:
    """What it is for: with the script's reading forget outputs flatten."""
    case = Case("adaprob", json.dumps({"reference": "pseudo", "epochs": 20, "lr": 0.05, "batch_size": 32}))
    trial = contract.attempt(case)
    split = contract.make_split(contract.make_parts(), frozenset({"retain", "forget"}))

    def sureness(model: nn.Module, part: Any) -> float:
        with torch.no_grad():
            p_NK = model.eval()(part.pixels.select(part.rows)).softmax(1)
        return float(p_NK[torch.arange(len(part)), part.labels].mean())

    fall = {
        name: sureness(contract.original(), getattr(split, name)) - sureness(trial.model, getattr(split, name))
        for name in ("forget", "retain")
    }
    assert fall["forget"] > 0.1
    assert fall["forget"] > 3 * abs(fall["retain"])


# -- faults ------------------------------------------------------------------------------------------------------------------


def test_original_and_original_is_refused() -> None:
    with pytest.raises(ValueError, match="got original for both, which changes nothing"):
        AdaProb(reference="original", totals="original")


def test_a_projection_that_does_not_converge_is_a_failure_with_advice() -> None:
    bad = mock.Mock(status="stalled", message="raise the tolerance")
    with (
        mock.patch.object(adaprob, "project", return_value=bad),
        pytest.raises(ProjectionFailed, match="raise the tol"),
    ):
        targets(outputs())


SCRUB = {"epochs": 2, "lr": 0.01, "milestones": [1]}


def test_source_scrub_is_adaprob_on_a_scrub_student() -> None:
    """SCRUB first; what is projected, and trained on, is its student. Its passes count."""
    case = Case("adaprob", json.dumps({"source": "scrub", "scrub": SCRUB, "epochs": 2, "lr": 5e-3}))
    trial = contract.attempt(case)
    student = contract.attempt(Case("scrub", json.dumps(SCRUB))).model
    plain = Case("adaprob", '{"epochs": 2, "lr": 5e-3}').build()
    context = contract.make_context(plain.needs)
    expected = plain.unlearn(student, contract.make_split(contract.make_parts(), plain.needs), context)
    assert contract.digest(trial.after) == contract.digest(contract.state(expected))
    assert trial.facts == context.facts
    declared = case.build().cost(contract.sizes(contract.make_parts()))
    assert (trial.passes.forward, trial.passes.backward) == (declared.forward, declared.backward)


def test_settings_of_a_source_are_checked_as_those_of_scrub() -> None:
    instance, faults = parse_settings(AdaProb, {"source": "scrub", "scrub": {"lr": 0.1}}, "methods.a")
    assert not faults
    settings = as_mapping(instance)
    assert settings["scrub"] == {**dataclasses.asdict(Scrub()), "lr": 0.1}
    assert flatten(settings)["scrub.lr"] == 0.1
    for wrong, phrase in [
        ({"lrr": 0.1}, "methods.a: scrub: unknown key 'lrr'"),
        ({"lr": -1.0}, "methods.a: scrub: lr: must be a number greater than 0"),
        (3, "methods.a: scrub: must be settings as {name: value}, got 3"),
    ]:
        _, faults = parse_settings(AdaProb, {"source": "scrub", "scrub": wrong}, "methods.a")
        assert len(faults) == 1
        assert faults[0].startswith(phrase)
    with pytest.raises(
        ValueError, match="scrub: must be left out unless source is scrub, got settings with source original"
    ):
        AdaProb(scrub=Scrub())
