"""How often intervals hold the truth where events are rare: the measured limits in docs/statistics.md.

    python -m benchmarks.coverage [--draws 2000] [--out results/coverage.csv]

Each draw is n seeds of 100 forget rows, each row wrong with probability p. Student's t over seeds, the percentile bootstrap
over seeds, and the rule of our tables (a Clopper-Pearson bound of the pooled rows where fewer than ten are wrong, else t) are
asked for p. Nominal is 95 %.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import bootstrap

from analysis.statistics import mean_interval, share_interval

ROWS, SEEDS = 100, (3, 5, 10)
BATCH = 200  # draws resampled at once
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
    parser.add_argument("--out", type=Path, help="a CSV file for the numbers, as results/coverage.csv is one")
    options = parser.parse_args()
    rows = [_measured(share, n, options.draws) for share in SHARES for n in SEEDS]
    found = pd.DataFrame(rows, columns=["wrong_percent", "n", "t", "bootstrap", "rule"])
    print(found.to_string(index=False, float_format=lambda value: f"{value:.1f}"))
    if options.out is not None:
        found.to_csv(options.out, index=False, float_format="%.6g")


def _measured(share: float, n: int, draws: int) -> tuple[float, int, float, float, float]:
    """Percent of draws in which each interval holds the truth."""
    percents = np.random.default_rng(n).binomial(ROWS, share, (draws, n)) * (100 / ROWS)
    truth = 100 * share
    t, rule = (100 * float(np.mean([holds(own, truth) for own in percents])) for holds in (t_holds, rule_holds))
    parts = [bootstrap_holds(percents[at : at + BATCH], truth) for at in range(0, draws, BATCH)]
    return truth, n, t, 100 * float(np.concatenate(parts).mean()), rule


if __name__ == "__main__":
    main()
