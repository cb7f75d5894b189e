"""How often the comparison with Retrain is wrong, and how often it finds what is there: the rates in docs/statistics.md.

    python -m benchmarks.comparison [--tables 2000] [--out results/comparison.csv]

A table is eight honest retrainings entered as methods, n = 5 seeds of normal draws, and the Retrain that all are compared
with. Counted are tables in which at least one is called different; then tables with one of the eight moved by five standard
deviations of the paired differences in which that one is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from adaprob_ray.reporting.stats.significance import family
from benchmarks import run_command

SEEDS, METHODS = 5, 8
MOVED = 5.0  # standard deviations of the paired differences
NAMES = [f"m{at}" for at in range(METHODS)]


def simulated_differences(generator: np.random.Generator, n: int, shift: float = 0.0) -> dict[str, list[float]]:
    """Of eight honest retrainings from one Retrain, which they share; the last is moved by `shift` of their deviations."""
    values = generator.normal(20, 1, (METHODS + 1, n))
    differences = values[1:] - values[0]
    differences[-1] += shift * np.sqrt(2)
    return {name: list(row) for name, row in zip(NAMES, differences, strict=True)}


def flagged(generator: np.random.Generator, n: int) -> bool:
    """Whether at least one of eight honest retrainings is called different."""
    return any(map(family(simulated_differences(generator, n)).is_significant, NAMES))


def detected(generator: np.random.Generator, n: int) -> bool:
    """Whether the one that was moved is called different."""
    return family(simulated_differences(generator, n, MOVED)).is_significant(NAMES[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="a CSV file for the numbers, as results/comparison.csv is one")
    options = parser.parse_args()
    rows = [
        (name, SEEDS, options.tables, 100 * np.mean([called(generator, SEEDS) for _ in range(options.tables)]))
        for name, called, generator in (
            ("honest", flagged, np.random.default_rng(0)),
            ("moved", detected, np.random.default_rng(3)),
        )
    ]
    actual = pd.DataFrame(rows, columns=["drawn", "seeds", "tables", "called_different_percent"])
    print(actual.to_string(index=False))
    if options.out is not None:
        actual.to_csv(options.out, index=False, float_format="%.6g")


if __name__ == "__main__":
    run_command(main)
