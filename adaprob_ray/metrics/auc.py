"""How well the loss alone tells forget rows from unseen ones, at every threshold at once (protocol §6.3).

    AUC = P(l_m < l_o) + ½ P(l_m = l_o) = 1/(MO) Σ_m Σ_o ψ(l_m, l_o),    ψ = 1 if l_m < l_o, ½ if l_m = l_o, 0 if l_m > l_o
    Var(AUC) ≈ S²_M / M + S²_O / O

l is the loss in nats. Members M are all forget rows, others O all test rows of the classes that occur among them. Nothing
is subsampled, split or fitted: with 100 members and 1,000 others the standard deviation is half of that of the paper's
attack, and a weak leak, in standard deviations, 2.8 times as large; the attack needs eight times as many seeds. 50 % is no
signal, at every size. Below 50 % forget rows are worse predicted than unseen ones: a model that forgot too much shows this
and Retrain does not.

S²_M, S²_O are sample variances of the placements V_m = 1/O Σ_o ψ, V_o = 1/M Σ_m ψ (DeLong, DeLong and Clarke-Pearson 1988),
which are mid-ranks and so need sorting only (Sun and Xu 2014). The interval is for rows drawn again, for this one model; it
says nothing of another training run. It is too narrow where the AUC is nearly 0 or 100 or rows are few.

N rows of one kind, X of the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from adaprob_ray.metrics.membership import FEWEST, losses
from adaprob_ray.metrics.outputs import Evaluation

LEVEL = 0.95
FEWEST_FOR_TPR = 1000  # others: 1 % of them is then ten rows, of fewer a handful


def placements(values_N: NDArray[np.float64], among_X: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value the share of `among` that is larger, equal ones counted half."""
    ordered_X = np.sort(among_X)
    below_N = np.searchsorted(ordered_X, values_N, "left") + np.searchsorted(ordered_X, values_N, "right")
    return 1 - below_N / (2 * len(among_X))


def auc_interval(members_M: NDArray[np.float64], others_O: NDArray[np.float64]) -> tuple[float, float, float]:
    """AUC and its 95 % interval, shares in [0, 1]. At least two rows of each.

    Where every pair says the same ψ (perfect separation either way, or all losses equal), DeLong's width is 0 however few
    rows there are. The min(M, O) pairs without a common row are then independent and agree, so that by Clopper and Pearson
    (1934) a pair says ψ with probability q = 0.025^(1/min(M, O)) at least: the AUC lies in [ψ q, ψ q + 1 − q].
    """
    v_M, v_O = placements(members_M, others_O), 1 - placements(others_O, members_M)
    auc = float(v_M.mean())
    variance = float(v_M.var(ddof=1) / len(v_M) + v_O.var(ddof=1) / len(v_O))
    if variance == 0:
        q = ((1 - LEVEL) / 2) ** (1 / min(len(v_M), len(v_O)))
        return auc, auc * q, auc * q + 1 - q
    half = float(norm.ppf((1 + LEVEL) / 2)) * variance**0.5
    return auc, max(auc - half, 0.0), min(auc + half, 1.0)


def tpr_at_1_percent(members_M: NDArray[np.float64], others_O: NDArray[np.float64]) -> float | None:
    """Largest share of members below a threshold that at most 1 % of others are below; None with fewer than 1,000 others."""
    if len(others_O) < FEWEST_FOR_TPR:
        return None
    threshold = np.partition(others_O, len(others_O) // 100)[len(others_O) // 100]
    return float((members_M < threshold).mean())


def members_and_others(evaluation: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Losses of the forget rows, and of the test rows of the classes that occur among them."""
    logits, labels = evaluation.model.logits, evaluation.model.labels
    forgotten_M = labels["train"][evaluation.forget]
    held_out = np.isin(labels["test"], forgotten_M)
    members_M = losses(logits["train"][evaluation.forget], forgotten_M)
    return members_M, losses(logits["test"][held_out], labels["test"][held_out])


def membership_auc(evaluation: Evaluation) -> dict[str, float | None]:
    """In percent. All None with fewer than ten rows of either kind; the rate at 1 % with fewer than 1,000 others."""
    names = ("membership_auc_percent", "membership_auc_low_percent", "membership_auc_high_percent")
    members_M, others_O = members_and_others(evaluation)
    if min(len(members_M), len(others_O)) < FEWEST:
        return dict.fromkeys((*names, "membership_tpr_at_1_percent"))
    rate = tpr_at_1_percent(members_M, others_O)
    shares = zip(names, auc_interval(members_M, others_O), strict=True)
    percent: dict[str, float | None] = {name: 100 * share for name, share in shares}
    return {**percent, "membership_tpr_at_1_percent": None if rate is None else 100 * rate}
