"""Selection rules: which information the choice of a trial may use, and the number that it minimizes.

    oracle            mean gap to Retrain in forget, retain and test error, in percentage points. What papers do: it needs
                      retrained models and test rows, which nobody has who has to unlearn.
    validation        without Retrain and test rows, for selective requests: the forget rows must look like validation rows
                      of their class: mean of |AUC − 50| and of |forget error − the original's validation error on the class|
    validation_class  the same for a whole class: mean probability of the class, over its forget and its validation rows

Under both validation rules, retain error and validation error (for a whole class, of the other classes) may exceed the
original's by at most `margin` points in the mean over the seeds. A trial that breaks this is worth PENALTY plus the excess,
more than any that does not. Otherwise a trial's value is the mean over its seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from adaprob_ray.sweep.cell_settings import ForgetRequest

# More than any value of a trial within the margin.
PENALTY = 100.0
Facts = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A selection rule.

    columns: what it reads of the model.
    gap: of one seed, from the facts of the model and of Retrain (an empty mapping where that is not read): to be minimized.
    limited: pairs of columns; the first may exceed the second by `margin` in the mean over seeds.
    needs_retrain: whether it reads Retrain and test rows.
    revision: to be raised with every change that moves values.
    """

    name: str
    columns: tuple[str, ...]
    gap: Callable[[Facts, Facts], float]
    limited: tuple[tuple[str, str], ...] = ()
    needs_retrain: bool = False
    revision: int = 1

    def value(self, seeds: Sequence[tuple[Facts, Facts]], margin: float) -> float:
        """The value of some seeds, each given by the facts of its model and of Retrain.

        >>> model = {"forget_error_percent": 8.0, "retain_error_percent": 1.0, "test_error_percent": 6.0}
        >>> retrain = {"forget_error_percent": 11.0, "retain_error_percent": 1.0, "test_error_percent": 6.0}
        >>> ORACLE.value([(model, retrain)], margin=1.0)
        1.0
        """
        beyond = sum(max(0.0, excess - margin) for excess in self.excesses([model for model, _ in seeds]))
        return PENALTY + beyond if beyond else _mean([self.gap(model, retrain) for model, retrain in seeds])

    def excesses(self, models: Sequence[Facts]) -> list[float]:
        """By how many points each limited column exceeds the original's, in the mean over the seeds."""
        return [_mean([model[column] - model[limit] for model in models]) for column, limit in self.limited]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _gap_to_retrain(*columns: str) -> Callable[[Facts, Facts], float]:
    def gap(model: Facts, retrain: Facts) -> float:
        return sum(abs(model[column] - retrain[column]) for column in columns) / len(columns)

    return gap


def _selective(model: Facts, retrain: Facts) -> float:
    gap = abs(model["forget_error_percent"] - model["original_validation_forget_class_error_percent"])
    return (abs(model["validation_auc_percent"] - 50) + gap) / 2


def _whole_class(model: Facts, retrain: Facts) -> float:
    return (model["forget_class_confidence_percent"] + model["validation_forget_class_confidence_percent"]) / 2


_SELECTIVE_ERRORS = ("forget_error_percent", "retain_error_percent", "test_error_percent")
_CLASS_ERRORS = ("forget_error_percent", "retain_error_percent", "test_other_classes_error_percent")
_BOTH = ("retain_error_percent", "original_retain_error_percent")
ORACLE = Rule(name="oracle", columns=_SELECTIVE_ERRORS, gap=_gap_to_retrain(*_SELECTIVE_ERRORS), needs_retrain=True)
ORACLE_CLASS = Rule(name="oracle_class", columns=_CLASS_ERRORS, gap=_gap_to_retrain(*_CLASS_ERRORS), needs_retrain=True)
VALIDATION = Rule(
    name="validation",
    columns=(
        *("validation_auc_percent", "forget_error_percent", "original_validation_forget_class_error_percent"),
        *("validation_error_percent", "original_validation_error_percent"),
        *_BOTH,
    ),
    gap=_selective,
    limited=(_BOTH, ("validation_error_percent", "original_validation_error_percent")),
)
VALIDATION_CLASS = Rule(
    name="validation_class",
    columns=(
        *("forget_class_confidence_percent", "validation_forget_class_confidence_percent"),
        *("validation_other_classes_error_percent", "original_validation_other_classes_error_percent"),
        *_BOTH,
    ),
    gap=_whole_class,
    limited=(
        _BOTH,
        ("validation_other_classes_error_percent", "original_validation_other_classes_error_percent"),
    ),
)
RULES = {rule.name: rule for rule in (ORACLE, ORACLE_CLASS, VALIDATION, VALIDATION_CLASS)}


def rule_for(name: str, forget: ForgetRequest) -> Rule:
    """The rule that a search file calls `oracle` or `validation`, for this kind of request.

    >>> rule_for("validation", ForgetRequest("class", 5)).name
    'validation_class'
    """
    return RULES[f"{name}_class" if forget.kind == "class" else name]
