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
    """As `execute`, at lower rates where the error rises by more than `max_drop`. Passes and seconds are those of all tries.

    Raises:
        Diverged: the loss is not finite at the lowest rate either.
    """
    lines: list[str] = []
    cost, seconds = Counter[str](), 0.0
    for number in range(1, MAX_TRIES):
        start, rate = time.perf_counter(), float(getattr(plan.method, "lr"))  # noqa: B009  # not all methods have it
        try:
            network, run = execute(replace(plan, network=copy.deepcopy(plan.network)), progress=progress)
            if not run.is_beyond_limit:
                return network, _with_earlier_tries(run, cost, seconds, lines)
            cost.update(run.cost)
            reason = f"raised the error by {run.error_rise:.1f} points"
        except Diverged:
            reason = "made the training diverge"
        seconds += time.perf_counter() - start
        lines.append(f"lr {rate:g}, the default, {reason}" if number == 1 else f"lr {rate:.3g} {reason}")
        plan = replace(plan, method=replace(plan.method, lr=rate / BACKOFF))  # type: ignore[type-var]  # mypy does not know the decorator
    network, run = execute(plan, progress=progress)
    return network, _with_earlier_tries(run, cost, seconds, lines)


def _with_earlier_tries(run: Run, cost: Counter[str], seconds: float, lines: list[str]) -> Run:
    """The run, its cost with that of earlier tries; what they did is its first warning."""
    if not lines:
        return run
    cost.update(run.cost)
    rate = float(getattr(run.plan.method, "lr"))  # noqa: B009  # as above
    warning = f"{'; '.join(lines)}: this is the result of lr {rate:.3g}, from the original; --set lr=… sets another"
    return replace(
        run,
        cost=dict(cost),
        seconds={**run.seconds, "earlier rates": seconds},
        facts={**run.facts, "rate_tries": float(len(lines) + 1)},
        warnings=[warning, *run.warnings],
    )
