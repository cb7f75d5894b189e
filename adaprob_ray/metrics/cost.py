"""What a model cost, as facts that its cell measured. They join every Record whether or not a sweep lists them.

A sweep that lists one of these metrics asks the tables to show it; there is nothing to compute from Outputs. `relearn` is
like them, but for cells that only exist where it is listed.
"""

from __future__ import annotations

from adaprob_ray.metrics.outputs import Evaluation


def from_facts(evaluation: Evaluation) -> dict[str, float | None]:
    """Nothing: the columns are facts of the model's cell, or of its relearn cell."""
    return {}
