"""Builders of the package with the files of this repository: what results/ and the paper add."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.output import Output
from analysis.registry import RESULTS


def build_costs(selection: Selection, out: Path) -> Output:
    """What sweeps cost, by the times of the store, if there is one, and of results/."""
    from adaprob_ray.reporting.tables import costs

    return costs.build_costs(selection, out, measured=sorted(RESULTS.glob("*.jsonl")))


def build_lambda_ablation(selection: Selection, out: Path, *, columns: Sequence[str]) -> Output:
    """Curves over λ, with the paper's Table 5 where all Records are of CIFAR-5."""
    from adaprob_ray.reporting.figures.ablation import build_ablation
    from analysis.paper.values import paper_values

    values: dict[str, dict[float, float]] = {}
    for entry in paper_values("5"):
        values.setdefault(entry.column, {})[entry.lam or 0.0] = entry.value
    name = "ablation_lambda"
    return build_ablation(selection, out, over="method.lam", columns=columns, published={"cifar5": values}, name=name)


def build_solvers(selection: Selection, out: Path) -> Output:
    """Residual against passes of every solver of the projection, from results/projection_curve.csv."""
    from adaprob_ray.reporting.figures.curves import build_solver_curves

    return build_solver_curves(RESULTS / "projection_curve.csv", out)
