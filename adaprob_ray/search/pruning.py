"""Whether a trial's next seed is worth running, from what the trial may see: earlier trials and its own seeds."""

from __future__ import annotations

from collections.abc import Sequence

from adaprob_ray.search.study import Study, Trial


def may_continue(study: Study, trial: Trial, visible: Sequence[Trial]) -> bool:
    """Whether the seeds so far leave it open that the trial is better than the best visible one.

    A one-sided Wilcoxon signed-rank test over the seeds that both have run; the best trial is the one with the best mean
    among those that ran all seeds.

    Args:
        study: With `prune` in its search file.
        trial: With the values of the seeds that have ended.
        visible: The trials that asking for this one could see.

    Returns:
        False if the test says that the trial is worse.
    """
    prune = study.search.section.prune
    complete = [other for other in visible if other.state == "complete" and other.values is not None]
    if prune is None or not complete:
        return True
    sign = 1.0 if study.directions[0] == "minimize" else -1.0
    best = min(complete, key=lambda other: sign * other.values[0] if other.values else 0.0)
    pairs = zip(trial.seed_values, best.seed_values, strict=False)
    differences = [sign * (mine[0] - theirs[0]) for mine, theirs in pairs]
    return _worse_p_value(differences) > prune.p


def _worse_p_value(differences: Sequence[float]) -> float:
    """The exact p-value of the signed-rank test that the differences are not above 0; 1 if all are 0.

    >>> _worse_p_value([1.0, 2.0, 3.0, 4.0])
    0.0625
    """
    from scipy.stats import wilcoxon

    nonzero = [difference for difference in differences if difference != 0]
    if not nonzero:
        return 1.0
    return float(wilcoxon(nonzero, alternative="greater", method="exact").pvalue)
