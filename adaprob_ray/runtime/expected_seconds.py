"""How long cells will take, from what cells in a store took: see adaprob_ray/costs.py for the model."""

from __future__ import annotations

import functools
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from adaprob_ray.costs import TRAINING, Device, Speeds, work_of
from adaprob_ray.errors import CorruptArtefact, StoreError
from adaprob_ray.store import Store
from adaprob_ray.store.contents import in_threads
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.registry import Registry

# Cells of the store that are read: keys are hashes, so that the first ones are a sample of all.
MAX_CELLS_READ = 1000
# Where the store shows nothing: for a network of whose like no cell is there, and for stages whose work is not known before.
ASSUMED_SPEED = 1e12  # multiply-adds a second
ASSUMED_SECONDS = 5.0
# Where a time comes from, besides what it was measured on (costs.NEARNESS): other cells of the stage, or nothing.
STAGE, ASSUMED = "stage", "assumed"


@dataclass(frozen=True)
class Measured:
    """What completed cells took: a row for each that made a network, and the seconds of the others by stage."""

    rows: list[dict[str, Any]]
    stage_seconds: Mapping[str, float]


def read_measured(store: Store | None, registry: Registry) -> Measured:
    """What the cells of a store took; of another version's cells, which cannot be read, nothing."""
    rows: list[dict[str, Any]] = []
    others: dict[str, list[float]] = {}
    for cell, facts in _completed(store, registry) if store else ():
        settings = cell.settings
        if registry.stages[cell.stage].passes(cell, registry) is None:
            others.setdefault(cell.stage, []).append(facts["cell_seconds"])
            continue
        rows.append(
            {
                **facts,
                "method": cell.method if cell.stage == "unlearn" else TRAINING,
                "dataset": str(settings.dataset),
                "architecture": settings.architecture.name,
                "filters": settings.architecture.filters,
                "architecture_arguments": settings.architecture.arguments,
                "precision": settings.precision,
            }
        )
    return Measured(rows, {stage: statistics.median(seconds) for stage, seconds in others.items()})


def _completed(store: Store, registry: Registry) -> Iterable[tuple[Cell, Mapping[str, Any]]]:
    """Completed cells and the facts that they committed."""
    done = [key for key, log in store.survey().items() if log.done is not None][:MAX_CELLS_READ]

    def read(key: str) -> tuple[Cell, Mapping[str, Any]] | None:
        # A cell of another version or package may name what this registry lacks: it is left out.
        with suppress(CorruptArtefact, StoreError, KeyError, TypeError, ValueError):
            document, commit = store.cell(key), store.peek(key)
            if document and commit and "cell_seconds" in commit.facts:
                cell = registry.cell(document)
                return (cell, commit.facts) if registry.has_names(cell) else None
        return None

    return [cell for cell in in_threads(read, done) if cell is not None]


@dataclass(frozen=True)
class ExpectedSeconds:
    """Seconds of cells by key; the devices whose speeds they are; and how many cells' times come from where.

    `evidence`: by METHOD, NETWORK or DEVICE, on which a time was measured (see costs.py), STAGE or ASSUMED.
    """

    seconds: dict[str, float]
    devices: tuple[Device, ...]
    evidence: Mapping[str, int]


def expected_seconds(
    cells: Mapping[str, Cell], measured: Measured, registry: Registry, *, has_gpus: bool
) -> ExpectedSeconds:
    """How long each cell will take alone.

    Args:
        cells: By key.
        measured: What cells took.
        registry: The names that they use.
        has_gpus: Whether cells that ask for a GPU get one.
    """
    speeds = Speeds(measured.rows, registry)
    choose = functools.cache(functools.partial(_device, speeds))
    seconds, evidence, devices = dict[str, float](), Counter[str](), dict[Device, None]()
    for key, cell in cells.items():
        work = work_of(cell, registry)
        if work is None:
            seconds[key] = measured.stage_seconds.get(cell.stage, ASSUMED_SECONDS)
            evidence[STAGE if cell.stage in measured.stage_seconds else ASSUMED] += 1
            continue
        device = choose(work.precision, cell.resources.cpu, has_gpus and cell.resources.gpu != 0)
        if device is None:
            seconds[key], near = work.multiply_adds / ASSUMED_SPEED, ASSUMED
        else:
            seconds[key], near = speeds.seconds(work, device)
            devices[device] = None
        evidence[near] += 1
    return ExpectedSeconds(seconds, tuple(devices), evidence)


def _device(speeds: Speeds, precision: str, threads: int, on_gpu: bool) -> Device | None:
    """The device whose speeds count for such cells: like theirs in as much as possible; None without any."""

    def differences(device: Device) -> tuple[bool, bool, bool]:
        return device.is_gpu != on_gpu, device.precision != precision, device.threads != threads

    return min(speeds.devices(), key=differences, default=None)
