"""The real stages, each a little slower, noted when it starts, and stopped where a fault is injected.

Workers import REGISTRY by name. The environment says what happens:

    FAULTS_FOLDER   the folder of this experiment: executions.jsonl, and the files `held-N` and `go-N`
    FAULTS_HOLD     a pattern: the first such cell leaves `held-1` and waits for `go-1`
    FAULTS_HOLDS    2 if the second execution of that cell leaves `held-2` and waits for `go-2`
    FAULTS_AWAIT    a pattern: such a cell waits until another one is held, so that the work does not end before that
    FAULTS_ABORT    a pattern: such a cell aborts its process, every time
    FAULTS_CLOCK    by how many seconds the clock of the first process that is held is stepped
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from adaprob_ray.catalogue import REGISTRY as CATALOGUE
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.sweep.cell import Cell

# Seconds added to each cell, so that a fault meets a running sweep.
PACE = 0.2
# Seconds after which a held or waiting cell continues in any case.
MAX_HOLD = 150.0


def cell_name(cell: Cell) -> str:
    """Stage, label and seed: what the patterns are compared with."""
    return f"{cell.stage}-{cell.label}-s{cell.settings.seed}"


def injected(stage: Callable[[Cell, Any], StageOutput]) -> Callable[[Cell, Any], StageOutput]:
    """`stage` with the interventions that the environment asks for."""

    def run(cell: Cell, context: StageContext) -> StageOutput:
        name = cell_name(cell)
        _note_execution(cell, context)
        time.sleep(PACE)
        if fnmatch(name, os.environ.get("FAULTS_ABORT", "")):
            os.abort()
        if fnmatch(name, os.environ.get("FAULTS_AWAIT", "")):
            _wait_for(_folder() / "held-1")
        if fnmatch(name, os.environ.get("FAULTS_HOLD", "")):
            _hold(cell)
        return stage(cell, context)

    return run


def _folder() -> Path:
    return Path(os.environ["FAULTS_FOLDER"])


def _note_execution(cell: Cell, context: Any) -> None:
    """One line for each execution: which commits and revocations the cell had when it started."""
    log = context.store.log(cell.key)
    note = {
        "key": cell.key,
        "name": cell_name(cell),
        "pid": os.getpid(),
        "at": time.monotonic(),
        "commits": sorted(log.commits),
        "revoked": sorted(log.revoked),
    }
    with (_folder() / "executions.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(note) + "\n")


def _hold(cell: Cell) -> None:
    """Wait for `go-N`. Only another execution of the cell that was held first is held as number 2."""
    for number in range(1, int(os.environ.get("FAULTS_HOLDS", "1")) + 1):
        first = _folder() / "held-1"
        if number > 1 and json.loads(first.read_text(encoding="utf-8"))["key"] != cell.key:
            return
        if not _leave(_folder() / f"held-{number}", {"key": cell.key, "name": cell_name(cell), "pid": os.getpid()}):
            continue
        if number == 1 and "FAULTS_CLOCK" in os.environ:
            _step_clock(int(os.environ["FAULTS_CLOCK"]))
        _wait_for(_folder() / f"go-{number}")
        return


def _wait_for(path: Path) -> None:
    """Wait until a file exists, for MAX_HOLD at most."""
    end = time.monotonic() + MAX_HOLD
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)


def _leave(path: Path, document: dict[str, Any]) -> bool:
    """Create a file with its content at once; False if it exists."""
    draft = path.with_name(f"{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
    draft.write_text(json.dumps(document), encoding="utf-8")
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _step_clock(seconds: int) -> None:
    """Step this process's wall clock, which the preloaded clock.c reports, and check that Python and Rust would see it."""
    before = datetime.now(UTC), time.time()
    ctypes.CDLL(None).step_clock(ctypes.c_long(seconds))
    after = datetime.now(UTC), time.time()
    assert abs((after[0] - before[0]).total_seconds() - seconds) < 60, "the clock was not stepped"
    assert abs(after[1] - before[1] - seconds) < 60, "the clock was not stepped"


REGISTRY = replace(
    CATALOGUE, stages={name: replace(stage, run=injected(stage.run)) for name, stage in CATALOGUE.stages.items()}
)
