"""Divergence of a model's outputs from those of Retrain, row by row (protocol §6.4, DESIGN §9).

    KL(p ‖ q) = Σ_k p_k (log p_k − log q_k), p the model's and q Retrain's probabilities, each (p + 1e-8) renormalized

`kl_*_nats` is against the independent retraining; `kl_*_same_seed_nats`, the paper's, against the one with the model's start
and order. Retrain's own `kl_*_nats` is the noise floor: the divergence between two independent retrained models.

    row, reverse        mean over n of KL(q_n ‖ p_n)
    centroid, reverse   KL(p̄ ‖ q̄) and KL(q̄ ‖ p̄),  p̄ = mean over n of p_n

are further columns, against the independent retraining. The centroid is what the authors' second script computes. It never
exceeds the mean over rows, and is 0 for models that differ on every row but agree on average: by itself it is weak evidence.

N rows, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.metrics import Metric
from adaprob_ray.metrics.outputs import Evaluation, Outputs

# Added to each probability, as in the authors' code: it bounds the divergence by log(1e8).
SMOOTHING = 1e-8


def smooth_probabilities(logits_NK: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities [N, K] in float64, 1e-8 added to each entry and rows renormalized."""
    from scipy.special import softmax

    p_NK = softmax(logits_NK.astype(np.float64), axis=1) + SMOOTHING
    return p_NK / p_NK.sum(1, keepdims=True)


def mean_divergence_nats(p_logits_NK: NDArray[np.float32], q_logits_NK: NDArray[np.float32]) -> float:
    """Mean over rows of KL(p ‖ q)."""
    from scipy.special import rel_entr

    return float(rel_entr(smooth_probabilities(p_logits_NK), smooth_probabilities(q_logits_NK)).sum(1).mean())


def centroid_divergence_nats(p_logits_NK: NDArray[np.float32], q_logits_NK: NDArray[np.float32]) -> float:
    """KL(p̄ ‖ q̄) of the mean probabilities. Smoothing commutes with the mean over rows, because both are linear."""
    from scipy.special import rel_entr

    p_K, q_K = smooth_probabilities(p_logits_NK).mean(0), smooth_probabilities(q_logits_NK).mean(0)
    return float(rel_entr(p_K, q_K).sum())


def kl_to_retrain(evaluation: Evaluation) -> dict[str, float | None]:
    """Divergence from both retrained models, on the forget rows and on the test set.

    Args:
        evaluation: Outputs of the model and of both retrained models, and the forget rows.

    Returns:
        Four columns in nats; None if a model would be compared with itself.

    Example:
        The columns are means over rows of one divergence:

        >>> import numpy as np
        >>> p = np.array([[0.0, 1.0], [2.0, 0.0]], np.float32)
        >>> mean_divergence_nats(p, p)
        0.0
        >>> round(mean_divergence_nats(p, p[::-1]), 3)
        0.918
    """

    def divergences(reference: Outputs) -> tuple[float | None, float | None]:
        if evaluation.model is reference:
            return None, None
        model, rows = evaluation.model, evaluation.forget
        forget = mean_divergence_nats(model.logits["train"][rows], reference.logits["train"][rows])
        return forget, mean_divergence_nats(model.logits["test"], reference.logits["test"])

    kl_forget, kl_test = divergences(evaluation.independent)
    same_forget, same_test = divergences(evaluation.retrain)
    return {
        "kl_forget_nats": kl_forget,
        "kl_test_nats": kl_test,
        "kl_forget_same_seed_nats": same_forget,
        "kl_test_same_seed_nats": same_test,
    }


def kl_variants(evaluation: Evaluation) -> dict[str, float | None]:
    """Variants of `kl_forget_nats` and `kl_test_nats`: the reverse direction, and centroids in both directions.

    Args:
        evaluation: Outputs of the model and of the independent retrained model, and the forget rows.

    Returns:
        Six columns in nats; all None for the independent retrained model itself.

    Example:
        >>> import numpy as np
        >>> p = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
        >>> centroid_divergence_nats(p, p[::-1])
        0.0
    """
    model, reference, rows = evaluation.model, evaluation.independent, evaluation.forget
    subsets = {
        "forget": (model.logits["train"][rows], reference.logits["train"][rows]),
        "test": (model.logits["test"], reference.logits["test"]),
    }
    values: dict[str, float | None] = {}
    for name, (p_NK, q_NK) in subsets.items():
        values[f"kl_{name}_reverse_nats"] = mean_divergence_nats(q_NK, p_NK)
        values[f"kl_{name}_centroid_nats"] = centroid_divergence_nats(p_NK, q_NK)
        values[f"kl_{name}_centroid_reverse_nats"] = centroid_divergence_nats(q_NK, p_NK)
    return dict.fromkeys(values) if model is reference else values


KL_TO_RETRAIN = Metric(
    name="kl_to_retrain",
    about="KL divergence of the outputs from those of the retrained models",
    columns=("kl_forget_nats", "kl_test_nats", "kl_forget_same_seed_nats", "kl_test_same_seed_nats"),
    compute=kl_to_retrain,
    equation="""\
KL = mean over samples n of Σ_k p_nk (log p_nk − log q_nk)
p: the model's probabilities, q: Retrain's, each (p + 1e-8) renormalized""",
    column_help={
        "kl_forget_nats": "forget set, from the independent retrained model",
        "kl_test_nats": "test samples, from the independent retrained model",
        "kl_forget_same_seed_nats": "forget set, from Retrain with the original's initial weights and order of samples",
        "kl_test_same_seed_nats": "test samples, from Retrain with the original's initial weights and order of samples",
    },
    better="Smaller, down to the noise floor: Retrain's own `kl_forget_nats`, the divergence between two independent retrained "
    "models. A model at or below it is no farther from Retrain, on average, than a second retrained model; with three seeds "
    "this is not a test.",
    cost="One pass over stored logits.",
    source="AdaProb, Tables 1 and 3; the 1e-8 as in the authors' code. The paper compares with Retrain of the same seed.",
)

KL_VARIANTS = Metric(
    name="kl_variants",
    about="KL divergence from Retrain in the reverse direction and between mean outputs",
    columns=(
        "kl_forget_reverse_nats",
        "kl_test_reverse_nats",
        "kl_forget_centroid_nats",
        "kl_test_centroid_nats",
        "kl_forget_centroid_reverse_nats",
        "kl_test_centroid_reverse_nats",
    ),
    compute=kl_variants,
    equation="""\
reverse: mean over samples n of KL(q_n ‖ p_n)
centroid: KL(p̄ ‖ q̄), p̄ = mean over n of p_n;    centroid, reverse: KL(q̄ ‖ p̄)""",
    column_help={
        "kl_forget_reverse_nats": "forget set, reverse",
        "kl_test_reverse_nats": "test samples, reverse",
        "kl_forget_centroid_nats": "forget set, between mean outputs",
        "kl_test_centroid_nats": "test samples, between mean outputs",
        "kl_forget_centroid_reverse_nats": "forget set, between mean outputs, reverse",
        "kl_test_centroid_reverse_nats": "test samples, between mean outputs, reverse",
    },
    better="Smaller, down to Retrain's own value. By itself a centroid is weak evidence: it is 0 for models that differ "
    "on every sample and agree on average.",
    cost="Two passes over stored logits.",
    source="The authors' second script for the centroid.",
)
