"""Seconds to plan a sweep of 10,000 cells against a store that holds all of them, imports left out. Bar: under 5 s.

    python -m benchmarks.plan

Also says whether Ray was imported on the way.
"""

from __future__ import annotations

import sys
import tempfile
import time

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.runtime.planning import plan_against
from adaprob_ray.store import Store
from adaprob_ray.sweep.sweep import Sweep

SWEEP = """
name: many
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.1}
  forget: [{kind: class, class: 1}, {kind: class, class: 2}, {kind: selective, class: 3, count: 20}]
  seed: [SEEDS]
methods:
  finetune: {lr: [0.001, 0.002, 0.005, 0.01, 0.02]}
  adaprob: {lam: [0.5, 1, 2, 4], lr: [0.001, 0.01]}
metrics: [errors]
""".replace("SEEDS", ", ".join(str(seed) for seed in range(1, 105)))


def main() -> None:
    start = time.perf_counter()
    sweep = Sweep.parse(SWEEP, REGISTRY)
    plan = plan_against(sweep.cells, None)
    size = sum(REGISTRY.stages[cell.stage].artefact_bytes(cell, REGISTRY) for cell in sweep.cells.values())
    empty = time.perf_counter() - start
    print(f"{len(plan.cells)} cells, {size / 1e9:.2f} GB: planned without a store in {empty:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder)
        for key, cell in sweep.cells.items():
            attempt = store.begin(key, cell.identity, owner="benchmark", run="benchmark")
            assert attempt is not None
            attempt.commit({})
        start = time.perf_counter()
        again = plan_against(Sweep.parse(SWEEP, REGISTRY).cells, store)
        full = time.perf_counter() - start
    assert again.counts()["done"] == len(again.cells)
    print(
        f"{len(again.cells)} cells, all done: planned in {full:.2f} s (bar: 5 s); ray imported: {'ray' in sys.modules}"
    )


if __name__ == "__main__":
    main()
