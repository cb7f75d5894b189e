"""How busy workers are when trial n waits for the result of trial n − lag: python -m benchmarks.search_lag

A simulation without training: trials take lognormal times (σ = 0.5), and a worker that is free takes the next trial that
may be asked. For comparison, the batch-synchronous search, in which a batch of as many trials as workers waits for its slowest.
The mean over runs, each with its own durations, until the last trial ends.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
from collections.abc import Sequence

from benchmarks import run_command

SIGMA = 0.5
WORKERS = (4, 8)
LAGS_PER_WORKER = (1.0, 1.5, 2.0, 3.0)


def lagged_share(durations: Sequence[float], workers: int, lag: int) -> float:
    """The share of the workers' time that trials take, if trial n starts after trials 0 … n − lag have ended.

    >>> lagged_share([1.0, 1.0, 1.0, 1.0], workers=2, lag=2)
    1.0
    >>> lagged_share([1.0, 3.0], workers=1, lag=1)
    1.0
    """
    running: list[tuple[float, int]] = []
    ended: set[int] = set()
    first_open = asked = 0  # trials below `first_open` have ended
    now = 0.0
    while asked < len(durations) or running:
        while asked < len(durations) and len(running) < workers and asked - lag < first_open:
            heapq.heappush(running, (now + durations[asked], asked))
            asked += 1
        now, number = heapq.heappop(running)
        ended.add(number)
        while first_open in ended:
            first_open += 1
    return sum(durations) / (now * workers)


def batch_share(durations: Sequence[float], workers: int) -> float:
    """The same for batches of `workers` trials that start together.

    >>> batch_share([1.0, 3.0, 2.0, 2.0], workers=2)
    0.8
    """
    batches = [durations[start : start + workers] for start in range(0, len(durations), workers)]
    return sum(durations) / (workers * sum(max(batch) for batch in batches))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=160)
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    print(f"{options.trials} trials, mean of {options.runs} runs, lognormal durations, σ = {SIGMA:g}")
    for workers in WORKERS:
        runs = []
        for seed in range(options.runs):
            generator = random.Random(seed)
            runs.append([generator.lognormvariate(0.0, SIGMA) for _ in range(options.trials)])
        shares = {
            f"lag {int(factor * workers)}": [lagged_share(run, workers, int(factor * workers)) for run in runs]
            for factor in LAGS_PER_WORKER
        }
        shares["batches"] = [batch_share(run, workers) for run in runs]
        text = ", ".join(f"{name}: {100 * statistics.mean(values):.1f} %" for name, values in shares.items())
        print(f"{workers} workers busy: {text}")


if __name__ == "__main__":
    run_command(main)
