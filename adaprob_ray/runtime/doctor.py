"""Whether a sweep can run here: one probe on each node of a cluster, or on this machine, and what the checks say of it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaprob_ray.errors import InputError, StoreError
from adaprob_ray.runtime import node_probe
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.runtime.doctor_checks import MACHINE_CHECKS, run_checks
from adaprob_ray.runtime.machine_resources import allotted_cpus
from adaprob_ray.runtime.ray_environment import OBJECT_STORE_BYTES
from adaprob_ray.runtime.survey import Finding, Machine, Survey
from adaprob_ray.store.names import is_uri
from adaprob_ray.store.objects import Objects
from adaprob_ray.sweep.registry import DatasetEntry, Registry
from adaprob_ray.user_code.folders import looked_in
from adaprob_ray.user_code.source import is_path, loaded_sources

if TYPE_CHECKING:
    from adaprob_ray.runtime.cell_runner import RunConfig
    from adaprob_ray.runtime.cluster_capacity import NodeType

# Longer than the store's own limit on retries, so that a store that does not answer is reported as such.
PROBE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the unfinished cells of a sweep need.

    datasets: that they read, by name.
    requests: for each stage, the different requests of its cells.
    bytes_to_write: by all of them.
    modules: of the user that they name by path, with their digests.
    """

    datasets: Mapping[str, DatasetEntry] = field(default_factory=dict)
    requests: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    bytes_to_write: float = 0
    modules: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, source: CellSource, registry: Registry) -> Needs:
        """The needs of the cells of `source` that are not done."""
        cells = [cell for key, cell in source.cells.items() if source.state(key) != "done"]
        names = {cell.settings.dataset.name for cell in cells if registry.stages[cell.stage].reads_dataset}
        requests: dict[str, list[Mapping[str, float]]] = {}
        for cell in cells:
            gpu = cell.resources.gpu if isinstance(cell.resources.gpu, int | float) else 1.0
            request = {"CPU": float(cell.resources.cpu), **({"GPU": float(gpu)} if gpu else {})}
            if request not in requests.setdefault(cell.stage, []):
                requests[cell.stage].append(request)
        return cls(
            # Those of the user are objects of their modules, which a node may lack; their cells verify them.
            datasets={name: registry.datasets[name] for name in sorted(names) if not is_path(name)},
            requests=requests,
            bytes_to_write=sum(registry.stages[cell.stage].artefact_bytes(cell, registry) for cell in cells),
            modules=loaded_sources(),
        )


def check_machine(location: str, data_root: Path, needs: Needs) -> list[Finding]:
    """Check this machine alone, in this process, for a run on a private local Ray; see `check_cluster`."""
    with _marker(location) as (marker, fault):
        arguments = _probe_arguments(data_root, needs, marker, None if fault else location)
        facts = node_probe.probe(**arguments, has_gpus=False)
    cards = 0 if isinstance(facts["gpus"], str) else len(facts["gpus"])
    resources = {
        "CPU": float(allotted_cpus()),
        "object_store_memory": float(OBJECT_STORE_BYTES),
        **({"GPU": float(cards)} if cards else {}),
    }
    gpu_faults = node_probe.try_gpus() if cards else None
    machine = Machine(name="this machine", resources=resources, facts=facts, gpu_faults=gpu_faults)
    return run_checks(_survey(location, data_root, needs, [machine], fault), MACHINE_CHECKS)


def check_cluster(location: str, data_root: Path, needs: Needs, node_types: Sequence[NodeType]) -> list[Finding]:
    """Check every node of the connected cluster, and what its autoscaler may add.

    Args:
        location: of the store.
        data_root: folder of the data sets.
        needs: of the unfinished cells.
        node_types: that its autoscaler may start.

    Returns:
        What was found. A node that does not answer in time is a finding too.
    """
    from adaprob_ray.runtime import cluster_probe

    with _marker(location) as (marker, fault):
        arguments = _probe_arguments(data_root, needs, marker, None if fault else location)
        machines = cluster_probe.probe_nodes(arguments, PROBE_SECONDS)
    survey = _survey(location, data_root, needs, machines, fault)
    return run_checks(replace(survey, node_types=[node_type.resources for node_type in node_types]))


def check_before_run(
    source: CellSource, run_config: RunConfig, node_types: Sequence[NodeType], warn: Callable[[str], None]
) -> None:
    """Check the connected cluster for a run; `warn` gets a line for each warning. Raises InputError on a fail."""
    needs = Needs.of(source, run_config.load_registry())
    findings = check_cluster(run_config.store, run_config.data_root, needs, node_types)
    raise_on_fail(findings)
    for finding in findings:
        if finding.status == "warn":
            warn(f"{finding.check}: {finding}")


def raise_on_fail(findings: Sequence[Finding]) -> None:
    """Raise InputError with one line for each finding that is a fail."""
    faults = [f"{finding.check}: {finding}" for finding in findings if finding.status == "fail"]
    if faults:
        raise InputError(*faults)


def _survey(
    location: str, data_root: Path, needs: Needs, machines: Sequence[Machine], store_fault: str | None
) -> Survey:
    free = None
    if not is_uri(location) and store_fault is None:
        folder = Path(location).expanduser().absolute()
        free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    return Survey(
        machines=machines,
        versions=node_probe.versions(),
        location=location,
        store_fault=store_fault,
        data_root=str(data_root),
        requests=needs.requests,
        bytes_to_write=needs.bytes_to_write,
        store_free_bytes=free,
    )


def _probe_arguments(data_root: Path, needs: Needs, marker: str, location: str | None) -> dict[str, Any]:
    return {
        "location": location,
        "marker": marker,
        "data_root": str(data_root),
        "datasets": needs.datasets,
        "modules": needs.modules,
        "folders": looked_in(),
    }


@contextmanager
def _marker(location: str) -> Iterator[tuple[str, str | None]]:
    """Put an object into the store that the nodes must see. Yields its name, and why it cannot be put, or None.

    Nothing of it stays, nor of a folder that did not exist before.
    """
    name = f"doctor-{uuid.uuid4().hex}"
    folder = None if is_uri(location) else Path(location).expanduser().absolute()
    is_new = folder is not None and not folder.exists()
    try:
        try:
            objects = Objects.open(location, create=True)
            objects.put(name, b"may be deleted")
        except (InputError, StoreError) as error:
            yield name, str(error)
            return
        try:
            yield name, None
        finally:
            with suppress(StoreError):
                objects.delete([name])
    finally:
        if is_new and folder is not None:
            with suppress(OSError):
                folder.rmdir()
