"""What the outputs before and after an unlearning show, as numbers with intervals.

Every number is recomputed by `audit` from weights and data. N samples, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.metrics.auc import auc_interval
from adaprob_ray.metrics.divergence import mean_divergence_nats
from adaprob_ray.metrics.membership import losses
from adaprob_ray.reporting.stats.intervals import clopper_pearson
from adaprob_ray.unlearning.outputs import ModelOutputs
from adaprob_ray.unlearning.run import Run

# Forgotten samples that are listed one by one.
MAX_EXPOSED = 20
# Samples of each kind below which the attack is not reported.
MIN_ATTACKED = 10
DIGITS = 10  # significant digits of a number in a record

Outputs = Mapping[str, ModelOutputs]


@dataclass(frozen=True)
class Evidence:
    """One measured number.

    Attributes:
        metric: what is measured, such as `forget_error_percent`.
        model: `original`, `unlearned` or `reference 1`.
        value: in the unit that the name of the metric ends in.
        low, high: a 95 % interval, or None.
        count: samples behind it.
        against: what it is compared with, or nothing.
        floor: the same number between two retrained models, in the mean over the references; None with fewer than two.
        references: retrained models that were given, for a number that is a distance to one.
    """

    metric: str
    model: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = None
    against: str = ""
    floor: float | None = None
    references: int | None = None

    def document(self) -> dict[str, Any]:
        """Fields that are set, numbers rounded to ten significant digits."""
        interval = None if self.low is None or self.high is None else [_rounded(self.low), _rounded(self.high)]
        fields = {"metric": self.metric, "model": self.model, "value": _rounded(self.value), "interval95": interval}
        fields |= {"samples": self.count, "against": self.against or None}
        fields |= {"floor": None if self.floor is None else _rounded(self.floor), "references": self.references}
        return {name: value for name, value in fields.items() if value is not None}


def evidence(run: Run) -> list[Evidence]:
    """Errors, the membership attack and distances to references, of the original, the new model and each reference."""
    models = {"original": run.before, "unlearned": run.after}
    models |= {f"reference {number}": outputs for number, outputs in enumerate(run.references, 1)}
    items = [item for name, outputs in models.items() for item in (*_errors(name, outputs), *_attack(name, outputs))]
    return [*items, *_divergences(models)]


def _errors(model: str, outputs: Outputs) -> Iterator[Evidence]:
    """Error rates with exact binomial intervals; of held-out data also those of the classes that are forgotten and others."""
    forgotten = np.unique(outputs["forget"].labels)
    for name, each in outputs.items():
        subset = name.removesuffix("_measured")
        yield from _error(f"{subset}_error_percent", model, each, np.ones(len(each.labels), dtype=bool))
        if name in ("validation", "test") and len(forgotten) == 1:
            is_forgotten = each.labels == forgotten[0]
            yield from _error(f"{subset}_forgotten_class_error_percent", model, each, is_forgotten)
            yield from _error(f"{subset}_other_classes_error_percent", model, each, ~is_forgotten)


def _error(metric: str, model: str, outputs: ModelOutputs, chosen: NDArray[np.bool_]) -> Iterator[Evidence]:
    count = int(chosen.sum())
    if count:
        wrong = int((outputs.logits.argmax(1) != outputs.labels)[chosen].sum())
        low, high = clopper_pearson(wrong, count)
        yield Evidence(metric, model, 100 * wrong / count, 100 * low, 100 * high, count)


def _attack(model: str, outputs: Outputs) -> Iterator[Evidence]:
    """AUC of the loss for forgotten samples against held-out ones of their classes, with DeLong's interval."""
    others = held_out_losses(outputs)
    members = losses(outputs["forget"].logits, outputs["forget"].labels)
    if others is not None and min(len(members), len(others)) >= MIN_ATTACKED:
        auc, low, high = (100 * value for value in auc_interval(members, others))
        against = f"{len(others)} {held_out_name(outputs)} samples of the forgotten classes"
        yield Evidence("membership_auc_percent", model, auc, low, high, len(members), against)


def held_out_name(outputs: Outputs) -> str | None:
    """The subset that forgotten samples are compared with: test, or else validation."""
    return next((name for name in ("test", "validation") if name in outputs), None)


def held_out_losses(outputs: Outputs) -> NDArray[np.float64] | None:
    """Losses of held-out samples of the forgotten classes; None without any."""
    name = held_out_name(outputs)
    if name is None:
        return None
    chosen = np.isin(outputs[name].labels, outputs["forget"].labels)
    return losses(outputs[name].logits[chosen], outputs[name].labels[chosen]) if chosen.any() else None


def _divergences(models: Mapping[str, Outputs]) -> Iterator[Evidence]:
    """Mean KL of the outputs on the forgotten samples from each reference's, and between references as the noise floor."""
    references = [name for name in models if name.startswith("reference")]
    logits = {name: outputs["forget"].logits for name, outputs in models.items()}
    values = {
        (model, reference): mean_divergence_nats(logits[model], logits[reference])
        for model in models
        for reference in references
        if reference != model
    }
    between = [value for (model, _), value in values.items() if model in references]
    floor = float(np.mean(between)) if between else None
    for (model, reference), value in values.items():
        yield Evidence(
            "kl_forget_nats",
            model,
            value,
            count=len(logits[model]),
            against=reference,
            floor=None if model in references else floor,
            references=len(references),
        )


def exposed_samples(run: Run) -> list[dict[str, Any]]:
    """The forgotten samples that the new model is most confident about, compared with held-out samples of their class.

    Returns:
        At most twenty, the most exposed first: `leaf` (the position in the Merkle tree), confidence in the true class in
        percent before and after, and the percentage of held-out samples of the class with at most this confidence after.
    """
    before, after = (true_class_confidence(outputs["forget"]) for outputs in (run.before, run.after))
    name = held_out_name(run.after)
    held_out = None if name is None else run.after[name]
    lines = []
    for position in np.argsort(-after, kind="stable")[:MAX_EXPOSED]:
        line: dict[str, Any] = {"leaf": int(position)}
        line |= {"before_percent": _rounded(100 * before[position]), "after_percent": _rounded(100 * after[position])}
        if held_out is not None:
            others = true_class_confidence(held_out)[held_out.labels == run.after["forget"].labels[position]]
            if len(others):
                line["held_out_at_most_percent"] = _rounded(100 * float((others <= after[position]).mean()))
        lines.append(line)
    return lines


def true_class_confidence(outputs: ModelOutputs) -> NDArray[np.float64]:
    """The probability of each sample's label [N], from 0 to 1."""
    return np.exp(-losses(outputs.logits, outputs.labels))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def by_metric(items: Iterable[Evidence]) -> dict[str, list[Evidence]]:
    """Metric → its items, in order."""
    groups: dict[str, list[Evidence]] = {}
    for item in items:
        groups.setdefault(
            item.metric + (f" against {item.against}" if item.metric == "kl_forget_nats" else ""), []
        ).append(item)
    return groups


def limits(run: Run) -> list[str]:
    """What the evidence does not show, in plain words."""
    lines = [
        "The method is approximate: it gives no formal guarantee that the influence of the forgotten samples is removed.",
        "The evidence comes from the model's outputs. A test of outputs cannot find every model that still holds information "
        "about a sample.",
        "The membership attack uses the loss only; stronger attacks exist.",
        "Intervals describe the samples of this one model, not repetitions of the training. Where none or all of the samples "
        "are misclassified, the interval is one-sided.",
        "Copies, backups and models derived from the original are not covered by this record.",
    ]
    if not run.references:
        lines.append("No model retrained without the samples was given, so the distance to retraining is not known.")
    if held_out_losses(run.after) is None:
        lines.append("No held-out samples of the forgotten classes were given, so membership could not be tested.")
    if run.plan.tuning:
        rate = ", at a lower learning rate," if run.plan.tuning.get("rateLowered") else ""
        lines.append(
            f"The settings are the best of {run.plan.tuning['trials']}{rate} on the validation data, whose numbers are "
            "therefore optimistic; those of the test data are not."
        )
    if len(run.references) == 1:
        lines.append("With one reference the noise floor between retrained models is not known.")
    return lines


def models_of(items: Sequence[Evidence]) -> list[str]:
    """Original, unlearned and references, in this order."""
    return list(dict.fromkeys(item.model for item in items))
