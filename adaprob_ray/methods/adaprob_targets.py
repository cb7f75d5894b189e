"""Parts of AdaProb's targets: pseudo-probabilities of the forget samples, and what the Record says of refined targets.

    uniform   1/K
    random    independent U(0, 1) entries divided by their sum
    heldout   the sample's own distribution, its confidence moved to that of held-out samples

For `heldout` the log-odds of a sample's class, log p_c − log(1 − p_c), are replaced by a quantile of those of the validation
samples of its class: the i-th smallest of n gets the quantile (i − ½)/n. The other classes keep their proportions. Where no
sample of the class is retained, held-out samples of it do not say what a retrained network would: there p_c is 0.

Axes: F forget samples, V validation samples, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaprob_ray.data.batches import Subset
from adaprob_ray.errors import InputError
from adaprob_ray.methods.base import Split
from adaprob_ray.projection import Solution
from adaprob_ray.training.loop import predict

NO_VALIDATION = (
    "pseudo: must be uniform or random where a class that is forgotten in part has no validation samples, got heldout"
)
# Targets that differ by less than this share are equal: the column sums are met to 1e-9 of the rows, and training uses the
# targets in float32.
TIE_TOLERANCE = 1e-6


def pseudo_probabilities(rows: int, classes: int, kind: str, generator: torch.Generator) -> Tensor:
    """Log-probabilities [rows, classes] float64 of the kind `uniform` or `random`."""
    if kind == "uniform":
        return torch.full((rows, classes), -math.log(classes), dtype=torch.float64)
    entries = torch.rand(rows, classes, generator=generator, dtype=torch.float64).clamp_min(
        torch.finfo(torch.float64).tiny
    )
    return (entries / entries.sum(1, keepdim=True)).log()


def class_log_odds(log_p_NK: Tensor, label: int) -> Tensor:
    """log p_c − log(1 − p_c) of each row [N], c = `label`."""
    others_NK = log_p_NK.clone()
    others_NK[:, label] = -torch.inf
    return log_p_NK[:, label] - others_NK.logsumexp(1)


def quantile_matched(values_F: Tensor, reference_V: Tensor) -> Tensor:
    """For each value the quantile of `reference_V` at its rank, (i − ½)/n for the i-th smallest of n [F].

    >>> quantile_matched(torch.tensor([9.0, 5.0]), torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])).tolist()
    [3.0, 1.0]
    """
    ranks_F = values_F.argsort().argsort().to(reference_V.dtype)
    return torch.quantile(reference_V, (ranks_F + 0.5) / len(values_F))


def heldout_pseudo_probabilities(
    log_p_FK: Tensor, labels_F: Tensor, log_p_VK: Tensor, labels_V: Tensor, retained_classes: Tensor
) -> Tensor:
    """Log-probabilities [F, K] float64 of the kind `heldout`.

    Args:
        log_p_FK: the network's log-probabilities on the forget samples.
        labels_F: their classes.
        log_p_VK, labels_V: the same of the validation samples.
        retained_classes: the classes of which a sample is retained.

    Raises:
        InputError: a retained class of forget samples has no validation samples.
    """
    pseudo_FK = log_p_FK.double().clone()
    for label in labels_F.unique().tolist():
        of_class_F, of_class_V = labels_F == label, labels_V == label
        own = pseudo_FK[of_class_F]
        others = own.clone()
        others[:, label] = -torch.inf
        others -= others.logsumexp(1, keepdim=True)
        odds = torch.full((len(own),), -torch.inf, dtype=torch.float64, device=own.device)
        if bool((retained_classes == label).any()):
            if not bool(of_class_V.any()):
                raise InputError(NO_VALIDATION)
            odds = quantile_matched(class_log_odds(own, label), class_log_odds(log_p_VK[of_class_V].double(), label))
        others += functional.logsigmoid(-odds)[:, None]
        others[:, label] = functional.logsigmoid(odds)
        pseudo_FK[of_class_F] = others
    return pseudo_FK


def heldout_targets(model: nn.Module, split: Split, log_f_FK: Tensor) -> Tensor:
    """Pseudo-probabilities of the kind `heldout` for a split, given the log-probabilities of the forget samples.

    Raises:
        InputError: there are no validation samples of a forgotten class of which samples are retained.
    """
    labels_F, retained = split.forget.labels, split.retain.labels.unique()
    needed = labels_F[torch.isin(labels_F, retained)]
    log_v_VK, labels_V = log_f_FK[:0], labels_F[:0]
    if len(needed):
        validation = split.available("validation")
        if validation is None or not bool(torch.isin(needed, validation.labels).all()):
            raise InputError(NO_VALIDATION)
        validation = validation.with_rows(validation.rows[torch.isin(validation.labels, needed)])
        log_v_VK, labels_V = functional.log_softmax(predict(model, validation).double(), dim=1), validation.labels
    return heldout_pseudo_probabilities(log_f_FK, labels_F, log_v_VK, labels_V, retained)


def refinement_facts(
    solution: Solution[Tensor], reference_NK: Tensor, train: Subset, forget: Tensor, ties: torch.Generator
) -> dict[str, float]:
    """What the Record says of refined targets: their errors, how far they moved from the reference, and the projection."""
    retain = torch.ones(len(train), dtype=torch.bool, device=forget.device)
    retain[forget] = False
    start_NK = reference_NK.exp()
    is_wrong_N = predicted_classes(solution.targets, ties) != train.labels
    return {
        "target_forget_error_percent": 100 * float(is_wrong_N[forget].double().mean()),
        "target_retain_error_percent": 100 * float(is_wrong_N[retain].double().mean()),
        "target_shift": mean_shift(solution.targets[forget], start_NK[forget]),
        "target_shift_retain": mean_shift(solution.targets[retain], start_NK[retain]),
        "projection_residual": solution.residual,
        "projection_passes": solution.passes,
    }


def mean_shift(targets_NK: Tensor, start_NK: Tensor) -> float:
    """Mean over rows of ½ Σ_k |g*_nk − r_nk|, the distance by which refinement moved the rows, from 0 to 1."""
    return float((targets_NK - start_NK).abs().sum(1).mean() / 2)


def predicted_classes(targets_NK: Tensor, generator: torch.Generator) -> Tensor:
    """The class of each row's largest target [N]; among entries that are equal up to TIE_TOLERANCE one is drawn."""
    largest_N1 = targets_NK.amax(1, keepdim=True)
    noise_NK = torch.rand(targets_NK.shape, generator=generator).to(targets_NK.device)
    return noise_NK.masked_fill(targets_NK < largest_N1 * (1 - TIE_TOLERANCE), -1.0).argmax(1)
