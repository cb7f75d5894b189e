"""The projection at ImageNet's size, from a memory-mapped file of float16 logits: 1,281,167 rows of 1,000 classes.

    python -m benchmarks.projection_imagenet [--file logits.f16] [--rows 1281167] [--classes 1000] [--tolerance 1e-6]
        [--out results/projection_imagenet.csv]

A missing file is written first (2.6 GB: standard normal logits, a margin between 4 and 16 for the row's class). All rows
of class 7 are forgotten, λ = 1. Prints passes, seconds, and the largest resident memory without the page cache's share. Bars: a
residual of 1e-6 within 8 GiB and 10 minutes on two cores; the targets come back as blocks, and their column sums are checked.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch

from adaprob_ray.projection import RowBlocks, project
from benchmarks import run_command

BLOCK_ROWS = 8192
FORGET_CLASS = 7


def write_logits(path: Path, rows: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    with path.open("wb") as file:
        for start in range(0, rows, BLOCK_ROWS):
            size = min(BLOCK_ROWS, rows - start)
            block = torch.randn(size, classes, generator=generator)
            margin = 4 + 12 * torch.rand(size, generator=generator)
            block[torch.arange(size), torch.arange(start, start + size) % classes] += margin
            file.write(block.half().numpy().tobytes())


def totals_and_weights(blocks: RowBlocks, rows: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Those of Eq. (1): the model's column sums after the rows of one class have become uniform."""
    totals_K = torch.zeros(classes, dtype=torch.float64)
    for number, block in enumerate(blocks):
        p_BK = block.float().softmax(1)
        forget_B = torch.arange(number * BLOCK_ROWS, number * BLOCK_ROWS + len(block)) % classes == FORGET_CLASS
        p_BK[forget_B] = 1.0 / classes
        totals_K += p_BK.double().sum(0)
    return totals_K, torch.ones(rows)


class MemoryWatch:
    """The largest anonymous memory of this process (resident memory without file pages), sampled ten times a second."""

    def __init__(self) -> None:
        self.largest, self._stopped = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        process = psutil.Process()
        while not self._stopped.wait(0.1):
            memory = process.memory_info()
            self.largest = max(self.largest, memory.rss - memory.shared)

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self.largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--file", type=Path, default=Path(tempfile.gettempdir()) / "projection_logits.f16")
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--tolerance", type=float, default=1e-6)
    parser.add_argument(
        "--out", type=Path, help="a CSV file for the numbers, as results/projection_imagenet.csv is one"
    )
    options = parser.parse_args()
    size = options.rows * options.classes * 2
    if not options.file.exists() or options.file.stat().st_size != size:
        write_logits(options.file, options.rows, options.classes)
    logits = np.memmap(options.file, dtype=np.float16, mode="r", shape=(options.rows, options.classes))
    blocks = RowBlocks(logits, rows=BLOCK_ROWS)
    totals_K, weights_N = totals_and_weights(blocks, options.rows, options.classes)
    watch, start = MemoryWatch(), time.perf_counter()
    solution = project(blocks, weights_N, totals_K, tolerance=options.tolerance)
    solve_seconds = time.perf_counter() - start
    sums_K, shift = torch.zeros(options.classes, dtype=torch.float64), 0.0
    for block, targets in zip(blocks, solution.targets, strict=True):
        sums_K += targets.double().sum(0)
        shift += float((targets.float() - block.float().softmax(1)).abs().sum()) / 2
    total_seconds = time.perf_counter() - start
    memory = watch.stop()
    print(
        f"{options.rows} x {options.classes}, {size / 1e9:.2f} GB of float16 on disk, {torch.get_num_threads()} threads"
    )
    print(f"{solution.status}: residual {solution.residual:.2e} after {solution.passes} passes; {solution.message}")
    print(f"trajectory: {', '.join(f'{residual:.1e}' for residual in solution.trajectory.tolist())}")
    print(
        f"solved in {solve_seconds:.0f} s, targets read in {total_seconds - solve_seconds:.0f} s (bar: 600 s together)"
    )
    print(f"largest anonymous memory {memory / 2**30:.2f} GiB (bar: 8 GiB); peak with file pages {peak_gib():.2f} GiB")
    error = float((sums_K - totals_K).abs().max()) / options.rows
    print(
        f"column sums of the float16 targets: largest error {error:.2e} N; mean shift of a row {shift / options.rows:.2e}"
    )
    if options.out is not None:
        line = {
            "rows": options.rows, "classes": options.classes, "status": solution.status,
            "residual": solution.residual, "passes": solution.passes, "solve_seconds": solve_seconds,
            "targets_seconds": total_seconds - solve_seconds, "anonymous_gib": memory / 2**30,
        }  # fmt: skip
        pd.DataFrame([line]).to_csv(options.out, index=False, float_format="%.4g")


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    run_command(main)
