"""What a choice of hyperparameters may look at when there is no retrained model: training and validation rows, no test rows.

    validation_auc_percent                       P(loss of a forget row < loss of a validation row of its class), ties half
    forget_class_confidence_percent              mean probability of the forget class on the forget rows
    validation_forget_class_confidence_percent   the same on the validation rows of that class

The other columns are top-1 errors, those that begin with `original_` of the model before unlearning. The selection rules in
search/rules.py combine these columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.data.dataset import Integers
from adaprob_ray.metrics import Metric
from adaprob_ray.metrics.auc import placements
from adaprob_ray.metrics.error_rate import error_percent
from adaprob_ray.metrics.membership import losses
from adaprob_ray.metrics.outputs import Evaluation, Outputs


def confidence_percent(logits_NK: NDArray[np.float32], classes: int | Integers) -> float | None:
    """Mean softmax probability over rows, in percent, of one class or of a class for each row; None for no rows.

    >>> import numpy as np
    >>> confidence_percent(np.zeros((3, 4), np.float32), 1)
    25.0
    """
    from scipy.special import softmax

    if not len(logits_NK):
        return None
    q_NK = softmax(logits_NK.astype(np.float64), axis=1)
    of_class_N = q_NK[np.arange(len(q_NK)), classes] if isinstance(classes, np.ndarray) else q_NK[:, classes]
    return 100 * float(of_class_N.mean())


def selection_columns(
    model: Outputs, original: Outputs, *, forget: Integers, retain: Integers, forget_class: int | None
) -> dict[str, float | None]:
    """The columns of this metric. Test rows are not read.

    Args:
        model: Outputs of the unlearned model.
        original: Outputs of the model before unlearning.
        forget: positions of the forget rows in the training set.
        retain: positions of the others.
        forget_class: the class of the forget rows; None where they are of several, of which each row then has its own.

    Returns:
        Columns in percent; None where there are no rows.

    Example:
        >>> import numpy as np
        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 3.0]], np.float32)
        >>> labels = np.array([0, 1, 0, 1])
        >>> outputs = Outputs(
        ...     logits=dict.fromkeys(("train", "validation", "test"), logits),
        ...     labels=dict.fromkeys(("train", "validation", "test"), labels),
        ... )
        >>> columns = selection_columns(
        ...     outputs, outputs, forget=np.array([0]), retain=np.array([1, 2, 3]), forget_class=0
        ... )
        >>> columns["validation_auc_percent"], columns["original_retain_error_percent"]
        (75.0, 0.0)
    """
    train, train_labels = model.logits["train"], model.labels["train"]
    validation, labels = model.logits["validation"], model.labels["validation"]
    before = original.logits["validation"]
    forget_classes = train_labels[forget] if forget_class is None else forget_class
    of_class = np.isin(labels, forget_classes)
    members = losses(train[forget], train_labels[forget])
    others = losses(validation[of_class], labels[of_class])
    has_both = len(members) and len(others)
    return {
        "validation_auc_percent": 100 * float(placements(members, others).mean()) if has_both else None,
        "validation_other_classes_error_percent": error_percent(validation[~of_class], labels[~of_class]),
        "forget_class_confidence_percent": confidence_percent(train[forget], forget_classes),
        "validation_forget_class_confidence_percent": confidence_percent(
            validation[of_class], labels[of_class] if forget_class is None else forget_class
        ),
        "original_validation_error_percent": error_percent(before, labels),
        "original_validation_forget_class_error_percent": error_percent(before[of_class], labels[of_class]),
        "original_validation_other_classes_error_percent": error_percent(before[~of_class], labels[~of_class]),
        "original_retain_error_percent": error_percent(original.logits["train"][retain], train_labels[retain]),
    }


def selection(evaluation: Evaluation) -> dict[str, float | None]:
    """The columns of this metric for an Evaluation; see `selection_columns`."""
    return selection_columns(
        evaluation.model,
        evaluation.original,
        forget=evaluation.forget,
        retain=evaluation.retain,
        forget_class=evaluation.forget_class,
    )


SELECTION = Metric(
    name="selection",
    about="What a search may look at without a retrained model: validation and training samples",
    columns=(
        "validation_auc_percent",
        "forget_class_confidence_percent",
        "validation_forget_class_confidence_percent",
        "validation_other_classes_error_percent",
        "original_validation_error_percent",
        "original_validation_forget_class_error_percent",
        "original_validation_other_classes_error_percent",
        "original_retain_error_percent",
    ),
    compute=selection,
    equation="""\
validation_auc = P(l_f < l_v), ties half;    f: forget set, v: validation samples of its class
confidence = mean over samples n of softmax(z_n)_c,    c: the forgotten class""",
    column_help={
        "validation_auc_percent": "AUC of the loss, forget set against validation samples of its class",
        "forget_class_confidence_percent": "mean probability of the forgotten class on the forget set",
        "validation_forget_class_confidence_percent": "the same on validation samples of that class",
        "validation_other_classes_error_percent": "error on validation samples of the other classes",
        "original_validation_error_percent": "the original's error on validation samples",
        "original_validation_forget_class_error_percent": "the same, of the forgotten class",
        "original_validation_other_classes_error_percent": "the same, of the other classes",
        "original_retain_error_percent": "the original's error on the retain set",
    },
    better="As the selection rule of the search says (docs/search.md): AUC close to 50 %, confidence small, errors close to "
    "the original's. No retrained model and no test sample is read.",
    cost="One pass over stored logits.",
    source="This package; not in the AdaProb paper.",
)
