"""By how much a table differs between processors: one sweep under every instruction set that this machine has.

    python -m benchmarks.instruction_sets [--stores out/instruction_sets] [--out results/instruction_sets.csv]

Runs the sweep in a store of its own for each set; what a store has is not run again. A row of the CSV is a metric of a method
and a forget request: its mean over seeds under each set, the largest difference between sets of one seed's value and of the
mean, and the half-width of the mean's 95 % Student-t interval over seeds, without limits. `ratio` is the difference of the
mean over that half-width; there is none where all seeds agree.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from adaprob_ray import load_records
from benchmarks import run_command
from tests.isa.instruction_sets import NATIVE, available_sets, cpuinfo, limited_environment

METRICS = (
    "test_error_percent",
    "retain_error_percent",
    "forget_error_percent",
    "membership_accuracy_percent",
    "kl_forget_nats",
)
ROW = ["forget", "label"]


def run_sweep(sweep: Path, store: Path, limits: dict[str, str]) -> None:
    """Run the sweep under the limits; where that fails the command has said why, and this one exits with its code."""
    command = [sys.executable, "-m", "adaprob_ray", "run", str(sweep), "--store", str(store)]
    if code := subprocess.run(command, env=limited_environment(limits)).returncode:
        sys.exit(code)


def differences(values: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows of the CSV, from the values of each set: a frame of METRICS with the index forget, label, seed."""
    rows = []
    for metric in METRICS:
        by_set = pd.DataFrame({name: frame[metric].astype(float) for name, frame in values.items()}).dropna()
        for (forget, label), seeds in by_set.groupby(level=ROW):
            means, own = seeds.mean(), seeds[NATIVE]
            half_width = float(stats.sem(own) * stats.t.ppf(0.975, len(own) - 1))
            mean_difference = float(means.max() - means.min())
            rows.append(
                {
                    "forget": forget,
                    "label": label,
                    "column": metric,
                    **means,
                    "seed_difference": float((seeds.max(axis=1) - seeds.min(axis=1)).max()),
                    "mean_difference": mean_difference,
                    "half_width": half_width,
                    "ratio": mean_difference / half_width if half_width else np.nan,
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", type=Path, default=Path("sweeps/quickstart.yaml"))
    parser.add_argument(
        "--stores", type=Path, default=Path("out/instruction_sets"), help="a folder, with a store for each set"
    )
    parser.add_argument("--out", type=Path, help="a CSV file for the numbers, as results/instruction_sets.csv is one")
    options = parser.parse_args()
    values = {}
    for name, limits in available_sets().items():
        run_sweep(options.sweep, options.stores / name, limits)
        records = load_records(options.stores / name)
        values[name] = records.assign(forget=records["forget"].map(str)).set_index([*ROW, "seed"])[list(METRICS)]
    table = differences(values)
    if options.out:
        table.round(4).assign(processor=cpuinfo("model name")).to_csv(options.out, index=False, lineterminator="\n")
    for metric, part in table.groupby("column", sort=False):
        print(
            f"{metric}: between sets one seed's value by at most {part['seed_difference'].max():.2f}, the mean by at most "
            f"{part['mean_difference'].max():.2f}; over the half-width {part['ratio'].median():.2f} in the median, "
            f"above 1 in {(part['ratio'] > 1).sum()} of {len(part)} rows"
        )
    for name, frame in values.items():
        same = frame.sort_index().equals(values[NATIVE].sort_index())
        print(f"{name}: {'the numbers of ' + NATIVE if same else 'numbers of its own'}")


if __name__ == "__main__":
    run_command(main)
