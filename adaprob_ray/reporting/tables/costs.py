"""The table of what sweeps cost, by the model of adaprob_ray/costs.py: passes, multiply-adds, hours on measured devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaprob_ray.costs import DEVICE, METHOD, NEARNESS, NETWORK, Device, Speeds, Work, work_of
from adaprob_ray.errors import NoStore
from adaprob_ray.reporting.records.archive import rows_of
from adaprob_ray.reporting.records.load import all_records, read_lines
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.format import EMPTY_CELL
from adaprob_ray.reporting.tables.layout import Block, Document
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.reporting.tables.render import to_csv, write_documents
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

DEVICES_PER_BLOCK = 3
TOTAL = "all, each cell once"
FIELDS = ("sweep", "cells", "forward_passes", "backward_passes", "multiply_adds", "device", "precision", "threads", "hours",
          "measured_on")  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A set of cells: `hours` by device, one cell after another.

    `nearest`: the weakest evidence used: same method, same network, or another network.
    """

    name: str
    works: Sequence[Work]
    hours: Mapping[Device, float]
    nearest: Mapping[Device, str]

    @property
    def totals(self) -> list[float]:
        """Forward passes, backward passes and multiply-adds."""
        return [sum(getattr(work, name) for work in self.works) for name in ("forward", "backward", "multiply_adds")]


def build_costs(selection: Selection, out: Path, *, measured: Iterable[Path] = ()) -> Output:
    """Write costs.md, .tex and .csv of the selected sweeps to `out`.

    Args:
        measured: Files of Records whose times are used in addition to those of the store, if there is one.
    """
    from adaprob_ray.catalogue import REGISTRY  # which loads torch

    frames = [read_lines(path) for path in measured]
    with contextlib.suppress(NoStore):
        frames.append(all_records(selection.location))
    # A key may be of several machines: no Record is dropped.
    rows = [row for frame in frames for row in rows_of(frame)]
    speeds = Speeds(rows, REGISTRY)
    sweep_estimates = estimates(selection.sweeps.values(), speeds)
    documents = [costs_page(sweep_estimates, speeds.devices())]
    return Output(documents, write_documents(documents, cost_numbers(sweep_estimates), "costs", out))


def estimates(sweeps: Iterable[Sweep], speeds: Speeds) -> list[Estimate]:
    """One for each sweep; with several, one for all their cells, each counted once."""
    named_cells = [(sweep.name, sweep.cells) for sweep in sweeps]
    if len(named_cells) > 1:
        named_cells.append((TOTAL, {key: cell for _, cells in named_cells for key, cell in cells.items()}))
    return [_estimate(name, cells, speeds) for name, cells in named_cells]


def _estimate(name: str, cells: Mapping[str, Cell], speeds: Speeds) -> Estimate:
    from adaprob_ray.catalogue import REGISTRY

    works = [work for cell in cells.values() if (work := work_of(cell, REGISTRY)) is not None]
    hours, nearest = dict[Device, float](), dict[Device, str]()
    for device in speeds.devices():
        timed = [speeds.seconds(work, device) for work in works if work.precision == device.precision]
        if len(timed) == len(works) > 0:  # times of one precision do not apply to another
            hours[device] = sum(seconds for seconds, _ in timed) / 3600
            nearest[device] = max((words for _, words in timed), key=NEARNESS.index)
    return Estimate(name, works, hours, nearest)


def costs_page(sweep_estimates: Sequence[Estimate], devices: Sequence[Device]) -> Document:
    """The work, and below it the hours, of a few devices at a time: each block fits the narrowest terminal."""
    work = ["networks to train or unlearn", "passes forward, 10^6", "backward, 10^6", "multiply-adds, 10^15"]
    blocks = [Block("", ["", *work], [[item.name, *_work(item)] for item in sweep_estimates])]
    for start in range(0, len(devices), DEVICES_PER_BLOCK):
        shown = devices[start : start + DEVICES_PER_BLOCK]
        lines = [[item.name, *(_hours(item, device) for device in shown)] for item in sweep_estimates]
        blocks.append(Block("", ["", *(f"hours, {device.words()}" for device in shown)], lines))
    return Document("cost, one cell after another", blocks, _CAPTION)


def _work(item: Estimate) -> list[str]:
    numbers = [f"{total / unit:.3g}" for total, unit in zip(item.totals, (1e6, 1e6, 1e15), strict=True)]
    return [str(len(item.works)), *numbers]


def _hours(item: Estimate, device: Device) -> str:
    if device not in item.hours:
        return EMPTY_CELL
    hours, mark = item.hours[device], {METHOD: "", NETWORK: " †", DEVICE: " ‡"}[item.nearest[device]]
    return (f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}") + mark


_CAPTION = [
    "all networks are counted, done or not, without evaluation and relearning; a backward pass counts as two forward passes",
    "hours at the highest measured speed; a machine that was busy with other work was slower",
    "† the method, ‡ the network was not measured on this device (estimated from others); – no Record at this precision",
]


def cost_numbers(sweep_estimates: Sequence[Estimate]) -> str:
    """A line for each sweep and device, as CSV."""
    rows: list[dict[str, object]] = []
    for item in sweep_estimates:
        totals = dict(zip(FIELDS[:5], (item.name, len(item.works), *item.totals), strict=True))
        rows += [
            {**totals, **device._asdict(), "hours": hours, "measured_on": item.nearest[device]}
            for device, hours in item.hours.items()
        ] or [totals]
    return to_csv(rows, FIELDS)
