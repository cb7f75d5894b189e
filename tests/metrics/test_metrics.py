"""Errors, passes, stored Outputs and declared columns (protocol §6.1)."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from metric_world import FORGET_CLASS, make_evaluation, make_outputs
from sklearn.metrics import accuracy_score
from torch import nn

from adaprob_ray.catalogue import METRICS
from adaprob_ray.metrics.error_rate import error_percent, errors
from adaprob_ray.metrics.outputs import SUBSET_NAMES, Outputs
from adaprob_ray.training.cost import PassCounter


def test_errors_are_one_minus_scikit_learns_accuracy() -> None:
    evaluation = make_evaluation()
    model, values = evaluation.model, errors(evaluation)
    other = model.labels["test"] != FORGET_CLASS
    assert 0 < other.sum() < len(other)
    expected = {
        "test_error_percent": ("test", slice(None)),
        "test_other_classes_error_percent": ("test", other),
        "retain_error_percent": ("train", evaluation.retain),
        "forget_error_percent": ("train", evaluation.forget),
        "validation_error_percent": ("validation", slice(None)),
    }
    assert set(values) == set(expected)
    for name, (part, rows) in expected.items():
        accuracy = accuracy_score(model.labels[part][rows], model.logits[part][rows].argmax(1))
        assert values[name] == pytest.approx(100 * (1 - accuracy)), name
    assert len({round(value, 6) for value in values.values()}) == 5  # no two of them are the same column


def test_the_test_without_the_forgotten_class_equals_the_protocols_arithmetic() -> None:
    """Protocol §1.7: 22.92 % of 10,000 is 14.37 % of 9,000 and all 1,000 of the forgotten class."""
    labels = np.repeat(np.arange(10), 1000)
    guesses = labels.copy()
    guesses[labels == 5] = 0
    guesses[np.flatnonzero(labels != 5)[:1293]] = 5
    outputs = Outputs(
        logits=dict.fromkeys(SUBSET_NAMES, np.eye(10, dtype=np.float32)[guesses]),
        labels=dict.fromkeys(SUBSET_NAMES, labels),
    )
    values = errors(dataclasses.replace(make_evaluation(), model=outputs, forget_class=5))
    assert values["test_error_percent"] == pytest.approx(22.93)
    assert values["test_other_classes_error_percent"] == pytest.approx(100 * 1293 / 9000)


def test_the_error_of_no_rows_is_none() -> None:
    assert error_percent(np.empty((0, 3), np.float32), np.empty(0, np.int64)) is None


def test_metrics_fill_the_columns_that_they_declare() -> None:
    evaluation = make_evaluation()
    for metric in METRICS.values():
        computed = metric.compute(evaluation)
        assert set(computed) == set(metric.columns) or computed == {}
    columns = [column for metric in METRICS.values() for column in metric.columns]
    assert len(columns) == len(set(columns))


def test_importing_metrics_loads_neither_scipy_nor_scikit_learn() -> None:
    """The planner imports them; SciPy and scikit-learn would take most of its time."""
    names = "auc, divergence, error_rate, membership, outputs"
    code = f"import sys; from adaprob_ray.metrics import {names}; print({{'scipy', 'sklearn'}} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "set()"


def test_outputs_survive_bytes() -> None:
    outputs = make_outputs(3)
    back = Outputs.from_bytes(outputs.to_bytes())
    for part in SUBSET_NAMES:
        np.testing.assert_array_equal(back.logits[part], outputs.logits[part])
        np.testing.assert_array_equal(back.labels[part], outputs.labels[part])
        assert (back.logits[part].dtype, back.labels[part].dtype) == (np.float32, np.int64)
    assert back.to_bytes() == outputs.to_bytes()


def test_outputs_that_are_views_survive_bytes() -> None:
    outputs = make_outputs(3)
    turned = {part: np.asfortranarray(values)[::2] for part, values in outputs.logits.items()}
    labels = {part: values[::2] for part, values in outputs.labels.items()}
    back = Outputs.from_bytes(Outputs(logits=turned, labels=labels).to_bytes())
    for part in SUBSET_NAMES:
        np.testing.assert_array_equal(back.logits[part], outputs.logits[part][::2])
        np.testing.assert_array_equal(back.labels[part], outputs.labels[part][::2])


def test_pass_counter_counts_examples_forward_and_backward_copies_included() -> None:
    model, counter = nn.Linear(3, 2), PassCounter()
    handle = counter.watch(model)
    model(torch.ones(4, 3)).sum().backward()
    assert (counter.forward, counter.backward) == (4, 4)
    with torch.no_grad():
        model(torch.ones(5, 3))
    assert (counter.forward, counter.backward) == (9, 4)
    teacher = copy.deepcopy(model).requires_grad_(False)
    teacher(torch.ones(7, 3))
    assert (counter.forward, counter.backward) == (16, 4)
    model(torch.ones(2, 3))  # forward with a graph that nobody uses
    assert (counter.forward, counter.backward) == (18, 4)
    logits = model(torch.ones(6, 3))
    (logits.sum() + logits.square().sum()).backward()  # one backward pass, however many terms
    assert (counter.forward, counter.backward) == (24, 10)
    handle.remove()
    model(torch.ones(8, 3)).sum().backward()
    assert (counter.forward, counter.backward) == (24, 10)
