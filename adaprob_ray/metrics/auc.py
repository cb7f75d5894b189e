"""How well the loss alone separates forget rows from unseen ones, at all thresholds (protocol §6.3).

    AUC = P(l_m < l_o) + ½ P(l_m = l_o) = 1/(MO) Σ_m Σ_o ψ(l_m, l_o),    ψ = 1 if l_m < l_o, ½ if l_m = l_o, 0 if l_m > l_o
    Var(AUC) ≈ S²_M / M + S²_O / O

l is the loss in nats. Members M are all forget rows, others O all test rows of the classes that occur among them. Nothing
is subsampled, split or fitted: with 100 members and 1,000 others the standard deviation is half of that of the paper's
attack, and a weak leak, in standard deviations, 2.8 times as large; the attack needs eight times as many seeds. Without a
signal the AUC is 50 % at every size. Below 50 % forget rows are predicted worse than unseen ones, which a model that forgot
too much shows and Retrain does not.

S²_M, S²_O are the sample variances of the placements V_m = 1/O Σ_o ψ, V_o = 1/M Σ_m ψ (DeLong, DeLong and Clarke-Pearson
1988), which are mid-ranks and need only sorting (Sun and Xu 2014). The interval describes resampling of the rows for this one
model, not another training run. It is too narrow if the AUC is close to 0 or 100 or rows are few.

N rows of one kind, X of the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.metrics import Metric
from adaprob_ray.metrics.membership import MIN_ROWS, losses
from adaprob_ray.metrics.outputs import Evaluation

CONFIDENCE_LEVEL = 0.95
# Others that a rate at 1 % needs: 1 % of them is then at least ten rows.
MIN_OTHERS_FOR_TPR = 1000


def placements(values_N: NDArray[np.float64], others_X: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value the share of `others` that are larger; equal ones count half."""
    sorted_X = np.sort(others_X)
    below_N = np.searchsorted(sorted_X, values_N, "left") + np.searchsorted(sorted_X, values_N, "right")
    return 1 - below_N / (2 * len(others_X))


def auc_interval(members_M: NDArray[np.float64], others_O: NDArray[np.float64]) -> tuple[float, float, float]:
    """AUC of losses and its 95 % confidence interval.

    Args:
        members_M: losses of the forget rows, at least two.
        others_O: losses of the unseen rows, at least two.

    Returns:
        AUC, lower and upper end, as shares in [0, 1].

    Example:
        >>> import numpy as np
        >>> auc, low, high = auc_interval(np.array([0.1, 0.4, 0.5]), np.array([0.3, 0.6, 0.7, 0.9]))
        >>> f"{auc:.2f} in [{low:.2f}, {high:.2f}]"
        '0.83 in [0.47, 1.00]'
    """
    from scipy.special import ndtri

    v_M, v_O = placements(members_M, others_O), 1 - placements(others_O, members_M)
    auc = float(v_M.mean())
    variance = float(v_M.var(ddof=1) / len(v_M) + v_O.var(ddof=1) / len(v_O))
    # If ψ is the same for every pair (perfect separation either way, or all losses equal), DeLong's width is 0 however few
    # rows there are. The min(M, O) pairs without a common row are then independent and agree, so that by Clopper and Pearson
    # (1934) a pair has this ψ with probability q = 0.025^(1/min(M, O)) at least: the AUC lies in [ψ q, ψ q + 1 − q].
    if variance == 0:
        q = ((1 - CONFIDENCE_LEVEL) / 2) ** (1 / min(len(v_M), len(v_O)))
        return auc, auc * q, auc * q + 1 - q
    half_width = float(ndtri((1 + CONFIDENCE_LEVEL) / 2)) * variance**0.5
    return auc, max(auc - half_width, 0.0), min(auc + half_width, 1.0)


def tpr_at_1_percent(members_M: NDArray[np.float64], others_O: NDArray[np.float64]) -> float | None:
    """Largest share of members below a threshold that at most 1 % of others are below; None for fewer than 1,000 others."""
    if len(others_O) < MIN_OTHERS_FOR_TPR:
        return None
    threshold = np.partition(others_O, len(others_O) // 100)[len(others_O) // 100]
    return float((members_M < threshold).mean())


def members_and_others(evaluation: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Losses of the forget rows, and of the test rows of the classes that occur among them."""
    logits, labels = evaluation.model.logits, evaluation.model.labels
    labels_M = labels["train"][evaluation.forget]
    is_other = np.isin(labels["test"], labels_M)
    members_M = losses(logits["train"][evaluation.forget], labels_M)
    return members_M, losses(logits["test"][is_other], labels["test"][is_other])


def membership_auc(evaluation: Evaluation) -> dict[str, float | None]:
    """AUC of the loss for forget rows against test rows of their classes, and the true positive rate at 1 %.

    Args:
        evaluation: Outputs of the model, and the forget rows.

    Returns:
        Four columns in percent, the AUC, both ends of its 95 % interval, and the rate. All are None for fewer than ten rows
        of either kind, the rate for fewer than 1,000 test rows of these classes.

    Example:
        >>> import numpy as np
        >>> from adaprob_ray.metrics.outputs import Outputs
        >>> labels = {"train": np.zeros(20, int), "validation": np.zeros(5, int), "test": np.zeros(12, int)}
        >>> logits = {name: np.zeros((len(values), 2), np.float32) for name, values in labels.items()}
        >>> outputs = Outputs(logits=logits, labels=labels)
        >>> evaluation = Evaluation(
        ...     model=outputs,
        ...     original=outputs,
        ...     retrain=outputs,
        ...     independent=outputs,
        ...     forget=np.arange(10),
        ...     retain=np.arange(10, 20),
        ...     forget_class=0,
        ...     seed=1,
        ... )
        >>> membership_auc(evaluation)["membership_auc_percent"]
        50.0
    """
    names = ("membership_auc_percent", "membership_auc_low_percent", "membership_auc_high_percent")
    members_M, others_O = members_and_others(evaluation)
    if min(len(members_M), len(others_O)) < MIN_ROWS:
        return dict.fromkeys((*names, "membership_tpr_at_1_percent"))
    rate = tpr_at_1_percent(members_M, others_O)
    shares = zip(names, auc_interval(members_M, others_O), strict=True)
    percent: dict[str, float | None] = {name: 100 * share for name, share in shares}
    return {**percent, "membership_tpr_at_1_percent": None if rate is None else 100 * rate}


MEMBERSHIP_AUC = Metric(
    name="membership_auc",
    about="AUC of a membership attack by the loss alone, with its 95 % interval",
    columns=(
        "membership_auc_percent",
        "membership_auc_low_percent",
        "membership_auc_high_percent",
        "membership_tpr_at_1_percent",
    ),
    compute=membership_auc,
    equation="""\
AUC = P(l_m < l_o) + ½ P(l_m = l_o)
l: loss in nats;    members m: forget set;    others o: test samples of the classes in it""",
    column_help={
        "membership_auc_percent": "AUC",
        "membership_auc_low_percent": "lower end of the 95 % DeLong interval, over samples of this one model",
        "membership_auc_high_percent": "its upper end",
        "membership_tpr_at_1_percent": "true positive rate at 1 % false positives; from 1,000 other samples on",
    },
    better="Closer to Retrain's. 50 % is no signal, at every number of samples. Below 50 % forgotten samples are predicted "
    "worse than unseen ones, which Retrain does not show.",
    cost="One sort of the losses.",
    source="DeLong, DeLong and Clarke-Pearson (1988) for the interval; not in the AdaProb paper.",
)
