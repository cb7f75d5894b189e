"""Record columns for readers: the header of a metric, its unit and its decimals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Suffix of a column, its unit, the unit of a difference, and the fewest and most decimals that are shown.
_UNITS = (
    ("_percent", "%", "pp", 1, 2),
    ("_nats", "nats", "nats", 2, 3),
    ("_seconds", "s", "s", 1, 2),
    ("_examples", "examples", "examples", 0, 0),
    ("_steps", "steps", "steps", 0, 1),
    ("", "", "", 1, 3),
)

_WORDS = {  # where the column's name without its unit does not read well
    "test_other_classes_error_percent": "test error, other classes",
    "all_requests_error_percent": "forget error, all requests so far",
    "membership_accuracy_percent": "MIA accuracy",
    "kl_forget_nats": "KL forget",
    "kl_test_nats": "KL test",
    "kl_forget_same_seed_nats": "KL forget, same seed",
    "kl_test_same_seed_nats": "KL test, same seed",
    "membership_auc_percent": "membership AUC",
    "membership_auc_low_percent": "membership AUC, low",
    "membership_auc_high_percent": "membership AUC, high",
    "membership_tpr_at_1_percent": "membership TPR at 1 % false positives",
    "kl_forget_reverse_nats": "KL forget, reverse",
    "kl_test_reverse_nats": "KL test, reverse",
    "kl_forget_centroid_nats": "KL forget, centroid",
    "kl_test_centroid_nats": "KL test, centroid",
    "kl_forget_centroid_reverse_nats": "KL forget, centroid, reverse",
    "kl_test_centroid_reverse_nats": "KL test, centroid, reverse",
    "relearn_steps": "relearn time",
    "probe_test_forget_class_error_percent": "probe error on the forgotten class",
    "unlearn_seconds": "unlearning time",
    "forward_examples": "forward passes",
    "backward_examples": "backward passes",
    "parameter_distance": "L2 distance to original",
    "start_distance": "L2 distance to start",
}


@dataclass(frozen=True)
class MetricFormat:
    """A metric's column: its name in Records, words, units, and how many decimals are shown."""

    name: str
    words: str
    unit: str
    difference_unit: str
    min_decimals: int
    max_decimals: int

    @property
    def is_share(self) -> bool:
        """A percentage: errors and attack accuracies, for which |difference| between two retrainings is the floor."""
        return self.unit == "%"

    @property
    def is_error(self) -> bool:
        """A share of rows that the model gets wrong."""
        return self.name.endswith("_error_percent")

    @property
    def is_divergence(self) -> bool:
        """A divergence from the independent retraining, whose floor is Retrain's own value (DESIGN §9)."""
        return self.unit == "nats" and not self.name.endswith("_same_seed_nats")

    @property
    def rows(self) -> str:
        """The Record column with the denominator of an error, of the model, its targets or its probe."""
        samples = self.name.removeprefix("target_").removeprefix("probe_").removesuffix("_error_percent")
        return f"{samples}_rows" if self.is_error else ""

    def header(self, *, difference: bool = False) -> str:
        """Words and unit; the unit is never broken over two lines."""
        unit = (self.difference_unit if difference else self.unit).replace(" ", "\N{NO-BREAK SPACE}")
        return f"{self.words} ({unit})" if unit else self.words


def metric_format(name: str) -> MetricFormat:
    """The words and units of a column, derived from its name where _WORDS has no entry."""
    unit = next(unit for unit in _UNITS if name.endswith(unit[0]))
    words = _WORDS.get(name, name.removesuffix(unit[0]).replace("_", " "))
    return MetricFormat(name, words, *unit[1:])


def metric_columns(metrics: Sequence[str]) -> list[MetricFormat]:
    """The columns of the metrics that a sweep lists, in its order."""
    from adaprob_ray.catalogue import METRICS  # which loads torch

    return [metric_format(name) for metric in metrics for name in METRICS[metric].columns]


def all_columns() -> list[MetricFormat]:
    """The columns of every metric in the catalogue."""
    from adaprob_ray.catalogue import METRICS

    return metric_columns(list(METRICS))
