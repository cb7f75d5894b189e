"""Top-1 errors in percent: 100·(1 − accuracy) (protocol §6.1, §1.7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.data.dataset import Integers
from adaprob_ray.metrics import Metric
from adaprob_ray.metrics.outputs import Evaluation


def error_percent(logits_NK: NDArray[np.float32], labels_N: Integers) -> float | None:
    """Top-1 error of logits.

    Args:
        logits_NK: one row of logits for each example.
        labels_N: their classes.

    Returns:
        The share of rows whose largest logit is not that of the label, in percent; None for no rows.

    Example:
        >>> import numpy as np
        >>> error_percent(np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]]), np.array([0, 1, 1, 0]))
        25.0
    """
    return 100 * float(np.mean(logits_NK.argmax(1) != labels_N)) if len(labels_N) else None


def errors(evaluation: Evaluation) -> dict[str, float | None]:
    """Top-1 errors of the model.

    Args:
        evaluation: Outputs of the model, the forget and retain rows, and the forgotten classes.

    Returns:
        Five columns, in percent, on the test rows, on those of all classes except the forgotten ones, and on the retain, forget
        and validation rows. None for no rows.

    Example:
        See `membership_auc` for how an Evaluation is built; each column is an `error_percent`.
    """
    model = evaluation.model
    train, labels = model.logits["train"], model.labels["train"]
    other = ~np.isin(model.labels["test"], evaluation.forget_classes)
    return {
        "test_error_percent": error_percent(model.logits["test"], model.labels["test"]),
        "test_other_classes_error_percent": error_percent(model.logits["test"][other], model.labels["test"][other]),
        "retain_error_percent": error_percent(train[evaluation.retain], labels[evaluation.retain]),
        "forget_error_percent": error_percent(train[evaluation.forget], labels[evaluation.forget]),
        "validation_error_percent": error_percent(model.logits["validation"], model.labels["validation"]),
    }


def all_requests(evaluation: Evaluation) -> dict[str, float | None]:
    """Top-1 error on the samples of all requests of a sequence so far; without a sequence, on the forget rows.

    Args:
        evaluation: Outputs of the model, and the rows that have been forgotten.

    Returns:
        One column, in percent.
    """
    rows = evaluation.forgotten_so_far
    train, labels = evaluation.model.logits["train"], evaluation.model.labels["train"]
    return {"all_requests_error_percent": error_percent(train[rows], labels[rows])}


ERRORS = Metric(
    name="errors",
    about="Top-1 errors on the test, retain, forget and validation samples",
    columns=(
        "test_error_percent",
        "retain_error_percent",
        "forget_error_percent",
        "test_other_classes_error_percent",
        "validation_error_percent",
    ),
    compute=errors,
    equation="error = 100 · mean over samples n of [argmax_k z_nk ≠ y_n],    z: logits, y: label",
    column_help={
        "test_error_percent": "all test samples",
        "retain_error_percent": "training samples that are kept",
        "forget_error_percent": "training samples that are forgotten",
        "test_other_classes_error_percent": "test samples of all classes except the forgotten one",
        "validation_error_percent": "validation samples",
    },
    better="Closer to Retrain's. A smaller error is not a better one: a forget error far below Retrain's means that the "
    "samples are still known, one far above it means that they are treated unlike unseen samples.",
    cost="One pass over stored logits.",
    source="AdaProb, Tables 2 and 5.",
)

ALL_REQUESTS = Metric(
    name="all_requests",
    about="Top-1 error on the samples of all requests of a sequence so far",
    columns=("all_requests_error_percent",),
    compute=all_requests,
    equation="error = 100 · mean over samples n of [argmax_k z_nk ≠ y_n],    n: of this request or an earlier one",
    column_help={
        "all_requests_error_percent": "training samples of this request and of those before it in its sequence"
    },
    better="Closer to Retrain's, which is trained without any of them. An error that falls from one request to the next means "
    "that samples forgotten before are recognized again.",
    cost="One pass over stored logits.",
    source="This package; not in the AdaProb paper.",
)
