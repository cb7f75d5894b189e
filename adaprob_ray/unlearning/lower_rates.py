"""Unlearns again at a lower learning rate where the default one costs too much error.

Default rates come from other networks and forget sets, and may wreck yours. Where the user set no rate, and the error rose by
more than `max_drop` points or the loss was not finite, the unlearning starts again from the original at a third of the rate,
at most MAX_TRIES times in all. AdaProb's `lr: auto` lowers its rate itself.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from adaprob_ray.errors import Diverged
from adaprob_ray.settings import all_settings, parse_settings
from adaprob_ray.training.auto_rate import BACKOFF
from adaprob_ray.unlearning.network import AdaptedNetwork
from adaprob_ray.unlearning.prepare import Plan
from adaprob_ray.unlearning.run import Run, execute

# Three of them lower the rate by 27: where that does not help, the rate is not what is wrong.
MAX_TRIES = 4


def can_lower_rate(plan: Plan, settings: Mapping[str, Any]) -> bool:
    """Whether the method has a learning rate that the user's `settings` leave to its default, a number."""
    return "lr" not in settings and isinstance(getattr(plan.method, "lr", None), float)


def execute_within_limit(plan: Plan, *, progress: bool | None = None) -> tuple[AdaptedNetwork, Run]:
    """As `execute`, at lower rates where the error rises by more than `max_drop`.

    The result is the first within the limit, else the one whose error rose least. Passes and seconds are those of all tries.

    Raises:
        Diverged: the loss is not finite at any rate.
    """
    tries = _Tries()
    while True:
        start = time.perf_counter()
        try:
            network, run = execute(replace(plan, network=copy.deepcopy(plan.network)), progress=progress)
            tries.add_result(network, run)
        except Diverged as error:
            tries.add_divergence(plan, error, time.perf_counter() - start)
        lower = _at_lower_rate(plan)
        if tries.is_enough or lower is None:
            return tries.best()
        plan = lower


def _at_lower_rate(plan: Plan) -> Plan | None:
    """The plan at a third of its rate; None where the method takes no rate that low."""
    method, _ = parse_settings(type(plan.method), {**all_settings(plan.method), "lr": _rate(plan) / BACKOFF}, "method")
    if method is None:
        return None
    tuning = {**plan.tuning, "rateLowered": True} if plan.tuning else plan.tuning
    return replace(plan, method=method, tuning=tuning)


def _rate(plan: Plan) -> float:
    return float(getattr(plan.method, "lr"))  # noqa: B009  # not all methods have one


class _Tries:
    """What each rate did, and the best result so far."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._cost = Counter[str]()
        self._results: list[tuple[AdaptedNetwork, Run]] = []
        self._error: Diverged | None = None

    @property
    def is_enough(self) -> bool:
        """Whether a result is within the limit, or there is no further try."""
        return len(self._lines) == MAX_TRIES or any(not run.is_beyond_limit for _, run in self._results)

    def add_result(self, network: AdaptedNetwork, run: Run) -> None:
        self._results.append((network, run))
        self._cost.update(run.cost)
        self._add_line(run.plan, f"raised the error by {run.error_rise:.1f} points")

    def add_divergence(self, plan: Plan, error: Diverged, seconds: float) -> None:
        self._error = error
        self._cost.update({**error.passes, "seconds": seconds})
        self._add_line(plan, "made the training diverge")

    def _add_line(self, plan: Plan, words: str) -> None:
        rate = _rate(plan)
        origin = "the best of the search" if plan.tuning else "the default"
        self._lines.append(f"lr {rate:.3g} {words}" if self._lines else f"lr {rate:g}, {origin}, {words}")

    def best(self) -> tuple[AdaptedNetwork, Run]:
        """The result to keep, with the cost of all tries; what the others did is its first warning."""
        if not self._results:
            assert self._error is not None
            raise self._error
        network, run = min(self._results, key=lambda result: (result[1].is_beyond_limit, result[1].error_rise))
        if len(self._lines) == 1:
            return network, run
        lines = [line for line in self._lines if not line.startswith(f"lr {_rate(run.plan):.3g} ")]
        warning = f"{'; '.join(lines)}: the result is from lr {_rate(run.plan):.3g}, starting again from the original"
        return network, replace(
            run,
            cost=dict(self._cost),
            seconds={**run.seconds, "other rates": self._cost["seconds"] - run.cost["seconds"]},
            facts={**run.facts, "rate_tries": float(len(self._lines))},
            warnings=[f"{warning}; pass lr to choose the rate yourself", *run.warnings],
        )
