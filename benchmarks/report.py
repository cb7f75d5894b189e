"""Seconds to build the report of a 1,000-cell store and to open it in headless Chromium. Bars: 30 s and 2 s.

    python -m benchmarks.report [--cells 1000] [--out FOLDER]

Records are made up: as many columns as real ones have, several data sets, sweeps' settings mixed. Where chromium is on the
PATH it also says what the console said and how wide the page is in a window of 390 px; where it is not, only the file is
measured.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from adaprob_ray.reporting.report import write_report
from benchmarks import run_command
from benchmarks.chromium import opened

LABELS = ("original", "retrain", "retrain_independent", "finetune", "neggrad_plus", "scrub", "bad_teacher", "cf_k", "eu_k",
          "adaprob_eq1", "adaprob_script", "adaprob_restore")  # fmt: skip
GROUPS = [(name, forget) for name in ("cifar10", "cifar5", "digits", "faces10") for forget in ("25of3", "class5")]
SEEDS = 10
FAST, OPEN = 30, 2  # seconds: the bars


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="folder that keeps the report")
    options = parser.parse_args()
    records = synthetic(options.cells)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = write_report(
            records, missing=[], title=f"{options.cells:,} cells, made up", folder=options.out or Path(folder)
        )
        seconds = time.perf_counter() - start
        print(
            f"{len(records)} cells, {len(records.columns)} columns: built in {seconds:.1f} s (bar: {FAST} s), "
            f"{path.stat().st_size / 1e6:.2f} MB"
        )
        if browser := shutil.which("chromium") or shutil.which("google-chrome"):
            _open(browser, path)
        else:
            print("chromium is not installed: not opened")


def _open(browser: str, path: Path) -> None:
    for width in (1440, 390):
        page = opened(browser, path, width)
        print(
            f"opened at {width} px in {page.seconds:.2f} s (bar: {OPEN} s): {page.elements} elements, "
            f"page {page.width} px wide, {len(page.messages)} console messages"
        )
        for message in page.messages:
            print(f"  {message}")


def synthetic(cells: int) -> pd.DataFrame:
    """Records of every label, group and seed in turn, as many as wanted; past ten seeds those of a sweep of other settings."""
    generator = np.random.default_rng(0)
    points = [(group, label, seed) for seed in range(1, cells) for group in GROUPS for label in LABELS]
    return pd.DataFrame([_record(*point, generator) for point in points[:cells]])


def _record(group: tuple[str, str], label: str, seed: int, generator: np.random.Generator) -> dict[str, object]:
    (dataset, forget), at, sweep = group, LABELS.index(label), (seed - 1) // SEEDS
    key = generator.bytes(16).hex()
    rows = 25 if forget == "25of3" else 500
    return {
        "key": key,
        "model_key": generator.bytes(16).hex(),
        "lineage": key[:16],
        "stage": "evaluate",
        "dataset": dataset,
        "test_pool": "clean",
        "architecture": "allcnn",
        "filters": 1.0,
        "forget": forget,
        "label": label,
        "method": label.partition("_eq1")[0],
        "seed": (seed - 1) % SEEDS + 1,
        "repeat": 0,
        "precision": "float32" if dataset != "cifar5" else "bfloat16",
        **_settings(at, sweep),
        **_metrics(at, rows, generator),
        "commit": generator.permutation(["8f7b50cc5f204bc4", "9558e9671d5a08fc"])[0],
        "run_dirty": False,
        "exclusive": bool(at % 2),
        "host": f"node{seed % 4}",
        "device": "cpu (made up)",
        "threads": 1,
        "torch_version": "2.15.0",
        "python_version": "3.11.7",
        "numpy_version": "2.4.6",
        "started_at": f"2026-11-24T02:{seed % 60:02d}:07+00:00",
        "run_committed_at": f"2026-11-24T03:{seed % 60:02d}:07+00:00",
    }


def _settings(at: int, sweep: int) -> dict[str, object]:
    names = (
        "lr",
        "epochs",
        "momentum",
        "batch_size",
        "alpha",
        "gamma",
        "temperature",
        "lam",
        "smoothing",
        "weight_decay",
    )
    method = {f"method.{name}": float(at) if number % 3 == at % 3 else None for number, name in enumerate(names)}
    recipe = {
        "lr": 0.01,
        "epochs": 26 + sweep,
        "momentum": 0.9,
        "batch_size": 128,
        "weight_decay": 5e-4,
        "batch_norm": "train",
    }
    return {**method, **{f"recipe.{name}": value for name, value in recipe.items()}, "pretrain.dataset": "cifar100"}


def _metrics(at: int, rows: int, generator: np.random.Generator) -> dict[str, object]:
    """Errors are shares of their rows; all else is positive."""
    shares = {"test": (1000, 12 + at), "retain": (5000, at / 2), "forget": (rows, 7 * at), "validation": (500, 14 + at)}
    errors = {
        f"{name}_error_percent": 100 * int(generator.binomial(of, share / 100)) / of
        for name, (of, share) in shares.items()
    }
    nats = ("kl_forget_nats", "kl_test_nats", "kl_forget_same_seed_nats", "kl_test_same_seed_nats")
    return {
        **errors,
        **{f"{name}_rows": of for name, (of, _) in shares.items()},
        "membership_accuracy_percent": float(generator.normal(52, 3)),
        **{name: float(generator.gamma(4, 0.1 + at / 50)) for name in nats},
        "unlearn_seconds": float(generator.gamma(20, 3 ** (at % 5) / 20)),
        "cell_seconds": float(generator.gamma(20, 1)),
        "forward_examples": 1000 * (at + 1),
        "backward_examples": 500 * (at + 1),
        "parameter_distance": float(generator.gamma(9, 0.1)) if at else 0.0,
        "start_distance": float(generator.gamma(50, 0.1)),
    }


if __name__ == "__main__":
    run_command(main)
