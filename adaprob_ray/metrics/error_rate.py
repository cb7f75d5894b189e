"""Top-1 errors in percent: 100·(1 − accuracy) (protocol §6.1, §1.7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.data.dataset import Integers
from adaprob_ray.metrics.outputs import Evaluation


def error_percent(logits_NK: NDArray[np.float32], labels_N: Integers) -> float | None:
    """Share of rows whose largest logit is not the label's, in %; None where there are no rows."""
    return 100 * float(np.mean(logits_NK.argmax(1) != labels_N)) if len(labels_N) else None


def errors(evaluation: Evaluation) -> dict[str, float | None]:
    """Errors on test, retain, forget and validation rows, and on the test rows of all classes but the forgotten one."""
    model = evaluation.model
    train, labels = model.logits["train"], model.labels["train"]
    other = model.labels["test"] != evaluation.forget_class
    return {
        "test_error_percent": error_percent(model.logits["test"], model.labels["test"]),
        "test_other_classes_error_percent": error_percent(model.logits["test"][other], model.labels["test"][other]),
        "retain_error_percent": error_percent(train[evaluation.retain], labels[evaluation.retain]),
        "forget_error_percent": error_percent(train[evaluation.forget], labels[evaluation.forget]),
        "validation_error_percent": error_percent(model.logits["validation"], model.labels["validation"]),
    }
