"""Seconds of a search's own work: asking for a trial after 500 others, and reading a search of 10,000 stored cells.

    python -m benchmarks.search [CELLS]

Results are invented, nothing is trained: asking is one call after each trial, with a lag of 8; the store holds the cells of
every trial, each of which has a commit. Bars: 50 ms a trial up to 500 trials; 5 s for 10,000 cells. The time workers wait for
results is in benchmarks/search_lag.py.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.search import studies_of
from adaprob_ray.runtime.search_source import SearchSource
from adaprob_ray.search.gc_pauses import no_gc_pauses
from adaprob_ray.search.search_file import SearchFile
from adaprob_ray.search.study import Study, Trial
from adaprob_ray.store import Store
from adaprob_ray.sweep.outcome import Outcome
from benchmarks import run_command

ROOT = Path(__file__).resolve().parents[1]
ASKED = 500
CELLS = 10_000


def ask_trials(study: Study, count: int) -> tuple[list[Trial], list[float]]:
    """Trials whose values are a smooth function of their parameters, and the seconds that asking for each took."""
    trials: list[Trial] = []
    seconds = []
    for number in range(count):
        start = time.perf_counter()
        params = study.ask(trials)
        seconds.append(time.perf_counter() - start)
        value = sum(math.log(item) ** 2 for item in params.values() if isinstance(item, (int, float)) and item > 0)
        trials.append(Trial(number=number, params=params, state="complete", values=(value,)))
    return trials, seconds


def fill(source: SearchSource, store: Store) -> None:
    """Give every cell of a search a commit, in the order in which the cells may start."""
    while not source.exhausted():
        for cell in source.ready():
            source.started(cell)
            attempt = store.begin(cell.key, cell.identity, owner="benchmark", run="benchmark")
            if attempt is not None:
                settings = getattr(cell.settings, "hyper", {})
                error = 100 * abs(math.sin(math.log(settings.get("lr", 1.0)) * settings.get("epochs", 1)))
                attempt.commit({f"{name}_error_percent": error for name in ("test", "forget", "retain")})
            source.finished(cell, Outcome("done", seconds=1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("cells", type=int, nargs="?", default=CELLS, help="how many cells the finished search has")
    cell_count = parser.parse_args().cells
    search = SearchFile.load(ROOT / "sweeps/search_digits.yaml", REGISTRY)
    for study in studies_of(search, REGISTRY):
        with no_gc_pauses():
            _, seconds = ask_trials(study, ASKED)
        last = seconds[-50:]
        print(
            f"{study.target}: asking for one of {ASKED} trials: mean {1e3 * sum(seconds) / len(seconds):.1f} ms, "
            f"last fifty {1e3 * sum(last) / len(last):.1f} ms, slowest {1e3 * max(seconds):.1f} ms"
        )
    per_trial = 2 * len(search.section.seeds) * len(search.targets)
    trials = -(-cell_count // per_trial)
    studies = studies_of(search, REGISTRY)
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder)
        fill(SearchSource(studies, store, Leases(store), trials=trials), store)
        start = time.perf_counter()
        source = SearchSource(studies_of(search, REGISTRY), store, Leases(store), trials=trials, ask=False)
        spent = time.perf_counter() - start
    ended = sum(trial.ended for progress in source.studies for trial in progress.trials)
    print(f"{len(source.cells)} cells of {ended} trials: read in {spent:.1f} s; ray imported: {'ray' in sys.modules}")


if __name__ == "__main__":
    run_command(main)
