"""What cells cost: the passes that their methods declare, in multiply-adds of their networks, at the speed that Records show.

    work of a cell = (forward + 2 · backward) passes · multiply-adds of one forward pass
    seconds        = work / speed, where speed = work / seconds of measured cells of one device, thread count and precision

A backward pass makes the gradients of weights and of inputs, so it counts as two forward passes. The speed is the best that a
Record shows (what else a machine does only slows it) of the same network and method, else of training this network, else of
the network nearest in size on that device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import ArchitectureSettings, full_dataset
from adaprob_ray.sweep.registry import Registry

TRAINING = "training"  # the method of every cell that trains by a recipe
NEARNESS = METHOD, NETWORK, DEVICE = "method", "network", "device"  # what a time was measured on
_FACTS = ("forward_examples", "backward_examples", "threads")


class Device(NamedTuple):
    """Where and how a Record's model was made: times of two of these are not compared."""

    device: str
    precision: str
    threads: int

    @property
    def is_gpu(self) -> bool:
        """Whether it is a card: the names of processors are in parentheses (see runtime/provenance.py)."""
        return not self.device.startswith("cpu (")

    def words(self) -> str:
        return f"{self.device}, {self.precision}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class Network(NamedTuple):
    """Two that differ in their classes alone count as one: a classifier is a ten-thousandth of the work.

    `multiply_adds` are of one image, forward, with a classifier of one class.
    """

    architecture: str
    filters: float
    channels: int
    size: int
    multiply_adds: int

    @classmethod
    def of(cls, registry: Registry, dataset: str, architecture: ArchitectureSettings) -> Network:
        """The network of these settings for the images of a data set."""
        data = registry.datasets[dataset]
        shape = {"channels": data.channels, "size": data.size}
        options = {} if architecture.arguments is None else {"arguments": architecture.arguments}
        entry, filters = registry.architectures[architecture.name], architecture.filters
        count = entry.multiply_adds(filters=filters, **shape, **options)
        return cls(architecture=architecture.title, filters=filters, multiply_adds=count, **shape)


@dataclass(frozen=True)
class Work:
    """Of one cell that makes a network. `method` is what its speed may depend on."""

    network: Network
    method: str
    precision: str
    forward: int
    backward: int

    @property
    def multiply_adds(self) -> int:
        return (self.forward + 2 * self.backward) * self.network.multiply_adds


def work_of(cell: Cell, registry: Registry) -> Work | None:
    """The work of a cell that makes a network in a number of passes that is known before; None for any other."""
    passes = registry.stages[cell.stage].passes(cell, registry)
    if passes is None:
        return None
    settings = cell.settings
    network = Network.of(registry, settings.dataset.name, settings.architecture)
    method = cell.method if cell.stage == "unlearn" else TRAINING
    return Work(network, method, settings.precision, passes.forward, passes.backward)


class Speeds:
    """Multiply-adds a second of each device, from Records that say how long their model took and in how many passes.

    Args:
        records: A mapping from columns to values for each Record, whose method may be TRAINING; those with names that the
            registry lacks are left out.
        registry: The data sets, architectures and methods that they name.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]], registry: Registry) -> None:
        self._best: dict[Device, dict[Network, dict[str, float]]] = {}
        for record in records:
            if (measured := _measured(record, registry)) is not None:
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


def _measured(record: Mapping[str, Any], registry: Registry) -> tuple[Device, Network, str, float] | None:
    method, dataset, architecture = (str(record.get(name)) for name in ("method", "dataset", "architecture"))
    is_trained = method == TRAINING or (method in registry.methods and registry.methods[method].stage == "train")
    if not is_trained and method not in registry.methods:
        return None
    if dataset not in registry.datasets:
        dataset = full_dataset(dataset)  # whose images have the same size
    if dataset not in registry.datasets or architecture not in registry.architectures:
        return None
    seconds = record.get("training_seconds" if is_trained else "unlearn_seconds")
    if not all(map(_is_known, (seconds, *map(record.get, _FACTS)))) or not seconds:
        return None
    settings = ArchitectureSettings(
        name=architecture, filters=float(record["filters"]), arguments=record.get("architecture_arguments")
    )
    network = Network.of(registry, dataset, settings)
    passes = int(record["forward_examples"]), int(record["backward_examples"])
    work = Work(network, TRAINING if is_trained else method, record["precision"], *passes)
    device = Device(record["device"], record["precision"], int(record["threads"]))
    return device, network, work.method, work.multiply_adds / seconds


def _is_known(value: Any) -> bool:
    """Whether a Record has the value: a table of Records has NaN where one lacks a column of another."""
    return value is not None and value == value
