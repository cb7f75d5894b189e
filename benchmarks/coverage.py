"""How often intervals hold the truth where events are rare: the measured limits in docs/statistics.md.

    python -m benchmarks.coverage [--draws 2000]

Each draw is n seeds of 100 forget rows, each row wrong with probability p. Student's t over seeds, the percentile bootstrap
over seeds, and the rule of our tables (a Clopper-Pearson bound of the pooled rows where fewer than ten are wrong, else t) are
asked for p. Nominal is 95 %.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from analysis.statistics import mean_interval, share_interval

ROWS, SEEDS = 100, (3, 5, 10)
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
    draws = parser.parse_args().draws
    print("| wrong rows | n | t over seeds | bootstrap over seeds | our rule |")
    print("| --: | --: | --: | --: | --: |")
    for share in SHARES:
        for n in SEEDS:
            percents = np.random.default_rng(n).binomial(ROWS, share, (draws, n)) * (100 / ROWS)
            truth = 100 * share
            held = [np.mean([holds(own, truth) for own in percents]) for holds in (t_holds, rule_holds)]
            resampled = np.mean(
                [part for at in range(0, draws, 200) for part in bootstrap_holds(percents[at : at + 200], truth)]
            )
            print(
                f"| {truth:g} % | {n} | {100 * held[0]:.1f} % | {100 * resampled:.1f} % | {100 * held[1]:.1f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
