"""Outputs with a known structure, and the paper's attack on many simulated draws at once.

Axes: N rows, K classes, D simulated draws, S splits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.model_selection import StratifiedShuffleSplit

from adaprob_ray.metrics.outputs import Evaluation, Outputs

Floats = NDArray[np.float64]
ROWS = {"train": 200, "validation": 50, "test": 120}
CLASSES, FORGET_CLASS = 6, 2


def make_outputs(seed: int, spread: float = 2.0) -> Outputs:
    labels = {name: np.random.RandomState(0).randint(0, CLASSES, rows) for name, rows in ROWS.items()}
    generator = np.random.RandomState(seed)
    logits = {name: generator.normal(0, spread, (rows, CLASSES)).astype(np.float32) for name, rows in ROWS.items()}
    for name, rows in ROWS.items():
        logits[name][np.arange(rows), labels[name]] += 2.0
    return Outputs(logits=logits, labels=labels)


def make_evaluation(seed: int = 1, count: int = 20) -> Evaluation:
    model, original, retrain, independent = (make_outputs(s) for s in range(10, 14))
    forget = np.flatnonzero(model.labels["train"] == FORGET_CLASS)[:count]
    return Evaluation(
        model=model,
        original=original,
        retrain=retrain,
        independent=independent,
        forget=forget,
        retain=np.setdiff1d(np.arange(ROWS["train"]), forget),
        forget_class=FORGET_CLASS,
        seed=seed,
    )


def vectorized_attack(members_DN: Floats, others_DN: Floats, seed: int) -> Floats:
    """The attack on D draws at once, [D] in percent: L2 logistic regression on one feature, by Newton's method.

    Minimizes Σ_n log(1 + exp(−t_n (w x_n + b))) + w²/2, which is scikit-learn's default, on each of the five splits.
    """
    count = members_DN.shape[1]
    x_DN = np.clip(np.concatenate([others_DN, members_DN], axis=1), -100, 100)
    y_N = np.repeat([0.0, 1.0], count)
    scores_SD = []
    for fit, held in StratifiedShuffleSplit(n_splits=5, random_state=seed).split(y_N, y_N):
        assert len(held) == math.ceil(2 * count / 10)
        w_D, b_D = np.zeros(len(x_DN)), np.zeros(len(x_DN))
        x, y = x_DN[:, fit], y_N[fit]
        for _ in range(12):
            p = expit(w_D[:, None] * x + b_D[:, None])
            slope = p * (1 - p)
            g_w, g_b = ((p - y) * x).sum(1) + w_D, (p - y).sum(1)
            h_ww, h_wb, h_bb = (slope * x * x).sum(1) + 1, (slope * x).sum(1), slope.sum(1)
            determinant = h_ww * h_bb - h_wb**2
            w_D = w_D - (h_bb * g_w - h_wb * g_b) / determinant
            b_D = b_D - (h_ww * g_b - h_wb * g_w) / determinant
        guess = w_D[:, None] * x_DN[:, held] + b_D[:, None] > 0
        scores_SD.append((guess == y_N[held]).mean(1))
    return 100 * np.mean(scores_SD, axis=0)


def without_signal(draws: int, rows: int, seed: int) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    return generator.exponential(1.0, (draws, rows)), generator.exponential(1.0, (draws, rows))
