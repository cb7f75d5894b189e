"""The paper's membership attack: logistic regression on one feature, the loss (protocol §6.3).

Members are the forget rows, non-members the test images of their class; the larger list is cut to the smaller. The score is
the mean accuracy in percent on the held-out tenth of five splits. Without any signal it is 50 % only where there are many
rows: with 25, five held-out rows fall 3 to 2 and the classes of the training rows 22 to 23, so that it is about 47 %.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

from adaprob_ray.data.dataset import Integers
from adaprob_ray.metrics.outputs import Evaluation

SPLITS = 5
CLIP = 100.0
FEWEST = 10  # of each kind: below, a tenth cannot hold one row of both


def losses(logits_NK: NDArray[np.float32], labels_N: Integers) -> NDArray[np.float64]:
    """Cross-entropy of each row in nats, in float64."""
    log_p_NK = log_softmax(logits_NK.astype(np.float64), axis=1)
    return -log_p_NK[np.arange(len(labels_N)), labels_N]


def attack_accuracy_percent(members_N: NDArray[np.float64], others_N: NDArray[np.float64], seed: int) -> float | None:
    """Held-out accuracy of the attack on two lists of losses; None where either has fewer than ten rows."""
    count = min(len(members_N), len(others_N))
    if count < FEWEST:
        return None
    generator = random.Random(seed)
    balanced = []
    for values in (others_N, members_N):
        rows = generator.sample(range(len(values)), count) if len(values) > count else range(count)
        balanced.append(values[list(rows)])
    features = np.clip(np.concatenate(balanced), -CLIP, CLIP).reshape(-1, 1)
    is_member = np.repeat([0, 1], count)
    splits = StratifiedShuffleSplit(n_splits=SPLITS, random_state=seed)
    scores = cross_val_score(LogisticRegression(), features, is_member, cv=splits, scoring="accuracy")
    return 100 * float(np.mean(scores))


def membership(evaluation: Evaluation) -> dict[str, float | None]:
    """Accuracy of the paper's attack on the model."""
    model = evaluation.model
    held_out = model.labels["test"] == evaluation.forget_class
    members = losses(model.logits["train"][evaluation.forget], model.labels["train"][evaluation.forget])
    others = losses(model.logits["test"][held_out], model.labels["test"][held_out])
    return {"membership_accuracy_percent": attack_accuracy_percent(members, others, evaluation.seed)}
