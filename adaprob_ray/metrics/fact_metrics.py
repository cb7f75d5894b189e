"""Metrics whose columns are facts of cells: they join every Record, and listing one asks tables to show it."""

from __future__ import annotations

from adaprob_ray.metrics import Metric

SECONDS = Metric(name="seconds", columns=("unlearn_seconds",))
PASSES = Metric(name="passes", columns=("forward_examples", "backward_examples"))
DISTANCE = Metric(name="distance", columns=("parameter_distance", "start_distance"))

# A separate stage measures it, which runs only in sweeps that list this metric.
RELEARN = Metric(name="relearn", columns=("relearn_steps",), needs=frozenset({"relearn"}))
