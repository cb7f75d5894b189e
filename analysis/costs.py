"""What a sweep costs: the passes that its methods declare, in multiply-adds of its networks, at the speed that Records show.

    work of a cell = (forward + 2 · backward) passes · multiply-adds of one forward pass
    seconds        = work / speed, where speed = work / seconds of measured cells of one device, thread count and precision

A backward pass makes the gradients of weights and of inputs, so it counts as two forward passes. The speed is the best that a
Record shows (what else a machine does only slows it) of the same network and method, else of training this network, else of
the network nearest in size on that device.
"""

from __future__ import annotations

import csv
import functools
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, METHODS, REGISTRY
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep
from analysis.provenance import is_empty
from analysis.words import NOTHING, Page, Piece

TRAINING = "training"  # the method of every cell that trains by a recipe
NEARNESS = METHOD, NETWORK, DEVICE = "method", "network", "device"  # what a time was measured on
AT_ONCE, WIDTH = 3, 13  # devices in one piece of the table, and characters of a column
TOTAL = "all, each cell once"
FIELDS = ("sweep", "cells", "forward_passes", "backward_passes", "multiply_adds", "device", "precision", "threads", "hours",
          "measured_on")  # fmt: skip


class Device(NamedTuple):
    """Where and how a Record's model was made: times of two of these are not compared."""

    device: str
    precision: str
    threads: int

    def words(self) -> str:
        return f"hours, {self.device}, {self.precision}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class Network(NamedTuple):
    """Two that differ in their classes alone count as one: a classifier is a ten-thousandth of the work."""

    architecture: str
    filters: float
    channels: int
    size: int

    @property
    def multiply_adds(self) -> float:
        """Of one image, forward, with a classifier of one class."""
        return _multiply_adds(self)


@functools.cache
def _multiply_adds(network: Network) -> float:
    """Counted on the meta device: nothing is computed."""
    with torch.device("meta"):
        build = ARCHITECTURES[network.architecture].build
        model = build(classes=1, channels=network.channels, filters=network.filters).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, network.channels, network.size, network.size))
    return counter.get_total_flops() / 2


@dataclass(frozen=True)
class Work:
    """Of one cell that makes a network. `method` is what its speed may depend on."""

    network: Network
    method: str
    precision: str
    forward: int
    backward: int

    @property
    def multiply_adds(self) -> float:
        return (self.forward + 2 * self.backward) * self.network.multiply_adds


# -- what cells ask for ---------------------------------------------------------------------------------------------------


def work_of(cell: Cell) -> Work | None:
    """The work of a cell that makes a network in a number of passes that is known before; None for any other."""
    passes = REGISTRY.stages[cell.stage].passes(cell, REGISTRY)
    if passes is None:
        return None
    settings = cell.settings
    network = _network(settings.dataset.name, name=settings.architecture.name, filters=settings.architecture.filters)
    method = cell.method if cell.stage == "unlearn" else TRAINING
    return Work(network, method, settings.precision, passes.forward, passes.backward)


def _network(dataset: str, *, name: str, filters: float) -> Network:
    known = DATASETS[dataset]
    return Network(name, filters, known.channels, known.size)


# -- what Records show ----------------------------------------------------------------------------------------------------


class Speeds:
    """Multiply-adds a second of each device, from Records that say how long their model took and in how many passes."""

    def __init__(self, records: pd.DataFrame) -> None:
        self._best: dict[Device, dict[Network, dict[str, float]]] = {}
        for _, record in records.iterrows():
            if (measured := _measured(record)) is not None:
                device, network, method, speed = measured
                speeds = self._best.setdefault(device, {}).setdefault(network, {})
                speeds[method] = max(speed, speeds.get(method, 0.0))

    def devices(self) -> list[Device]:
        """Those with a Record, in their order."""
        return list(self._best)

    def seconds(self, work: Work, device: Device) -> tuple[float, str]:
        """What the work would take there, and how near it was measured: this METHOD, this NETWORK, or another of the DEVICE."""
        networks = self._best[device]
        network = min(networks, key=lambda known: abs(math.log(known.multiply_adds / work.network.multiply_adds)))
        speeds = networks.get(work.network, networks[network])
        speed = speeds.get(work.method) or speeds.get(TRAINING) or min(speeds.values())
        near = DEVICE if work.network not in networks else METHOD if work.method in speeds else NETWORK
        return work.multiply_adds / speed, near


def _measured(record: pd.Series[Any]) -> tuple[Device, Network, str, float] | None:
    trained = METHODS[record["method"]].stage == "train" if record["method"] in METHODS else None
    if trained is None or record["dataset"] not in DATASETS or record["architecture"] not in ARCHITECTURES:
        return None
    seconds = record.get("training_seconds" if trained else "unlearn_seconds")
    facts = (seconds, record.get("forward_examples"), record.get("backward_examples"), record.get("threads"))
    if any(map(is_empty, facts)) or not seconds:
        return None
    network = _network(record["dataset"], name=record["architecture"], filters=record["filters"])
    passes = int(record["forward_examples"]), int(record["backward_examples"])
    work = Work(network, TRAINING if trained else record["method"], record["precision"], *passes)
    device = Device(record["device"], record["precision"], int(record["threads"]))
    return device, network, work.method, work.multiply_adds / seconds


# -- the table ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """Of a set of cells: `hours` by device, one cell after another; `nearest` is the least that was measured of any of them."""

    name: str
    works: Sequence[Work]
    hours: Mapping[Device, float]
    nearest: Mapping[Device, str]


def estimates(sweeps: Iterable[Sweep], speeds: Speeds) -> list[Estimate]:
    """One for each sweep; with several, one for all their cells, each counted once."""
    chosen = list(sweeps)
    found = [_estimate(sweep.name, sweep.cells, speeds) for sweep in chosen]
    if len(chosen) > 1:
        found.append(_estimate(TOTAL, {key: cell for sweep in chosen for key, cell in sweep.cells.items()}, speeds))
    return found


def _estimate(name: str, cells: Mapping[str, Cell], speeds: Speeds) -> Estimate:
    works = [work for cell in cells.values() if (work := work_of(cell)) is not None]
    hours, nearest = dict[Device, float](), dict[Device, str]()
    for device in speeds.devices():
        timed = [speeds.seconds(work, device) for work in works if work.precision == device.precision]
        if len(timed) == len(works) > 0:  # a sweep of another precision cannot be told from this device's times
            hours[device] = sum(seconds for seconds, _ in timed) / 3600
            nearest[device] = max((words for _, words in timed), key=NEARNESS.index)
    return Estimate(name, works, hours, nearest)


def costs_page(found: Sequence[Estimate], devices: Sequence[Device]) -> Page:
    """The work, and below it the hours, of a few devices at a time: each piece fits the narrowest terminal."""
    work = ["networks to make", "passes forward, 10^6", "backward, 10^6", "multiply-adds, 10^15"]
    pieces = [_piece(found, work, [_work(item) for item in found])]
    for at in range(0, len(devices), AT_ONCE):
        some = devices[at : at + AT_ONCE]
        hours = [[_hours(item, device) for device in some] for item in found]
        pieces.append(_piece(found, [device.words() for device in some], hours))
    return Page("cost, one cell after another", pieces, _CAPTION)


def _piece(found: Sequence[Estimate], head: list[str], lines: Sequence[list[str]]) -> Piece:
    first = max(len(item.name) for item in found)
    named = [[item.name, *line] for item, line in zip(found, lines, strict=True)]
    return Piece("", ["", *head], [first, *[WIDTH] * len(head)], named)


def _work(item: Estimate) -> list[str]:
    forward, backward = (sum(getattr(work, way) for work in item.works) for way in ("forward", "backward"))
    total = sum(work.multiply_adds for work in item.works)
    return [str(len(item.works)), f"{forward / 1e6:.3g}", f"{backward / 1e6:.3g}", f"{total / 1e15:.3g}"]


def _hours(item: Estimate, device: Device) -> str:
    if device not in item.hours:
        return NOTHING
    hours, mark = item.hours[device], {METHOD: "", NETWORK: " †", DEVICE: " ‡"}[item.nearest[device]]
    return (f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}") + mark


_CAPTION = [
    "every network counts, done or not, evaluating and relearning do not; a backward pass is two forward passes",
    "hours are those of the best measured speed; a machine that did other work beside was slower",
    "† some method, ‡ some network was not measured on this device: from what was; – no Record of this precision there",
]


def cost_numbers(found: Sequence[Estimate]) -> str:
    """A line for each sweep and device, as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for item in found:
        facts = {
            "sweep": item.name,
            "cells": len(item.works),
            "forward_passes": sum(work.forward for work in item.works),
            "backward_passes": sum(work.backward for work in item.works),
            "multiply_adds": sum(work.multiply_adds for work in item.works),
        }
        for device, hours in item.hours.items():
            writer.writerow({**facts, **device._asdict(), "hours": hours, "measured_on": item.nearest[device]})
        if not item.hours:
            writer.writerow(facts)
    return text.getvalue()
