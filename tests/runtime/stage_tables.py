"""Tables of stages that fail, sleep or die where a test asks them to. Workers import them by name, as module:table.

ADAPROB_TEST_MARKS names a folder: a stage leaves a mark there when it does what was asked, and does it only once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.runtime import attempt_checkpoints
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.registry import Registry

Stage = Callable[[Cell, StageContext], StageOutput]
PATIENCE = 120.0  # seconds until a test that hangs is given up


def words(cell: Cell) -> str:
    return f"{cell.stage}-{cell.label}"


def first_time(what: str) -> bool:
    """Whether this mark was not there yet; it is now."""
    folder = os.environ.get("ADAPROB_TEST_MARKS")
    if folder is None:
        return False
    try:
        (Path(folder) / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def asked(variable: str, cell: Cell) -> bool:
    """Whether the environment names this cell among others, and it is the first time."""
    return words(cell) in os.environ.get(variable, "").split() and first_time(f"{variable}-{words(cell)}")


def registry_with(wrap: Callable[[Stage], Stage]) -> Registry:
    """The catalogue with every stage's `run` wrapped."""
    stages = {name: replace(stage, run=wrap(stage.run)) for name, stage in REGISTRY.stages.items()}
    return replace(REGISTRY, stages=stages)


def before(act: Callable[[Cell], None]) -> Registry:
    """The real stages, each after `act`."""

    def wrapped(stage: Stage) -> Stage:
        def run(cell: Cell, context: StageContext) -> StageOutput:
            act(cell)
            return stage(cell, context)

        return run

    return registry_with(wrapped)


def fail_at_adaprob(cell: Cell) -> None:
    if words(cell) == "unlearn-adaprob":
        raise RuntimeError("the sky is falling")


def trouble(cell: Cell) -> None:
    """Sleep, die or fail as the environment says."""
    if asked("ADAPROB_TEST_SLEEP", cell) or asked("ADAPROB_TEST_SLEEP_TOO", cell):
        time.sleep(PATIENCE)
    if asked("ADAPROB_TEST_DIE", cell):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("ADAPROB_TEST_FAIL") == words(cell):
        raise RuntimeError("the sky is falling")


def together(cell: Cell) -> None:
    """Go on only when two processes have come this far."""
    first_time(f"pid{os.getpid()}")
    end = time.monotonic() + PATIENCE
    while len(list(Path(os.environ["ADAPROB_TEST_MARKS"]).glob("pid*"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)


def stopping(stage: Stage) -> Stage:
    """Interrupts each cell named in ADAPROB_TEST_STOP, or kills it (ADAPROB_TEST_KILL), at the end of its second-last epoch."""

    def run(cell: Cell, context: StageContext) -> StageOutput:
        report, last = context.report, getattr(getattr(cell.settings, "recipe", None), "epochs", 0)

        def stop(step: int, **scalars: float) -> None:
            report(step, **scalars)
            if step == last - 1 and asked("ADAPROB_TEST_STOP", cell):
                raise KeyboardInterrupt
            if step == last - 1 and asked("ADAPROB_TEST_KILL", cell):
                os.kill(os.getpid(), signal.SIGKILL)

        context.report = stop
        attempt_checkpoints.PERIOD_SECONDS, attempt_checkpoints.MAX_OVERHEAD = 0.0, 1e9  # one after each epoch
        return stage(cell, context)

    return run


FAILING = before(fail_at_adaprob)
TROUBLE = before(trouble)
TOGETHER = before(together)
STOPPING = registry_with(stopping)
