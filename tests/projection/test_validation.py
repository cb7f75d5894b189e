"""The inputs that `project` accepts, and the messages about those that it rejects.

Axes: N rows, K classes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from problems import INF, instance, solve
from torch import Tensor

from adaprob_ray.errors import InputError
from adaprob_ray.projection import project


def test_arrays_of_any_layout_and_byte_order_are_accepted():
    log_r_NK, weights_N, totals_K = instance()
    plain = solve(log_r_NK, weights_N, totals_K).targets
    reversed_ = weights_N.numpy()[::-1].copy()[::-1]
    big = totals_K.numpy().astype(">f8")
    assert torch.equal(solve(log_r_NK, reversed_, big).targets, plain)
    equal_K = torch.full((4,), 3.0, requires_grad=True)
    log_r_NK[2:, 0] = -INF
    assert project(log_r_NK, weights_N, equal_K, max_iterations=np.int64(5)).status == "infeasible"


def test_a_small_gap_in_the_totals_is_scaled_away_and_reported():
    log_r_NK, weights_N, totals_K = instance()
    solution = solve(log_r_NK, weights_N, totals_K * (1 + 5e-7))
    assert "were multiplied by" in solution.message
    assert (solution.targets - solve(log_r_NK, weights_N, totals_K).targets).abs().max() < 1e-11
    assert "multiplied" not in solve(log_r_NK, weights_N, totals_K).message


def log_reference_with(value: float) -> Tensor:
    log_r_NK = instance()[0]
    log_r_NK[3, 2] = value
    return log_r_NK


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"log_reference": [[0.0, 0.0]]}, ["log_reference", "torch tensor", "list"]),
        ({"log_reference": torch.zeros(12, 4, dtype=torch.int64)}, ["log_reference", "float32 or float64", "int64"]),
        ({"log_reference": torch.zeros(12)}, ["log_reference", "[rows, classes]", "[12]"]),
        ({"log_reference": torch.zeros(0, 4)}, ["log_reference", "at least one", "[0, 4]"]),
        ({"log_reference": torch.zeros(12, 0)}, ["log_reference", "at least one", "[12, 0]"]),
        ({"log_reference": log_reference_with(math.nan)}, ["log_reference", "NaN or +inf in row 3", "(1 such rows)"]),
        ({"log_reference": log_reference_with(INF)}, ["log_reference", "NaN or +inf in row 3"]),
        ({"log_reference": torch.full((12, 4), -INF)}, ["log_reference", "only -inf in row 0", "(12 such rows)"]),
        ({"weights": torch.ones(11)}, ["weights", "[12]", "[11]"]),
        ({"weights": torch.ones(12, 1)}, ["weights", "[12]", "[12, 1]"]),
        ({"weights": "heavy"}, ["weights", "number", "'heavy'"]),
        ({"weights": [1.0] * 11 + [0.0]}, ["weights", "above 0", "0.0 in row 11"]),
        ({"weights": [1.0] * 11 + [-2.0]}, ["weights", "above 0", "-2.0 in row 11"]),
        ({"weights": [1.0] * 11 + [INF]}, ["weights", "finite", "inf in row 11"]),
        ({"weights": [1.0] * 11 + [math.nan]}, ["weights", "finite", "nan in row 11"]),
        ({"totals": [3.0, 3.0, 6.0]}, ["totals", "[4]", "[3]"]),
        ({"totals": None}, ["totals", "number", "None"]),
        ({"totals": [13.0, -1.0, 0.0, 0.0]}, ["totals", "at least 0", "-1.0 for class 1"]),
        ({"totals": [math.nan, 4.0, 4.0, 4.0]}, ["totals", "finite", "nan for class 0"]),
        ({"totals": [INF, 4.0, 4.0, 4.0]}, ["totals", "finite", "inf for class 0"]),
        ({"totals": [3.0, 3.0, 3.0, 3.1]}, ["totals", "sum to the number of rows, 12", "12.1"]),
        ({"solver": "newtn"}, ["solver", "'newtn'", "did you mean 'newton'"]),
        ({"log_reference": torch.eye(12, 4).to_sparse()}, ["log_reference", "torch tensor", "[12, 4]"]),
        ({"weights": [10**400] + [1] * 11}, ["weights", "number above 0"]),
        ({"tolerance": "1e-9"}, ["tolerance", "'1e-9'"]),
        ({"max_iterations": True}, ["max_iterations", "integer", "True"]),
        ({"tolerance": 0.0}, ["tolerance", "above 0", "0.0"]),
        ({"tolerance": math.nan}, ["tolerance", "finite", "nan"]),
        ({"max_iterations": 0}, ["max_iterations", "at least 1", "0"]),
        ({"max_iterations": 2.5}, ["max_iterations", "integer", "2.5"]),
    ],
)
def test_invalid_arguments_are_named(change, words):
    log_r_NK, weights_N, totals_K = instance()
    arguments = {"log_reference": log_r_NK, "weights": weights_N, "totals": totals_K, **change}
    with pytest.raises(InputError) as caught:
        project(**arguments)
    assert isinstance(caught.value, ValueError)
    assert len(caught.value.faults) == 1
    for word in words:
        assert word in str(caught.value)


def test_faults_are_reported_together():
    with pytest.raises(InputError) as caught:
        project(instance()[0], torch.zeros(12), torch.zeros(4))
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["weights", "totals"]
