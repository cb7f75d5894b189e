"""Metrics whose columns are facts of cells: they join every Record, and listing one asks tables to show it."""

from __future__ import annotations

from adaprob_ray.metrics import Metric

SECONDS = Metric(
    name="seconds",
    about="Time that the unlearning took",
    columns=("unlearn_seconds",),
)
PASSES = Metric(
    name="passes",
    about="Samples that the unlearning passed forward and backward through a network",
    columns=("forward_examples", "backward_examples"),
)
DISTANCE = Metric(
    name="distance",
    about="L2 distance of the weights to those of the original and to the initial weights",
    columns=("parameter_distance", "start_distance"),
)

# A separate stage measures it, which runs only in sweeps that list this metric.
RELEARN = Metric(
    name="relearn",
    about="Epochs of training until the loss on the forget set is back at the original's",
    columns=("relearn_steps",),
    needs=frozenset({"relearn"}),
)
