"""The projection against other solvers, instance by instance in one process: ratios of time and of passes.

    python -m benchmarks.projection [--only "50000x10,"] [--rounds 5] [--out projection.csv]

Time is to the same residual (largest column error / N) for all: 1e-6, and 1e-9. Newton and L-BFGS take turns, and the ratio is
the median over rounds; the others run once (more often where that is brief), until they arrive or have taken CAP times
Newton's time: "> x". NumPy's and SciPy's own BLAS get one thread, as their second one would compete with torch's. POT is in the
extra `dev`. About 15 minutes on two cores; with 1,000 classes the slow solvers take as long again, so they are left out there
unless --slow-classes says otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import threadpoolctl
import torch

from adaprob_ray.errors import InputError
from adaprob_ray.projection import dual, project, validation
from benchmarks.projection_suite import Given, Instance, Run, instances, lbfgs, ours, sinkhorn, timed

CAP = {"scaling": 40.0, "dual ascent": 25.0, "POT": 25.0}
SLOW = {"scaling": ours(solver="scaling"), "dual ascent": ours(solver="dual_ascent"), "POT": sinkhorn}
TOLERANCES = (1e-6, 1e-9)
BRIEF = 0.2  # seconds: a run as short as that is repeated
Row = dict[str, Any]


def limit_seconds(given: Given, passes: int, hessians: float) -> float:
    """What so many softmaxes with their column sums cost, and the products of so many Hessians."""
    softmax, g_NK = min((timed(lambda: torch.softmax(given[0], 1)) for _ in range(3)), key=lambda pair: pair[0])
    sums = min(timed(lambda: g_NK.sum(0))[0] for _ in range(3))
    product = min(timed(lambda: g_NK.T @ g_NK)[0] for _ in range(3)) if hessians else 0.0
    return passes * (softmax + sums) + hessians * product


def hessians_formed(given: Given, tolerance: float) -> float:
    """In passes over all rows, those on the sample by its rows."""
    formed = 0.0
    real = dual.Problem.dual

    def counting(
        self: dual.Problem, alpha_C: Any, *, curvature: bool = False, cache_targets: bool = False
    ) -> dual.Dual:
        nonlocal formed
        formed += curvature and self.is_dense and self.rows / len(given[1])
        return real(self, alpha_C, curvature=curvature, cache_targets=cache_targets)

    dual.Problem.dual = counting  # type: ignore[method-assign]
    try:
        project(*given, tolerance=tolerance)
    finally:
        dual.Problem.dual = real  # type: ignore[method-assign]
    return formed + (given[0].shape[1] <= validation.MAX_CLASSES_FREE_HESSIAN)


def measure(instance: Instance, tolerance: float, rounds: int, solvers: Sequence[str]) -> Row:
    given = instance.make()
    newton = ours(solver="newton")
    pairs = [(newton(given, tolerance, 0.0), lbfgs(given, tolerance, 300.0)) for _ in range(rounds + 1)][1:]
    mine = pairs[0][0]
    seconds = statistics.median(run.seconds for run, _ in pairs)
    row: Row = {
        "instance": instance.name,
        "classes": instance.classes,
        "rows": instance.rows,
        "tolerance": tolerance,
        "newton_ms": 1e3 * seconds,
        "newton_passes": mine.passes,
        "newton_residual": mine.residual,
        "L-BFGS": statistics.median(other.seconds / run.seconds for run, other in pairs),
        "L-BFGS_passes": pairs[0][1].passes,
        "L-BFGS_arrived": pairs[0][1].arrived,
    }
    if instance.classes <= 100:
        row["limit"] = seconds / limit_seconds(given, mine.passes or 0, hessians_formed(given, tolerance))
    for name in solvers:
        if name == "POT" and instance.lam != 1.0:
            continue
        runs: list[Run] = []
        while not runs or (runs[0].seconds < BRIEF and len(runs) < rounds):
            runs.append(SLOW[name](given, tolerance, CAP[name] * seconds))
        other = runs[0]
        row[name] = statistics.median(run.seconds for run in runs) / seconds
        row[f"{name}_passes"] = other.passes
        row[f"{name}_arrived"] = other.arrived
    return row


def shown(row: Row) -> str:
    cells = [
        f"{row['instance']:44s} {row['tolerance']:.0e} newton {row['newton_ms']:7.1f} ms {row['newton_passes']:2d} passes"
    ]
    for name in ("L-BFGS", *SLOW):
        if name in row:
            passes = f" ({row[f'{name}_passes']} passes)" if row.get(f"{name}_passes") else ""
            cells.append(f"{name} {'' if row[f'{name}_arrived'] else '> '}{row[name]:.2f}x{passes}")
    if "limit" in row:
        cells.append(f"limit {row['limit']:.2f}")
    return " | ".join(cells)


def refusals() -> dict[str, float]:
    """Seconds until a bad 500x5 is refused or proved infeasible, the slowest of five."""
    log_r_NK, weights_N, totals_K = Instance(500, 5, 25, "class", 8.0, 4.0).make()
    blocked_NK = log_r_NK.index_put((torch.arange(2, 500), torch.tensor(0)), torch.tensor(-torch.inf).double())
    cases = {
        "infeasible": (blocked_NK, weights_N, torch.full((5,), 100.0)),
        "NaN": (log_r_NK.index_fill(0, torch.tensor(3), torch.nan), weights_N, totals_K),
        "integers": (log_r_NK.long(), weights_N, totals_K),
        "weights of another length": (log_r_NK, weights_N[:3], totals_K),
        "negative weights": (log_r_NK, -weights_N, totals_K),
        "totals of another sum": (log_r_NK, weights_N, 2 * totals_K),
    }

    def refused(given: Given) -> None:
        with contextlib.suppress(InputError):
            assert project(*given).status == "infeasible"

    return {name: max(timed(functools.partial(refused, given))[0] for _ in range(5)) for name, given in cases.items()}


def bars(rows: Sequence[Row]) -> list[tuple[str, bool, str]]:
    """Each bar of the benchmark: what it asks, whether it holds, and the worst that was measured."""
    large = [row for row in rows if row["rows"] == 50_000]
    small = [row for row in rows if row["rows"] == 500]
    few = [row for row in rows if row["classes"] <= 100]
    many = [row for row in rows if row["classes"] > 100]
    found: list[tuple[str, bool, str]] = []

    def least(what: str, values: list[float], bar: float) -> None:
        if values:
            found.append(
                (f"{what}: at least {bar:.3g}x", min(values) >= bar, f"least {min(values):.2f}x of {len(values)}")
            )

    def mean(what: str, values: list[float], bar: float) -> None:
        if values:
            value = statistics.geometric_mean(values)
            found.append((f"{what}: geometric mean at least {bar}x", value >= bar, f"{value:.1f}x of {len(values)}"))

    worst = max(row["newton_residual"] / row["tolerance"] for row in rows)
    found.append(("every residual within its tolerance", worst <= 1, f"largest {worst:.2f} of it"))
    if few:
        most = max(row["newton_passes"] for row in few)
        found.append(("at most 30 passes for K ≤ 100", most <= 30, f"most {most}"))
    least("50,000 rows, POT", [row["POT"] for row in large if "POT" in row], 20)
    least("50,000 rows, dual ascent", [row["dual ascent"] for row in large if "dual ascent" in row], 20)
    scaling = [row["scaling"] for row in large if "scaling" in row]
    mean("50,000 rows, scaling", scaling, 20)
    least("50,000 rows, scaling", scaling, 5)
    for name in SLOW:
        least(f"500x5, {name}", [row[name] for row in small if name in row], 5)
    more = [row["instance"] for row in rows if row["newton_passes"] > row["L-BFGS_passes"]]
    found.append(("never more passes than L-BFGS", not more, f"more on {len(more)} of {len(rows)}"))
    least("L-BFGS, K ≤ 100", [row["L-BFGS"] for row in few], 1 / 1.1)
    least("L-BFGS, K = 1,000", [row["L-BFGS"] for row in many], 1 / 1.2)
    middle = statistics.median(row["L-BFGS"] for row in rows)
    found.append(("L-BFGS: at least 1.5x in the median", middle >= 1.5, f"{middle:.2f}x"))
    near = [row["limit"] for row in large if "limit" in row]
    if near:
        found.append(("50,000x10: at most 2x the limit", max(near) <= 2, f"largest {max(near):.2f}x"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="part of the names of the instances to run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-classes", type=int, default=100, help="most classes that the slow solvers are run with")
    parser.add_argument("--solvers", nargs="*", choices=list(SLOW), default=list(SLOW))
    parser.add_argument("--out", type=Path, help="a CSV file for all that was measured")
    options = parser.parse_args()
    rows = []
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        for instance in instances():
            if options.only in instance.name:
                for tolerance in TOLERANCES:
                    slow = options.solvers if instance.classes <= options.slow_classes else []
                    rows.append(measure(instance, tolerance, options.rounds, slow))
                    print(shown(rows[-1]), flush=True)
    if not rows:
        parser.error(f"no instance's name has {options.only!r} in it; names look like {next(instances()).name!r}")
    slowest, seconds = max(refusals().items(), key=lambda item: item[1])
    told = (f"bad input of 500x5 told within 100 ms: {slowest}", seconds < 0.1, f"slowest {1e3 * seconds:.1f} ms")
    for what, holds, measured in [*bars(rows), told]:
        print(f"{'holds' if holds else 'FAILS'}  {what} ({measured})")
    if options.out:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({key: f"{v:.4g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
