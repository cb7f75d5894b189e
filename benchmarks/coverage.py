"""Coverage of confidence intervals for rare events: the measured limits in docs/statistics.md.

    python -m benchmarks.coverage [--draws 2000] [--out results/coverage.csv]

Each draw simulates n seeds with 100 forget rows, each misclassified with probability p. Intervals for p at a nominal 95 % are
compared: Student's t over seeds, the percentile bootstrap over seeds, and the rule of our tables (a Clopper-Pearson interval of
the pooled rows if fewer than ten are misclassified, else t).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap

from adaprob_ray.reporting.stats.intervals import mean_interval, share_interval
from benchmarks import run_command

ROWS, SEEDS = 100, (3, 5, 10)
# Draws that are resampled together, to bound memory.
DRAWS_PER_BATCH = 200
SHARES = (0.002, 0.01, 0.03, 0.1, 0.25)
Floats = NDArray[np.floating[Any]]


def t_holds(percents: Floats, truth: float) -> bool:
    estimate = mean_interval(percents.tolist())
    return abs(estimate.mean - truth) <= (estimate.half_width or 0.0)


def rule_holds(percents: Floats, truth: float) -> bool:
    seeds = range(len(percents))
    estimate = share_interval(dict(zip(seeds, percents.tolist(), strict=True)), dict.fromkeys(seeds, ROWS))
    if estimate.count is not None:
        return estimate.count.low_percent <= truth <= estimate.count.high_percent
    return abs(estimate.mean - truth) <= (estimate.half_width or 0.0)


def bootstrap_holds(draws_DN: Floats, truth: float) -> Floats:
    interval = bootstrap((draws_DN,), np.mean, axis=1, method="percentile", n_resamples=500, rng=0).confidence_interval
    return np.asarray((interval.low <= truth) & (truth <= interval.high), dtype=float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="CSV file to write, such as results/coverage.csv")
    options = parser.parse_args()
    rows = [coverage_percent(share, n, options.draws) for share in SHARES for n in SEEDS]
    table = pd.DataFrame(rows, columns=["wrong_percent", "n", "t", "bootstrap", "rule"])
    print(table.to_string(index=False, float_format=lambda value: f"{value:.1f}"))
    if options.out is not None:
        table.to_csv(options.out, index=False, float_format="%.6g")


def coverage_percent(share: float, n: int, draws: int) -> tuple[float, int, float, float, float]:
    """The truth in percent, n, and the percentage of draws in which each interval contains the truth."""
    percents = np.random.default_rng(n).binomial(ROWS, share, (draws, n)) * (100 / ROWS)
    truth = 100 * share
    t, rule = (100 * float(np.mean([holds(draw, truth) for draw in percents])) for holds in (t_holds, rule_holds))
    batches = [
        bootstrap_holds(percents[start : start + DRAWS_PER_BATCH], truth) for start in range(0, draws, DRAWS_PER_BATCH)
    ]
    return truth, n, t, 100 * float(np.concatenate(batches).mean()), rule


if __name__ == "__main__":
    run_command(main)
