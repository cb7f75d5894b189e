"""The probe of node_probe.py on every node of the connected cluster at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from adaprob_ray.runtime import node_probe
from adaprob_ray.runtime.survey import Machine


def probe_nodes(arguments: Mapping[str, Any], seconds: float) -> list[Machine]:
    """Probe every node that is alive.

    Args:
        arguments: of `node_probe.probe`, except `has_gpus`. No data are verified on nodes without a CPU: no cell runs there.
        seconds: how long to wait for all of them together.

    Returns:
        One entry for each node, with facts or with the reason why there are none.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    hosts = Counter(node["NodeManagerHostname"] for node in nodes)
    machines, probes, gpu_probes = {}, {}, {}
    free_gpus = _free_gpus()
    for node in nodes:
        key, host, resources = node["NodeID"], node["NodeManagerHostname"], node["Resources"]
        machine = Machine(name=host if hosts[host] == 1 else f"{host}/{key[:6]}", resources=resources)
        machines[key] = machine
        datasets = arguments["datasets"] if machine.runs_cells else {}
        has_gpus = bool(resources.get("GPU"))
        probes[_task(node_probe.probe, key).remote(**{**arguments, "datasets": datasets, "has_gpus": has_gpus})] = key
        # Cards that other work holds are not tried: the task would wait for them.
        if whole := int(free_gpus.get(key, 0)):
            gpu_probes[_task(node_probe.try_gpus, key, num_gpus=whole).remote()] = key
    deadline = time.monotonic() + seconds
    for key, (value, received) in _gather(probes, deadline, seconds).items():
        if isinstance(value, str):
            machines[key] = replace(machines[key], fault=value)
        else:
            # Not the midpoint of the round trip: the task waits seconds for a process to start, the answer milliseconds.
            machines[key] = replace(machines[key], facts=value, clock_offset=value["clock"] - received)
    for key, (value, _) in _gather(gpu_probes, deadline, seconds).items():
        faults = [f"no answer from its GPUs: {value}"] if isinstance(value, str) else value
        # Other work may have taken the cards meanwhile.
        if not isinstance(value, str) or _free_gpus().get(key, 0) >= 1:
            machines[key] = replace(machines[key], gpu_faults=faults)
    return list(machines.values())


def _task(function: Any, node: str, num_gpus: int = 0) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=0, num_gpus=num_gpus, scheduling_strategy=strategy, max_retries=0)


def _free_gpus() -> dict[str, float]:
    """GPUs of each node that nothing holds, by its id."""
    available = ray._private.state.available_resources_per_node()
    return {node: resources.get("GPU", 0) for node, resources in available.items()}


def _gather(tasks: Mapping[Any, str], deadline: float, seconds: float) -> dict[str, tuple[Any, float]]:
    """What each task returned, or a line that says why it did not, and when that was known; by node."""
    results: dict[str, tuple[Any, float]] = {}
    waiting = list(tasks)
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
        received = time.time()
        for task in ready:
            try:
                results[tasks[task]] = ray.get(task), received
            except RayError as error:
                results[tasks[task]] = _reason(error), received
        if not ready:
            break
    for task in waiting:
        ray.cancel(task, force=True)
        results[tasks[task]] = f"no answer within {seconds:.0f} s", time.time()
    return results


def _reason(error: RayError) -> str:
    """The last line of an error, which in Ray's has the cause after the traceback of the remote process."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
