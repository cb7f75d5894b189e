"""The projection against other solvers, instance by instance in one process: ratios of time and of passes.

    python -m benchmarks.projection [--only "50000x10,"] [--rounds 5] [--out projection.csv]

Time is measured to the same residual (largest column error / N) for all solvers: 1e-6, and 1e-9. Newton and L-BFGS
alternate, and the ratio is the median over rounds. The others run once (several times if that is short), until they
converge or have taken MAX_TIME_RATIO times Newton's time, which is printed as "> x". NumPy's and SciPy's BLAS get one
thread, as a second one would compete with torch's. POT is in the extra `dev`. It takes about 15 minutes on two cores;
with 1,000 classes the slow solvers would double that, so --slow-classes omits them by default.
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
from benchmarks import run_command
from benchmarks.projection_suite import Inputs, Instance, Run, instances, lbfgs, ours, sinkhorn, timed

# A slow solver is stopped once it has taken this many times as long as Newton's method.
MAX_TIME_RATIO = {"scaling": 40.0, "dual ascent": 25.0, "POT": 25.0}
SLOW_SOLVERS = {"scaling": ours(solver="scaling"), "dual ascent": ours(solver="dual_ascent"), "POT": sinkhorn}
TOLERANCES = (1e-6, 1e-9)
# A run shorter than this is repeated, and the median of the runs counts.
REPEAT_BELOW_SECONDS = 0.2
Row = dict[str, Any]


def limit_seconds(inputs: Inputs, passes: int, hessians: float) -> float:
    """The time of that many softmaxes with their column sums, and of the matrix products of that many Hessians."""
    softmax, g_NK = min((timed(lambda: torch.softmax(inputs[0], 1)) for _ in range(3)), key=lambda pair: pair[0])
    sums = min(timed(lambda: g_NK.sum(0))[0] for _ in range(3))
    product = min(timed(lambda: g_NK.T @ g_NK)[0] for _ in range(3)) if hessians else 0.0
    return passes * (softmax + sums) + hessians * product


def hessians_formed(inputs: Inputs, tolerance: float) -> float:
    """The number of Hessians in one solve; those of a sample count in proportion to its rows."""
    hessian_passes = 0.0
    original_dual = dual.Problem.dual

    def counting_dual(
        self: dual.Problem, alpha_C: Any, *, curvature: bool = False, cache_targets: bool = False
    ) -> dual.Dual:
        nonlocal hessian_passes
        hessian_passes += curvature and self.is_dense and self.rows / len(inputs[1])
        return original_dual(self, alpha_C, curvature=curvature, cache_targets=cache_targets)

    dual.Problem.dual = counting_dual  # type: ignore[method-assign]
    try:
        project(*inputs, tolerance=tolerance)
    finally:
        dual.Problem.dual = original_dual  # type: ignore[method-assign]
    return hessian_passes + (inputs[0].shape[1] <= validation.MAX_CLASSES_FREE_HESSIAN)


def measure(instance: Instance, tolerance: float, rounds: int, solvers: Sequence[str]) -> Row:
    inputs = instance.make()
    newton = ours(solver="newton")
    pairs = [(newton(inputs, tolerance, 0.0), lbfgs(inputs, tolerance, 300.0)) for _ in range(rounds + 1)][1:]
    newton_run = pairs[0][0]
    seconds = statistics.median(run.seconds for run, _ in pairs)
    row: Row = {
        "instance": instance.name,
        "classes": instance.classes,
        "rows": instance.rows,
        "tolerance": tolerance,
        "newton_ms": 1e3 * seconds,
        "newton_passes": newton_run.passes,
        "newton_residual": newton_run.residual,
        "L-BFGS": statistics.median(other.seconds / run.seconds for run, other in pairs),
        "L-BFGS_passes": pairs[0][1].passes,
        "L-BFGS_arrived": pairs[0][1].converged,
    }
    if instance.classes <= 100:
        row["limit"] = seconds / limit_seconds(inputs, newton_run.passes or 0, hessians_formed(inputs, tolerance))
    for name in solvers:
        if name == "POT" and instance.lam != 1.0:
            continue
        runs: list[Run] = []
        while not runs or (runs[0].seconds < REPEAT_BELOW_SECONDS and len(runs) < rounds):
            runs.append(SLOW_SOLVERS[name](inputs, tolerance, MAX_TIME_RATIO[name] * seconds))
        other = runs[0]
        row[name] = statistics.median(run.seconds for run in runs) / seconds
        row[f"{name}_passes"] = other.passes
        row[f"{name}_arrived"] = other.converged
    return row


def format_row(row: Row) -> str:
    cells = [
        f"{row['instance']:44s} {row['tolerance']:.0e} newton {row['newton_ms']:7.1f} ms {row['newton_passes']:2d} passes"
    ]
    for name in ("L-BFGS", *SLOW_SOLVERS):
        if name in row:
            passes = f" ({row[f'{name}_passes']} passes)" if row.get(f"{name}_passes") else ""
            cells.append(f"{name} {'' if row[f'{name}_arrived'] else '> '}{row[name]:.2f}x{passes}")
    if "limit" in row:
        cells.append(f"limit {row['limit']:.2f}")
    return " | ".join(cells)


def rejection_seconds() -> dict[str, float]:
    """Seconds until an invalid 500x5 is rejected or proved infeasible, the slowest of five runs."""
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

    def reject(inputs: Inputs) -> None:
        with contextlib.suppress(InputError):
            assert project(*inputs).status == "infeasible"

    return {name: max(timed(functools.partial(reject, inputs))[0] for _ in range(5)) for name, inputs in cases.items()}


def check_bars(rows: Sequence[Row]) -> list[tuple[str, bool, str]]:
    """Each bar of the benchmark: what it requires, whether it holds, and the worst measurement."""
    large = [row for row in rows if row["rows"] == 50_000]
    small = [row for row in rows if row["rows"] == 500]
    few_classes = [row for row in rows if row["classes"] <= 100]
    many_classes = [row for row in rows if row["classes"] > 100]
    checks: list[tuple[str, bool, str]] = []

    def check_minimum(what: str, values: list[float], bar: float) -> None:
        if values:
            checks.append(
                (f"{what}: at least {bar:.3g}x", min(values) >= bar, f"least {min(values):.2f}x of {len(values)}")
            )

    def check_mean(what: str, values: list[float], bar: float) -> None:
        if values:
            value = statistics.geometric_mean(values)
            checks.append((f"{what}: geometric mean at least {bar}x", value >= bar, f"{value:.1f}x of {len(values)}"))

    worst = max(row["newton_residual"] / row["tolerance"] for row in rows)
    checks.append(("every residual within its tolerance", worst <= 1, f"largest {worst:.2f} of it"))
    if few_classes:
        most = max(row["newton_passes"] for row in few_classes)
        checks.append(("at most 30 passes for K ≤ 100", most <= 30, f"most {most}"))
    check_minimum("50,000 rows, POT", [row["POT"] for row in large if "POT" in row], 20)
    check_minimum("50,000 rows, dual ascent", [row["dual ascent"] for row in large if "dual ascent" in row], 20)
    scaling = [row["scaling"] for row in large if "scaling" in row]
    check_mean("50,000 rows, scaling", scaling, 20)
    check_minimum("50,000 rows, scaling", scaling, 5)
    for name in SLOW_SOLVERS:
        check_minimum(f"500x5, {name}", [row[name] for row in small if name in row], 5)
    slower_instances = [row["instance"] for row in rows if row["newton_passes"] > row["L-BFGS_passes"]]
    checks.append(
        ("never more passes than L-BFGS", not slower_instances, f"more on {len(slower_instances)} of {len(rows)}")
    )
    check_minimum("L-BFGS, K ≤ 100", [row["L-BFGS"] for row in few_classes], 1 / 1.1)
    check_minimum("L-BFGS, K = 1,000", [row["L-BFGS"] for row in many_classes], 1 / 1.2)
    median = statistics.median(row["L-BFGS"] for row in rows)
    checks.append(("L-BFGS: at least 1.5x in the median", median >= 1.5, f"{median:.2f}x"))
    limit_ratios = [row["limit"] for row in large if "limit" in row]
    if limit_ratios:
        checks.append(("50,000x10: at most 2x the limit", max(limit_ratios) <= 2, f"largest {max(limit_ratios):.2f}x"))
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="part of the names of the instances to run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-classes", type=int, default=100, help="most classes that the slow solvers are run with")
    parser.add_argument("--solvers", nargs="*", choices=list(SLOW_SOLVERS), default=list(SLOW_SOLVERS))
    parser.add_argument("--out", type=Path, help="a CSV file for all that was measured")
    options = parser.parse_args()
    rows = []
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        for instance in instances():
            if options.only in instance.name:
                for tolerance in TOLERANCES:
                    slow = options.solvers if instance.classes <= options.slow_classes else []
                    rows.append(measure(instance, tolerance, options.rounds, slow))
                    print(format_row(rows[-1]), flush=True)
    if not rows:
        parser.error(f"no instance's name has {options.only!r} in it; names look like {next(instances()).name!r}")
    slowest, seconds = max(rejection_seconds().items(), key=lambda item: item[1])
    rejection_check = (
        f"invalid 500x5 rejected within 100 ms: {slowest}",
        seconds < 0.1,
        f"slowest {1e3 * seconds:.1f} ms",
    )
    for what, holds, measured in [*check_bars(rows), rejection_check]:
        print(f"{'holds' if holds else 'FAILS'}  {what} ({measured})")
    if options.out:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with options.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({key: f"{v:.4g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)


if __name__ == "__main__":
    run_command(main)
