"""The cluster that `plan --cluster` describes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.runtime.packing import Capacity

# CPU cores of a node for each of its GPUs, where --cluster does not say: few nodes have less.
CPUS_PER_GPU = 8
_EXPECTED = {
    "gpus": "an integer of at least 0",
    "memory": "a number of GB greater than 0",
    "cpus": "an integer of at least 1",
}


@dataclass(frozen=True)
class SimulatedCluster:
    """One node with `gpus` cards of `memory_bytes` each (None if not known), and `cpus` cores."""

    gpus: int
    memory_bytes: int | None
    cpus: int

    @classmethod
    def parse(cls, text: str) -> SimulatedCluster:
        """The cluster that a text such as `gpus=8,memory=80,cpus=64` describes, with the memory of one card in GB.

        Raises:
            InputError: for any other text, one line for each fault.
        """
        values: dict[str, float] = {}
        faults = []
        for name, _, value in (part.partition("=") for part in text.split(",")):
            if name not in _EXPECTED:
                faults.append(f"--cluster: {unknown_name('key', name, _EXPECTED)}")
            elif name in values:
                faults.append(f"--cluster: {name}: must be given once, got {text!r}")
            elif (number := _number(name, value)) is None:
                faults.append(f"--cluster: {name}: must be {_EXPECTED[name]}, got {value!r}")
            else:
                values[name] = number
        if not faults and not values.get("gpus") and "cpus" not in values:
            faults.append(f"--cluster: must have gpus or cpus, as in gpus=8,memory=80, got {text!r}")
        if faults:
            raise InputError(*faults)
        gpus = int(values.get("gpus", 0))
        memory_bytes = int(values["memory"] * 1e9) if "memory" in values else None
        return cls(gpus, memory_bytes, int(values.get("cpus", gpus * CPUS_PER_GPU)))

    @property
    def capacity(self) -> Capacity:
        """The cluster as Ray's resources."""
        return Capacity([{"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}])

    def __str__(self) -> str:
        memory = f" of {self.memory_bytes / 1e9:g} GB" if self.memory_bytes else ""
        gpus = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}{memory}, " if self.gpus else ""
        return f"{gpus}{self.cpus} CPU core{'s' if self.cpus > 1 else ''}"


def _number(name: str, value: str) -> float | None:
    """The value of a key of --cluster; None if it cannot be one."""
    if name == "memory":
        try:
            number = float(value)
        except ValueError:
            return None
        return number if 0 < number < math.inf else None
    is_valid = value.isascii() and value.isdecimal() and (name == "gpus" or int(value) > 0)
    return int(value) if is_valid else None
