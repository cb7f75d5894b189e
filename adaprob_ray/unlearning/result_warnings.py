"""What a user should know about a result before using it, a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from adaprob_ray.metrics.divergence import mean_divergence_nats
from adaprob_ray.metrics.error_rate import error_percent
from adaprob_ray.metrics.membership import losses
from adaprob_ray.unlearning.outputs import ModelOutputs

# Error of the original on retained samples above which something is probably wrong with the input: in percent, and as a share
# of that of guessing.
SUSPICIOUS_PERCENT, SUSPICIOUS_SHARE = 30.0, 0.9
# How much must change on the forgotten samples for them to count as treated otherwise than before: the error by so many
# percentage points, or the mean confidence in their labels by as many and the mean loss by this share. A loss near 0 may double
# with nothing forgotten.
NOTICEABLE_SHARE, NOTICEABLE_POINTS = 0.1, 2.0


def suspicions(retain: ModelOutputs) -> list[str]:
    """A line if the original's outputs on retained samples are so wrong that the input probably is."""
    error = _error_percent(retain)
    guessing = 100 * (1 - float(np.bincount(retain.labels).max()) / len(retain.labels))
    if guessing == 0 or error <= min(SUSPICIOUS_PERCENT, SUSPICIOUS_SHARE * guessing):
        return []
    is_guess = error > SUSPICIOUS_SHARE * guessing
    samples = (
        "the retained samples, about as many as guessing would" if is_guess else "the samples that it was trained on"
    )
    return [
        f"the model misclassifies {error:.1f} % of {samples}: is the "
        "normalization (mean, std) right, and do the labels fit the model's classes?"
    ]


def _error_percent(outputs: ModelOutputs) -> float:
    """The error over a subset that has samples."""
    error = error_percent(outputs.logits, outputs.labels)
    assert error is not None
    return error


def without_effect(before: ModelOutputs, after: ModelOutputs) -> list[str]:
    """A line if the forgotten samples are classified as before, about as surely."""
    errors = [_error_percent(outputs) for outputs in (before, after)]
    values = [losses(outputs.logits, outputs.labels) for outputs in (before, after)]
    means = [float(each.mean()) for each in values]
    points = [100 * float(np.exp(-each).mean()) for each in values]
    is_less_sure = abs(points[1] - points[0]) > NOTICEABLE_POINTS
    is_less_sure = is_less_sure and abs(means[1] - means[0]) > NOTICEABLE_SHARE * means[0]
    if abs(errors[1] - errors[0]) > NOTICEABLE_POINTS or is_less_sure:
        return []
    return [
        f"the forgotten samples are treated as before: error {errors[1]:.1f} %, mean confidence in their labels "
        f"{points[0]:.1f} -> {points[1]:.1f} %, mean loss {means[0]:.3g} -> {means[1]:.3g} nats; another method or setting may "
        "forget more"
    ]


def farther_from_references(
    before: ModelOutputs, after: ModelOutputs, references: Sequence[Mapping[str, ModelOutputs]]
) -> list[str]:
    """A line if the outputs on the forgotten samples are farther from those of the references than they were."""
    if not references:
        return []
    others = [outputs["forget"].logits for outputs in references]
    distances = [np.mean([mean_divergence_nats(model.logits, each) for each in others]) for model in (before, after)]
    if distances[1] <= (1 + NOTICEABLE_SHARE) * distances[0]:
        return []
    return [
        f"the outputs on the forgotten samples are farther from those of the retrained models than before: KL "
        f"{distances[0]:.3f} -> {distances[1]:.3f} nats"
    ]
