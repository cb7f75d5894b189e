"""The paper's membership attack: logistic regression on one feature, the loss (protocol §6.3).

Members are the forget rows, non-members the test images of their class; the larger list is cut to the size of the smaller.
The score is the mean accuracy in percent on the held-out tenth of five splits. Chance level is 50 % only for many rows: with
25, five held-out rows divide 3 to 2 and the classes of the training rows 22 to 23, so that it is about 47 %.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.data.dataset import Integers
from adaprob_ray.metrics import Metric
from adaprob_ray.metrics.outputs import Evaluation

# Splits of the attack and the bound of its feature, as in the authors' code (protocol §6.3).
SPLITS = 5
MAX_LOSS = 100.0
# Rows of each kind that the attack needs: a tenth of fewer cannot contain one row of both.
MIN_ROWS = 10


def losses(logits_NK: NDArray[np.float32], labels_N: Integers) -> NDArray[np.float64]:
    """Cross-entropy of each row in nats, in float64."""
    from scipy.special import log_softmax

    log_p_NK = log_softmax(logits_NK.astype(np.float64), axis=1)
    return -log_p_NK[np.arange(len(labels_N)), labels_N]


def attack_accuracy_percent(members_N: NDArray[np.float64], others_N: NDArray[np.float64], seed: int) -> float | None:
    """Held-out accuracy of the attack.

    Args:
        members_N: losses of the forget rows.
        others_N: losses of rows that the model was not trained on.
        seed: of the subsample of the larger list and of the splits.

    Returns:
        Accuracy in percent, or None if either list has fewer than ten rows.

    Example:
        >>> import numpy as np
        >>> attack_accuracy_percent(np.full(20, 0.1), np.full(20, 9.0), seed=1)
        100.0
        >>> attack_accuracy_percent(np.zeros(9), np.zeros(500), seed=1) is None
        True
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

    count = min(len(members_N), len(others_N))
    if count < MIN_ROWS:
        return None
    generator = random.Random(seed)
    balanced = []
    for values in (others_N, members_N):
        rows = generator.sample(range(len(values)), count) if len(values) > count else range(count)
        balanced.append(values[list(rows)])
    features = np.clip(np.concatenate(balanced), -MAX_LOSS, MAX_LOSS).reshape(-1, 1)
    is_member = np.repeat([0, 1], count)
    splits = StratifiedShuffleSplit(n_splits=SPLITS, random_state=seed)
    scores = cross_val_score(LogisticRegression(), features, is_member, cv=splits, scoring="accuracy")
    return 100 * float(np.mean(scores))


def membership(evaluation: Evaluation) -> dict[str, float | None]:
    """Accuracy of the paper's attack on the model.

    Args:
        evaluation: Outputs of the model, and the forget rows and their classes.

    Returns:
        One column in percent; None for fewer than ten forget rows, or test rows of their classes.

    Example:
        See `membership_auc` for how an Evaluation is built; `attack_accuracy_percent` is the attack itself.
    """
    model = evaluation.model
    is_other = np.isin(model.labels["test"], evaluation.forget_classes)
    members = losses(model.logits["train"][evaluation.forget], model.labels["train"][evaluation.forget])
    others = losses(model.logits["test"][is_other], model.labels["test"][is_other])
    return {"membership_accuracy_percent": attack_accuracy_percent(members, others, evaluation.seed)}


MEMBERSHIP = Metric(
    name="membership",
    about="Accuracy of the paper's membership attack: logistic regression on the loss",
    columns=("membership_accuracy_percent",),
    compute=membership,
    equation="""\
score = 100 · mean over five splits of the accuracy of logistic regression on l, trained on 90 %, scored on 10 %
l = −log softmax(z)_y, clipped to ±100;    members: forget set;    non-members: test samples of its class""",
    column_help={"membership_accuracy_percent": "held-out accuracy of the attack"},
    better="Closer to Retrain's. The chance level is 50 % for many samples and about 47 % for 25; "
    "tables print it in a row of its own.",
    cost="Five logistic regressions on one feature of at most twice as many values as the forget set has samples.",
    source="AdaProb, Table 4; sizes and splits as in the authors' code, which follows SCRUB's.",
)
