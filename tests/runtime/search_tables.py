"""Stages that take no time: a model's errors are a function of its hyperparameters. Workers import them as module:table.

The environment makes them misbehave; marks are files in the folder ADAPROB_TEST_MARKS, see stage_tables.py.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from stage_tables import PATIENCE, first_time

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import Diverged, StoreError
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.sweep.cell import Cell

# Columns of the metric `errors` and of the stage select that a model does not change.
FIXED = {
    "original_retain_error_percent": 1.0,
    "original_validation_error_percent": 5.0,
    "original_validation_forget_class_error_percent": 6.0,
    "test_error_percent": 5.0,
    "validation_error_percent": 5.0,
}


def errors(hyper: dict[str, Any], seed: int) -> dict[str, float]:
    """Least far from Retrain's at lr 0.003 and 4 epochs, a little differently for each seed."""
    far = (
        3 * abs(math.log10(hyper["lr"]) + 2.5) + 0.5 * abs(hyper["epochs"] - 4) + 0.1 * math.sin(seed * hyper["epochs"])
    )
    return {"forget_error_percent": 10 + far, "retain_error_percent": 1 + far / 10, "validation_auc_percent": 50 + far}


def unlearn(cell: Cell, context: StageContext) -> StageOutput:
    hyper: dict[str, Any] = cell.settings.hyper  # type: ignore[attr-defined]
    wait_for_another()
    if pause := float(os.environ.get("SEARCH_TEST_PAUSE", 0)):
        time.sleep(random.random() * pause)
    if hyper["lr"] > float(os.environ.get("SEARCH_TEST_DIVERGE_ABOVE", "inf")):
        raise Diverged("the loss is nan")
    if os.environ.get("SEARCH_TEST_FAIL") == cell.method and hyper["lr"] > 0.01:
        raise RuntimeError("the sky is falling")
    if os.environ.get("SEARCH_TEST_DISK") == cell.method and first_time(f"disk-{cell.key}"):
        raise StoreError("unreachable for a moment")
    if (
        (limit := int(os.environ.get("SEARCH_TEST_DIE_AFTER", 0)))
        and count("unlearned-*") >= limit
        and first_time("died")
    ):
        os.kill(os.getpid(), signal.SIGKILL)
    first_time(f"unlearned-{cell.key}")
    return StageOutput({}, {"forward_examples": 10 * hyper["epochs"], "backward_examples": hyper["epochs"]})


def count(pattern: str) -> int:
    return len(list(Path(os.environ["ADAPROB_TEST_MARKS"]).glob(pattern)))


def wait_for_another() -> None:
    """Until two processes have come this far, if the environment asks for it."""
    if "SEARCH_TEST_TOGETHER" not in os.environ:
        return
    first_time(f"pid{os.getpid()}")
    end = time.monotonic() + PATIENCE
    while count("pid*") < 2 and time.monotonic() < end:
        time.sleep(0.02)


def train(cell: Cell, context: StageContext) -> StageOutput:
    if os.environ.get("SEARCH_TEST_DIVERGE") == cell.method:
        raise Diverged("the loss is nan")
    return StageOutput({}, {})


def score(cell: Cell, context: StageContext) -> StageOutput:
    """Of evaluate and select."""
    settings = context.parent(cell.parents["model"]).settings
    hyper = getattr(settings, "hyper", {})
    is_unlearned = "lr" in hyper
    if os.environ.get("SEARCH_TEST_MISSING") == cell.method:
        return StageOutput({}, {"retain_error_percent": 1.0})
    own = errors(hyper, settings.seed) if is_unlearned else {"forget_error_percent": 10.0, "retain_error_percent": 1.0}
    return StageOutput({}, {**FIXED, **own})


RUNS = {"train": train, "unlearn": unlearn, "evaluate": score, "select": score}
STUBS = replace(
    REGISTRY, stages={name: replace(stage, run=RUNS.get(name, stage.run)) for name, stage in REGISTRY.stages.items()}
)
