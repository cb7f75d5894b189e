"""What the doctor knows of each machine, and what it reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]

SECRET_VARIABLES = ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor's report. `where`: a node, a number of nodes, or what else it is about."""

    status: Status
    check: str
    where: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f" -> {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One node of a cluster, or this machine.

    name: for messages.
    resources: as Ray counts them; `runs_cells` is derived from them.
    facts: what `node_probe.probe` returned there, None if it did not return.
    fault: why not.
    clock_offset: seconds that its clock is ahead of the driver's.
    gpu_faults: what failed on its cards, None if they were not tried.
    """

    name: str
    resources: Mapping[str, float]
    facts: Mapping[str, Any] | None = None
    fault: str = ""
    clock_offset: float = 0.0
    gpu_faults: Sequence[str] | None = None

    @property
    def runs_cells(self) -> bool:
        return self.resources.get("CPU", 0) >= 1


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the checks read.

    machines: the nodes that are alive, or this machine alone.
    versions: of the driver, as `node_probe.versions` gives them.
    location: of the store, None if no store is checked; `store_fault`: why the driver cannot use it.
    data_root: folder of the data sets.
    requests: for each stage with unfinished cells, the different requests of its cells.
    node_types: resources of each type of node that an autoscaler may start.
    bytes_to_write: by the unfinished cells; `store_free_bytes`: on the driver's file system, None for a URI.
    """

    machines: Sequence[Machine]
    versions: Mapping[str, str]
    location: str | None = None
    store_fault: str | None = None
    data_root: str = ""
    requests: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    node_types: Sequence[Mapping[str, float]] = ()
    bytes_to_write: float = 0
    store_free_bytes: int | None = None

    @property
    def answering(self) -> list[tuple[Machine, Mapping[str, Any]]]:
        return [(machine, machine.facts) for machine in self.machines if machine.facts is not None]


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for all that differ only in `where`."""
    places: dict[Finding, list[str]] = {}
    for finding in findings:
        places.setdefault(replace(finding, where=""), []).append(finding.where)
    merged = []
    for finding, names in places.items():
        several = (
            count_nodes(len(names)) if finding.status == "ok" and finding.check != "resources" else ", ".join(names)
        )
        merged.append(replace(finding, where=names[0] if len(names) == 1 else several))
    return merged


def count_nodes(count: int) -> str:
    """`count` nodes, in words."""
    return "1 node" if count == 1 else f"{count} nodes"


def redact(text: str, secrets: Mapping[str, str]) -> str:
    """`text` without user names, passwords and queries of URIs, and without the values of secret variables."""
    for name in SECRET_VARIABLES:
        if value := secrets.get(name):
            text = text.replace(value, "***")
    return re.sub(r"(\w+://[^\s?#]*)\?\S*", r"\1?***", re.sub(r"(\w+://)[^/@\s]+@", r"\1***@", text))
