"""Which totals −inf entries allow, compared with linear programming, and the set of classes that the message names.

Axes: N rows, K classes.
"""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import INF, assert_sane, instance, logits
from scipy import optimize
from torch import Tensor

from adaprob_ray.projection import project
from adaprob_ray.projection.feasibility import Support


def sparse_problem(seed: int, rows: int = 10, classes: int = 4, missing: float = 0.6) -> tuple[Tensor, Tensor]:
    """A reference with many −inf entries, no row of them only, and totals of at least N / (6 K)."""
    generator = torch.Generator().manual_seed(seed)
    log_r_NK = logits(rows, classes, seed=seed)
    log_r_NK = log_r_NK.masked_fill(torch.rand(rows, classes, generator=generator) < missing, -INF)
    log_r_NK[log_r_NK.isinf().all(1), 0] = 0.0
    totals_K = torch.rand(classes, generator=generator, dtype=torch.float64) + 0.2
    return log_r_NK, totals_K * (rows / totals_K.sum())


def is_feasible(log_r_NK: Tensor, totals_K: Tensor) -> bool:
    """Feasibility by linear programming over all g with the reference's support."""
    rows, classes = log_r_NK.shape
    row_sums, column_sums = np.kron(np.eye(rows), np.ones(classes)), np.kron(np.ones(rows), np.eye(classes))
    upper = (~log_r_NK.isinf()).double().numpy().ravel()
    flow = optimize.linprog(
        np.zeros(rows * classes),
        A_eq=np.vstack([row_sums, column_sums[:-1]]),
        b_eq=np.concatenate([np.ones(rows), totals_K.numpy()[:-1]]),
        bounds=list(zip(np.zeros(rows * classes), upper, strict=True)),
    )
    return {0: True, 2: False}[flow.status]


def parse_violation(message: str) -> tuple[list[int], float, int]:
    """Parse the message of infeasible totals: the classes, the sum of their totals, the rows with a finite entry there."""
    match = re.search(r"those of classes ([\d, ]+?) sum to ([\d.]+), but only (\d+) of", message)
    assert match, message
    return [int(k) for k in match[1].split(", ")], float(match[2]), int(match[3])


@pytest.mark.parametrize("seed", range(20))
def test_feasibility_of_sparse_references_agrees_with_linear_programming(seed):
    log_r_NK, totals_K = sparse_problem(seed)
    solution = project(log_r_NK, torch.ones(10), totals_K)
    assert_sane(solution)
    assert solution.status == ("converged" if is_feasible(log_r_NK, totals_K) else "infeasible")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 10), st.integers(2, 5), st.floats(0.2, 0.9), st.integers(0, 10_000))
def test_the_named_classes_prove_infeasibility(rows, classes, missing, seed):
    """An infeasible problem names a set of classes whose total exceeds the rows that have a finite entry there; a feasible
    one has no such set."""
    log_r_NK, totals_K = sparse_problem(seed, rows, classes, missing)
    solution = project(log_r_NK, torch.ones(rows), totals_K, max_iterations=300)
    support_NK = ~log_r_NK.isinf()
    excess = {
        subset: float(totals_K[list(subset)].sum()) - int(support_NK[:, list(subset)].any(1).sum())
        for size in range(1, classes + 1)
        for subset in combinations(range(classes), size)
    }
    if solution.status == "infeasible":
        classes_S, total, row_count = parse_violation(solution.message)
        assert total == pytest.approx(float(totals_K[classes_S].sum()), rel=1e-9)
        assert row_count == int(support_NK[:, classes_S].any(1).sum())
        assert total > row_count
    else:
        assert max(excess.values()) < 1e-6
        assert solution.status == "converged", solution.message


def test_infeasible_totals_return_the_reference():
    log_r_NK, weights_N, _ = instance()
    log_r_NK[2:, 0] = -INF  # two rows cannot give three
    solution = project(log_r_NK, weights_N, [3.0, 3.0, 3.0, 3.0])
    assert solution.status == "infeasible"
    assert "The totals cannot be met" in solution.message
    assert parse_violation(solution.message) == ([0], 3.0, 2)
    assert solution.residual >= 1 / 12
    assert (solution.targets - log_r_NK.softmax(1)).abs().max() < 1e-15
    assert solution.residual == pytest.approx(float((solution.targets.sum(0) - 3).abs().max()) / 12)
    assert_sane(solution)


def test_a_row_with_finite_entries_only_in_dropped_classes_is_infeasible():
    log_r_NK, weights_N, _ = instance()
    log_r_NK[3, 1:] = -INF
    solution = project(log_r_NK, weights_N, [0.0, 4.0, 4.0, 4.0])
    assert solution.status == "infeasible"
    assert parse_violation(solution.message) == ([1, 2, 3], 12.0, 11)
    assert_sane(solution)


def test_rows_bound_to_a_class_with_too_small_a_total_are_infeasible():
    """Seven rows can only be of class 2, whose total is five: the other three classes get too few rows."""
    log_r_NK, weights_N, _ = instance()
    log_r_NK[:7, [0, 1, 3]] = -INF
    solution = project(log_r_NK, weights_N, [3.0, 2.0, 5.0, 2.0])
    assert parse_violation(solution.message) == ([0, 1, 3], 7.0, 5)


def test_totals_at_the_edge_are_feasible_and_a_millionth_more_is_not():
    log_r_NK, weights_N, _ = instance()
    log_r_NK[3:, 0] = -INF
    assert project(log_r_NK, weights_N, [3.0, 3.0, 3.0, 3.0]).status == "converged"
    beyond = project(log_r_NK, weights_N, [3.0 + 3e-6, 3.0, 3.0, 3.0 - 3e-6])
    assert beyond.status == "infeasible"
    assert parse_violation(beyond.message)[0] == [0]


def test_the_message_lists_at_most_ten_classes():
    support = torch.zeros(40, 30, dtype=torch.bool)
    support[:, :10] = True
    support[:5] = True
    log_r_NK = torch.zeros(40, 30, dtype=torch.float64).masked_fill(~support, -INF)
    solution = project(log_r_NK, torch.ones(40), torch.full((30,), 40 / 30))
    assert "10, 11, 12, 13, 14, 15, 16, 17, 18, 19 and 10 more" in solution.message


@pytest.mark.parametrize("solver", ["newton", "scaling", "dual_ascent"])
def test_every_solver_reports_infeasible_totals(solver):
    log_r_NK, weights_N, _ = instance()
    log_r_NK[2:, 0] = -INF
    assert project(log_r_NK, weights_N, [3.0, 3.0, 3.0, 3.0], solver=solver).status == "infeasible"


def test_patterns_are_counted_independently_of_chunks():
    finite = torch.rand(50, 12, generator=torch.Generator().manual_seed(0)) < 0.7
    whole, chunked = Support(12), Support(12)
    whole.add(finite)
    for chunk in finite.split(7):
        chunked.add(chunk)
    totals_C = np.full(12, 50 / 12)
    assert whole.violation(totals_C) == chunked.violation(totals_C) is None
    chunked.add_full(3)
    assert not chunked.is_full
    full = Support(12)
    full.add_full(50)
    full.add(torch.ones(5, 12, dtype=torch.bool))
    assert full.is_full
