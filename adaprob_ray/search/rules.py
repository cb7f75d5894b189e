"""Selection rules: which information the choice of a trial may use, and the number that it minimizes.

    oracle            mean gap to Retrain in forget, retain and test error, in percentage points. What papers do: it needs
                      retrained models and test rows, which nobody has who has to unlearn.
    validation        without Retrain and test rows, for selective requests: the forget rows must look like validation rows
                      of their class: mean of |AUC − 50| and of |forget error − the original's validation error on the class|
    validation_class  the same for a whole class: mean probability of the class, over its forget and its validation rows

Under both validation rules, retain error and validation error (for a whole class, of the other classes) may exceed the
original's by at most `margin` points. A trial that breaks this is worth PENALTY plus the excess, more than any that does not.
A trial's value is the mean over its seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adaprob_ray.sweep.cell_settings import ForgetRequest

# More than any value of a trial within the margin.
PENALTY = 100.0
Facts = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A selection rule for one seed of a trial.

    columns: what it reads of the model.
    value: of (facts of the model, facts of Retrain or an empty mapping, margin).
    needs_retrain: whether it reads Retrain and test rows.
    """

    name: str
    columns: tuple[str, ...]
    value: Callable[[Facts, Facts, float], float]
    needs_retrain: bool = False


def _gap_to_retrain(*columns: str) -> Callable[[Facts, Facts, float], float]:
    def value(model: Facts, retrain: Facts, margin: float) -> float:
        return sum(abs(model[column] - retrain[column]) for column in columns) / len(columns)

    return value


def _within_margin(value: float, excesses: tuple[float, ...], margin: float) -> float:
    """`value`, or PENALTY plus the points by which errors exceed the margin."""
    beyond = sum(max(0.0, excess - margin) for excess in excesses)
    return PENALTY + beyond if beyond else value


def _selective(model: Facts, retrain: Facts, margin: float) -> float:
    gap = abs(model["forget_error_percent"] - model["original_validation_forget_class_error_percent"])
    excesses = (
        model["retain_error_percent"] - model["original_retain_error_percent"],
        model["validation_error_percent"] - model["original_validation_error_percent"],
    )
    return _within_margin((abs(model["validation_auc_percent"] - 50) + gap) / 2, excesses, margin)


def _whole_class(model: Facts, retrain: Facts, margin: float) -> float:
    confidences = model["forget_class_confidence_percent"], model["validation_forget_class_confidence_percent"]
    excesses = (
        model["retain_error_percent"] - model["original_retain_error_percent"],
        model["validation_other_classes_error_percent"] - model["original_validation_other_classes_error_percent"],
    )
    return _within_margin(sum(confidences) / 2, excesses, margin)


_SELECTIVE_ERRORS = ("forget_error_percent", "retain_error_percent", "test_error_percent")
_CLASS_ERRORS = ("forget_error_percent", "retain_error_percent", "test_other_classes_error_percent")
_BOTH = ("retain_error_percent", "original_retain_error_percent")
ORACLE = Rule(name="oracle", columns=_SELECTIVE_ERRORS, value=_gap_to_retrain(*_SELECTIVE_ERRORS), needs_retrain=True)
ORACLE_CLASS = Rule(
    name="oracle_class", columns=_CLASS_ERRORS, value=_gap_to_retrain(*_CLASS_ERRORS), needs_retrain=True
)
VALIDATION = Rule(
    name="validation",
    columns=(
        *("validation_auc_percent", "forget_error_percent", "original_validation_forget_class_error_percent"),
        *("validation_error_percent", "original_validation_error_percent"),
        *_BOTH,
    ),
    value=_selective,
)
VALIDATION_CLASS = Rule(
    name="validation_class",
    columns=(
        *("forget_class_confidence_percent", "validation_forget_class_confidence_percent"),
        *("validation_other_classes_error_percent", "original_validation_other_classes_error_percent"),
        *_BOTH,
    ),
    value=_whole_class,
)
RULES = {rule.name: rule for rule in (ORACLE, ORACLE_CLASS, VALIDATION, VALIDATION_CLASS)}


def rule_for(name: str, forget: ForgetRequest) -> Rule:
    """The rule that a search file calls `oracle` or `validation`, for this kind of request.

    >>> rule_for("validation", ForgetRequest("class", 5)).name
    'validation_class'
    """
    return RULES[f"{name}_class" if forget.kind == "class" else name]
