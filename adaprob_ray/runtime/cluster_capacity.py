"""What the autoscaler of a cluster may start: the types of node that its configuration lists.

Ray 2.60 has no public call for it. `ClusterConfig` in the cluster's key-value store is read first, but no autoscaler of the
open-source Ray writes it. The configuration itself is on the head node: a file named in the command line of Ray's monitor
(`ray up`), or the RayCluster resource in Kubernetes (KubeRay).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from adaprob_ray.errors import InputError

# Ray gives this resource to the head node and to no other.
HEAD_RESOURCE = "node:__internal_head__"
# A worker process starts within seconds, on a busy head within a minute. Without an answer nothing starts: cells that ask for a
# GPU would run on CPUs if the GPU nodes are not there yet.
TIMEOUT_SECONDS = 120.0
# Where Kubernetes mounts the name of a pod's namespace.
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class NodeType:
    """A type of node that the autoscaler may start: its resources, and at most how many, None for no limit."""

    resources: Mapping[str, float]
    max_count: int | None


def node_types() -> list[NodeType]:
    """The types of node that the autoscaler of the connected cluster may start.

    Returns:
        One entry for each type; empty for a cluster without an autoscaler, and where its configuration cannot be read. Types
        without resources, as of `ray up` on a list of hosts, are left out: no request makes the autoscaler start one.

    Raises:
        InputError: If the head node does not answer.
    """
    if types := _reported_node_types():
        return types
    head = next((node["NodeID"] for node in ray.nodes() if node["Alive"] and HEAD_RESOURCE in node["Resources"]), None)
    if head is None:
        return []
    strategy = NodeAffinitySchedulingStrategy(head, soft=False)
    config = ray.remote(autoscaling_config).options(num_cpus=0, scheduling_strategy=strategy, max_retries=0).remote()
    try:
        return node_types_of(ray.get(config, timeout=TIMEOUT_SECONDS))
    except GetTimeoutError as error:
        ray.cancel(config, force=True)
        message = f"the head node did not say within {TIMEOUT_SECONDS:.0f} s what its autoscaler may start; try again"
        raise InputError(message) from error
    except RayError:
        return []


def node_types_of(config: Mapping[str, Any] | None) -> list[NodeType]:
    """The node types of an autoscaling configuration as `ray up` takes it, without that of the head node."""
    if config is None:
        return []
    limit = config.get("max_workers")
    types = []
    for name, node_type in (config.get("available_node_types") or {}).items():
        counts = [count for count in (node_type.get("max_workers"), limit) if count is not None]
        resources = {key: float(amount) for key, amount in (node_type.get("resources") or {}).items()}
        count = min(counts, default=None)
        if name != config.get("head_node_type") and resources and count != 0:
            types.append(NodeType(resources, count))
    return types


def _reported_node_types() -> list[NodeType]:
    config = ray._private.state.state.get_cluster_config()
    if config is None:
        return []
    return [
        NodeType(
            {key: float(amount) for key, amount in group.resources.items()},
            None if group.max_count == -1 else group.max_count,
        )
        for group in config.node_group_configs
        if group.resources and group.max_count != 0
    ]


def autoscaling_config() -> dict[str, Any] | None:
    """The configuration of the autoscaler, for a task on the head node; None where there is none."""
    return _config_of_monitor(ray.get_runtime_context().gcs_address) or _config_of_kuberay()


def _config_of_monitor(gcs_address: str) -> dict[str, Any] | None:
    """From the file that the cluster's own monitor was started with: a machine may run several clusters."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        options = dict(
            word.removeprefix("--").split("=", 1) for word in command if word.startswith("--") and "=" in word
        )
        if options.get("gcs-address") == gcs_address and "autoscaling-config" in options:
            path = Path(process.cwd()) / Path(options["autoscaling-config"]).expanduser()
            config: dict[str, Any] | None = yaml.safe_load(path.read_text(encoding="utf-8"))
            return config
    return None


def _config_of_kuberay() -> dict[str, Any] | None:
    """From the RayCluster resource, with the service account of the pod, as the autoscaler reads it in the same pod."""
    cluster = os.environ.get("RAY_CLUSTER_NAME")
    if cluster is None or not NAMESPACE_FILE.exists():
        return None
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    resource = KubernetesHttpApiClient(NAMESPACE_FILE.read_text(encoding="utf-8").strip()).get(f"rayclusters/{cluster}")
    if not resource["spec"].get("enableInTreeAutoscaling"):
        return None
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(resource)
    return config
