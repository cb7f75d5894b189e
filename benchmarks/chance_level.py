"""Chance level of the paper's membership attack: its mean accuracy without a membership signal, by the number of members.

    python -m benchmarks.chance_level [--draws 2000] [--rows 25 100 1000]

The losses of members and others are drawn from one distribution; each draw is attacked with another seed. The mean is not 50 %
if few rows are held out: with 25 members a split holds out five rows, which divide 3 to 2. Writes
`adaprob_ray/reporting/stats/chance_level.csv` for the tables; sizes in it that are not requested are left as they are.
"""

from __future__ import annotations

import argparse
import csv

from adaprob_ray.reporting.stats.significance import CHANCE_LEVELS, simulated_attacks
from benchmarks import run_command

# Sizes of the forget requests in `sweeps/`, at most the number of test images of their class.
ROWS = (25, 50, 92, 100, 116, 250, 400, 500, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    options = parser.parse_args()
    lines = (
        {
            int(line["rows"]): list(line.values())
            for line in csv.DictReader(CHANCE_LEVELS.open(newline="", encoding="utf-8"))
        }
        if CHANCE_LEVELS.is_file()
        else {}
    )
    for rows in options.rows:
        scores = simulated_attacks(rows, options.draws)
        line = lines[rows] = [str(rows), str(options.draws), f"{scores.mean():.2f}", f"{scores.std(ddof=1):.2f}"]
        print(f"{rows:>6} members: mean {line[2]} %, standard deviation {line[3]} points, {line[1]} draws", flush=True)
    with CHANCE_LEVELS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rows", "draws", "mean_percent", "deviation_percent"])
        writer.writerows(lines[rows] for rows in sorted(lines))


if __name__ == "__main__":
    run_command(main)
