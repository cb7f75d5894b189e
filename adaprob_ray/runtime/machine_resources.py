"""What of this machine a run may use: CPUs that are allotted to this process, GPUs, and the limits of the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.runtime.packing import Capacity

# CPUs of this node that Slurm gave to the step; without task affinity or cgroups nothing else shows them.
SLURM_CPUS = "SLURM_CPUS_ON_NODE"


@dataclass(frozen=True)
class Limits:
    """The most CPUs and GPUs that a run may use of this machine; None for all that are allotted."""

    cpus: int | None = None
    gpus: int | None = None

    def capacity(self) -> Capacity:
        """This machine as a cluster of one node, within the limits."""
        return Capacity([{"CPU": float(self.count_cpus()), "GPU": float(self.count_gpus())}])

    def count_cpus(self) -> int:
        """CPUs that the run may use."""
        allotted = allotted_cpus()
        return allotted if self.cpus is None else min(self.cpus, allotted)

    def count_gpus(self) -> int:
        """GPUs that the run may use."""
        import torch

        visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return visible if self.gpus is None else min(self.gpus, visible)


NO_LIMITS = Limits()


def allotted_cpus(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """CPUs that this process may use: the least of its affinity, its control groups' quotas and Slurm's allotment.

    Args:
        environment: of the process.
        root: where /proc and /sys are.

    Returns:
        A whole number of at least 1; a quota of one and a half CPUs is one.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    counts: list[float] = [len(affinity(0)) if affinity is not None else os.cpu_count() or 1]
    counts += cgroup_quotas(root)
    if (slurm := environment.get(SLURM_CPUS, "")).isdecimal():
        counts.append(int(slurm))
    return max(1, math.floor(min(counts)))


def cgroup_quotas(root: Path = Path("/")) -> list[float]:
    """CPUs that the control groups of this process allow, of version 1 and 2, parents included; empty without a quota."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts, read = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], _quota_of_version_2
        elif "cpu" in controllers.split(","):
            mounts, read = [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"], _quota_of_version_1
        else:
            continue
        for mount in dict.fromkeys(mounts):
            group = root / mount / path.lstrip("/")
            # In a container the path may be the host's, which is not there, and the root of the mount is the container's own.
            groups = [group, *group.parents]
            for folder in groups[: groups.index(root / mount) + 1]:
                quota = read(folder)
                if quota is not None:
                    quotas.append(quota)
    return quotas


def _quota_of_version_2(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_of_version_1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        period = int((group / "cpu.cfs_period_us").read_text(encoding="utf-8"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def check_resources(source: CellSource, capacity: Capacity, *, place: str = "one node") -> None:
    """Raise InputError for an unfinished cell that fits on no node: Ray would wait for ever.

    Args:
        source: the cells.
        capacity: of the nodes.
        place: what a cell must fit on, for the message.
    """
    nodes = (*capacity.nodes, *capacity.startable)
    owner = "the largest node" if place == "one node" else "it"
    faults = []
    for key, cell in source.cells.items():
        request = capacity.request(cell)
        if source.state(key) != "done" and not capacity.fits(request):
            largest = {name: max((node.get(name, 0) for node in nodes), default=0) for name in request}
            amounts = ", ".join(
                f"{name.lower()} {amount:g} ({owner} has {largest[name]:g})" for name, amount in request.items()
            )
            faults.append(f"resources: {cell.stage}: must fit on {place}, got {amounts}")
    if faults:
        raise InputError(*dict.fromkeys(faults))


def check_limits(source: CellSource, limits: Limits, address: str | None) -> None:
    """Before a store is created: raise InputError for a cell that asks for more of this machine than the run may use."""
    if address is None:
        check_resources(source, limits.capacity(), place="what this run may use of this machine (--cpus, --gpus)")
