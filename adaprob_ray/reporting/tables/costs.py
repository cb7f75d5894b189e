"""The table of what sweeps cost, by the model of adaprob_ray/costs.py: passes, multiply-adds, hours on measured devices."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.costs import DEVICE, METHOD, NEARNESS, NETWORK, Device, Speeds, Work, work_of
from adaprob_ray.reporting.tables.format import NOTHING, Page, Piece
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

AT_ONCE, WIDTH = 3, 13  # devices in one piece of the table, and characters of a column
TOTAL = "all, each cell once"
FIELDS = ("sweep", "cells", "forward_passes", "backward_passes", "multiply_adds", "device", "precision", "threads", "hours",
          "measured_on")  # fmt: skip


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
    works = [work for cell in cells.values() if (work := work_of(cell, REGISTRY)) is not None]
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
        pieces.append(_piece(found, [f"hours, {device.words()}" for device in some], hours))
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
