"""Chooses settings of a method on validation data, by the rules of searches that read neither retrained models nor test data.

Settings are drawn from the ranges that the method declares; the first trial has its defaults. The rule's value of a trial
(`search/rules.py`) is to be minimized; a trial whose errors exceed the original's by more than `max_drop` points is worse than
any that stays within them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.errors import Diverged, InputError
from adaprob_ray.metrics.auc import placements
from adaprob_ray.metrics.error_rate import error_percent
from adaprob_ray.metrics.membership import losses
from adaprob_ray.search.rules import PENALTY, VALIDATION, VALIDATION_CLASS
from adaprob_ray.search.space import declared_space
from adaprob_ray.settings import Int, Log, Range, Uniform, all_settings, as_mapping
from adaprob_ray.unlearning.evidence import true_class_confidence
from adaprob_ray.unlearning.outputs import ModelOutputs
from adaprob_ray.unlearning.prepare import Plan, with_settings
from adaprob_ray.unlearning.run import Run, execute

HELD_OUT = ("test",)  # never read by a search


@dataclass(frozen=True)
class Trial:
    """One combination of values of the searched fields, and its value under the rule; infinite if the method diverged."""

    settings: Mapping[str, Any]
    value: float

    @property
    def words(self) -> str:
        """The value, or by how much the errors exceed the limit."""
        if not math.isfinite(self.value):
            return "diverged"
        excess = self.value - PENALTY
        return f"{self.value:.2f}" if excess < 0 else f"errors {excess:.1f} points beyond max_drop"


def tune(plan: Plan, count: int, fixed: Mapping[str, Any], on_trial: Callable[[Trial], None]) -> Plan:
    """The plan with the best settings of `count` trials.

    Args:
        plan: with validation data.
        count: of trials, each as expensive as the unlearning itself.
        fixed: settings that are not searched.
        on_trial: is called after each trial.

    Raises:
        InputError: there are no validation data of the forgotten classes, or nothing is left to search.
        Diverged: the method diverged in every trial.
    """
    space: Mapping[str, Any] = declared_space(type(plan.method), fixed)
    check_tunable(plan, space)
    rule = VALIDATION if plan.forget.class_index is None else VALIDATION_CLASS
    defaults = {name: value for name, value in as_mapping(plan.method).items() if name in space}
    best: tuple[Trial, Plan] | None = None
    for number in range(count):
        generator = np.random.default_rng([plan.seed, number])
        settings = defaults if number == 0 else {name: _draw(each, generator) for name, each in space.items()}
        candidate = _with_settings(plan, settings) if number else plan
        trial = Trial(settings, _value(candidate, rule.value, plan.max_drop))
        on_trial(trial)
        if math.isfinite(trial.value) and (best is None or trial.value < best[0].value):
            best = trial, candidate
    if best is None:
        raise Diverged(f"{plan.method.name} diverged in all {count} trials")
    tuning = {"trials": count, "rule": rule.name, "ruleRevision": rule.revision, "settings": dict(best[0].settings)}
    return replace(plan, method=best[1].method, tuning=tuning)


def check_tunable(plan: Plan, space: Mapping[str, Any]) -> None:
    """Raises InputError if nothing can be searched."""
    if not space:
        raise InputError(
            f"--tune: must leave settings to search, but {plan.method.name} has no searchable one that is not set"
        )
    if "validation" not in plan.subsets:
        raise InputError("--tune: must have validation data, such as --validation share:0.1, got none")
    forgotten = np.unique(plan.subsets["forget"].labels.cpu().numpy())
    if not np.isin(plan.subsets["validation"].labels.cpu().numpy(), forgotten).any():
        raise InputError("--tune: must have validation samples of the forgotten classes, got none")


def _with_settings(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    others = all_settings(plan.method)
    if "lr" in settings:
        others.pop("max_drop", None)  # which only `lr: auto` takes
    return replace(plan, method=with_settings(plan.method, {**others, **settings}))


def _draw(field: Range, generator: np.random.Generator) -> Any:
    if isinstance(field, Log):
        return float(np.exp(generator.uniform(np.log(field.low), np.log(field.high))))
    if isinstance(field, Uniform):
        return float(generator.uniform(field.low, field.high))
    if isinstance(field, Int):
        return int(generator.integers(field.low, field.high + 1))
    return field.values[int(generator.integers(len(field.values)))]


def _value(plan: Plan, rule: Callable[..., float], margin: float) -> float:
    """The rule's value of one run, in which no test sample is read."""
    subsets = {name: subset for name, subset in plan.subsets.items() if name not in HELD_OUT}
    trial = replace(plan, network=copy.deepcopy(plan.network), subsets=subsets, references=[])
    try:
        _, run = execute(trial)
    except Diverged:
        return math.inf
    return rule([(_facts(run), {})], margin)


def _facts(run: Run) -> dict[str, float]:
    """What the rules read: errors before and after, the attack against validation samples, and confidences."""
    forgotten = np.unique(run.before["forget"].labels)
    labels = run.before["validation"].labels
    of_class = np.isin(labels, forgotten)
    facts: dict[str, float] = {}
    for prefix, outputs in (("original_", run.before), ("", run.after)):
        held_out = outputs["validation"]
        facts |= {
            f"{prefix}forget_error_percent": _error_percent(outputs["forget"]),
            f"{prefix}retain_error_percent": _error_percent(outputs["retain_measured"]),
            f"{prefix}validation_error_percent": _error_percent(held_out),
            f"{prefix}validation_forget_class_error_percent": _error_percent(held_out, of_class),
            f"{prefix}validation_other_classes_error_percent": _error_percent(held_out, ~of_class),
        }
    after = run.after
    others = losses(after["validation"].logits[of_class], labels[of_class])
    members = losses(after["forget"].logits, after["forget"].labels)
    facts["validation_auc_percent"] = 100 * float(placements(members, others).mean())
    facts["forget_class_confidence_percent"] = 100 * float(true_class_confidence(after["forget"]).mean())
    confidence = true_class_confidence(after["validation"])[of_class]
    return facts | {"validation_forget_class_confidence_percent": 100 * float(confidence.mean())}


def _error_percent(outputs: ModelOutputs, chosen: NDArray[np.bool_] | slice = slice(None)) -> float:
    """The error of the chosen samples; no samples count as no error."""
    return error_percent(outputs.logits[chosen], outputs.labels[chosen]) or 0.0
