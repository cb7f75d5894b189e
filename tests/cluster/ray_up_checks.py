"""Faults of the files for `ray up`, whose own validation lets much through that fails later, or bills."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
import botocore.validate
import click
import jsonschema
import yaml
from file_checks import (
    UniqueKeys,
    bash_faults,
    command_line_faults,
    names,
    options_of,
    ray_version,
    text_faults,
    unknown_keys,
)
from ray.autoscaler._private.util import prepare_config, validate_config

# What `ray up` raises for a file that it refuses.
REFUSALS = (ValueError, TypeError, KeyError, AssertionError, RuntimeError, click.ClickException)
PROVIDER_KEYS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {  # required, and allowed in addition
    "local": (frozenset({"type", "head_ip", "worker_ips"}), frozenset({"external_head_ip"})),
    "aws": (
        frozenset({"type", "region", "cache_stopped_nodes"}),
        frozenset({"availability_zone", "use_internal_ips", "security_group", "key_pair"}),
    ),
    "gcp": (
        frozenset({"type", "project_id", "region", "availability_zone", "cache_stopped_nodes"}),
        frozenset({"use_internal_ips", "gcp_credentials"}),
    ),
}
GCP_NODE_KEYS = names(
    "machineType disks scheduling serviceAccounts networkInterfaces guestAccelerators metadata tags labels"
)
GCP_DISK_KEYS = frozenset({"boot", "autoDelete", "type", "initializeParams"})
HEAD_OPTIONS = {
    "--head": None,
    "--num-cpus": "0",
    "--num-gpus": "0",
    "--dashboard-host": "127.0.0.1",
    "--autoscaling-config": "~/ray_bootstrap_config.yaml",
}


def ray_up_faults(text: str) -> list[str]:
    """Faults of a file for `ray up`."""
    try:
        config = yaml.load(text, UniqueKeys)
        prepared = _prepared(config)
    except (yaml.YAMLError, *REFUSALS) as error:
        return [f"{type(error).__name__}: {error}"]
    commands = [
        command
        for key in ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        for command in prepared.get(f"{key}_commands", [])
    ]
    return [
        *text_faults(text),
        *text_faults("\n".join(commands)),  # those that Ray adds where the file has none
        *_top_level_faults(config),
        *_provider_faults(config["provider"]),
        *_node_type_faults(config),
        *_file_mount_faults(config.get("file_mounts", {})),
        *_command_faults(config, commands),
        *_ray_start_faults(config),
    ]


def _prepared(config: dict[str, Any]) -> dict[str, Any]:
    """The file with Ray's defaults, as `ray up` validates it."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            prepared: dict[str, Any] = prepare_config(config)
            validate_config(prepared)
    except jsonschema.ValidationError as error:
        raise ValueError(error.message) from error
    return prepared


def _top_level_faults(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("cluster_name", "default") == "default":
        yield "cluster_name: must be a name of its own: clusters of one name share their state"
    needed = {"ssh_user"} | ({"ssh_private_key"} if config["provider"]["type"] == "local" else set())
    if missing := needed - {key for key, value in (config.get("auth") or {}).items() if value}:
        yield f"auth: lacks {', '.join(sorted(missing))}"
    if not 0 < config.get("idle_timeout_minutes", 0) <= 60:
        yield "idle_timeout_minutes: must be written, and at most 60"
    if config.get("upscaling_speed", 0) < 10:
        yield "upscaling_speed: must be at least 10; Ray's 1.0 only doubles the workers in each round"


def _provider_faults(provider: Mapping[str, Any]) -> Iterator[str]:
    required, optional = PROVIDER_KEYS[provider["type"]]
    for key in sorted(required - {key for key, value in provider.items() if value is not None}):
        yield f"provider.{key}: is missing"
    for key in sorted(provider.keys() - required - optional):
        yield f"provider.{key}: unknown (known: {', '.join(sorted(required | optional))})"
    if provider.get("cache_stopped_nodes", False):
        yield "provider.cache_stopped_nodes: must be false: stopped nodes cost their disks"


def _node_type_faults(config: Mapping[str, Any]) -> Iterator[str]:
    limit = config.get("max_workers", len(config["provider"].get("worker_ips", ())))
    types = config.get("available_node_types", {})
    groups = {"workers": config} if config["provider"]["type"] == "local" else types
    for name, group in groups.items():
        lowest, highest = group.get("min_workers", 0), group.get("max_workers", limit)
        if not lowest <= highest <= limit:
            yield f"{name}: must have min_workers <= max_workers <= {limit}, got {lowest} and {highest}"
    for name, group in types.items():
        if name != config["head_node_type"] and not group["resources"].get("GPU"):
            yield f"{name}: has no GPU"
        if config["provider"]["type"] == "aws":
            yield from (f"{name}: {fault}" for fault in _ec2_faults(group["node_config"]))
        else:
            yield from (f"{name}: {fault}" for fault in _gce_faults(group["node_config"]))
    if types and types[config["head_node_type"]]["resources"].get("CPU") != 0:
        yield "the head must have CPU: 0: it runs the driver"


def _ec2_faults(node: Mapping[str, Any]) -> Iterator[str]:
    """Against the parameters of EC2's RunInstances, as boto3 knows them."""
    shape = _run_instances().input_shape
    report = botocore.validate.ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, shape)
    if report.has_errors():
        yield report.generate_report()
    yield from (f"{key}: is missing" for key in ("ImageId", "InstanceType", "IamInstanceProfile") if key not in node)


@cache
def _run_instances() -> Any:
    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances")


def _gce_faults(node: Mapping[str, Any]) -> Iterator[str]:
    yield from unknown_keys(node, GCP_NODE_KEYS, "node_config")
    for disk in node.get("disks", [{}]):
        yield from unknown_keys(disk, GCP_DISK_KEYS, "disks")
        if disk.get("initializeParams", {}).keys() != {"diskSizeGb", "sourceImage"}:
            yield "disks.initializeParams: must have diskSizeGb and sourceImage"
    if "machineType" not in node:
        yield "machineType: is missing"


def _file_mount_faults(mounts: Mapping[str, str]) -> Iterator[str]:
    expected = {"~/adaprob-wheel": "dist", "~/sweeps": "sweeps", "~/.ray/auth_token": "~/.ray/auth_token"}
    if mounts != expected:
        yield f"file_mounts: must be {expected}, got {mounts}"


def _command_faults(config: Mapping[str, Any], commands: Iterable[str]) -> Iterator[str]:
    text = "\n".join(commands)
    for command in commands:
        yield from bash_faults(command)
    if f"pip install 'ray[default,tune]=={ray_version()}' $wheel" not in text:
        yield f"setup_commands: must install ray[default,tune]=={ray_version()} and the wheel"
    if "chmod 600 ~/.ray/auth_token" not in text:
        yield "setup_commands: must keep the token from other users: chmod 600 ~/.ray/auth_token"
    if "RAY_AUTH_MODE=token" not in text:
        yield "setup_commands: must set RAY_AUTH_MODE=token"
    store = re.search(r"ADAPROB_STORE=(\S+)", text)
    if store is None or not store[1].startswith(("SHARED/", "/", "s3://", "gs://")):
        yield "setup_commands: must set ADAPROB_STORE to a place that all nodes share"
    data = re.search(r"ADAPROB_DATA=([^\s']+)", text)
    if data is None or not (data[1].startswith(("SHARED/", "/")) or "adaprob-ray data prepare" in text):
        yield "setup_commands: must prepare the data on each node, or set ADAPROB_DATA to a shared folder"
    libraries = {"local": "", "aws": "boto3", "gcp": "google-api-python-client"}
    if libraries[config["provider"]["type"]] not in " ".join(config.get("head_setup_commands", [])):
        yield f"head_setup_commands: must install {libraries[config['provider']['type']]}"


def _ray_start_faults(config: Mapping[str, Any]) -> Iterator[str]:
    head, worker = (config.get(f"{kind}_start_ray_commands", []) for kind in ("head", "worker"))
    if [len(head), len(worker)] != [2, 2] or head[0] != "ray stop" or worker[0] != "ray stop":
        yield "start commands: must be `ray stop`, and one `ray start`"
        return
    if not head[1].startswith("RAY_enable_autoscaler_v2=0 "):
        yield "head: must set RAY_enable_autoscaler_v2=0"
    options = options_of(head[1].removeprefix("RAY_enable_autoscaler_v2=0 "))
    for option, value in HEAD_OPTIONS.items():
        if option not in options or options[option] != value:
            yield f"head: must have {option}{'' if value is None else f'={value}'}"
    address = options_of(worker[1]).get("--address")
    if address != f"$RAY_HEAD_IP:{options.get('--port')}":
        yield f"worker: --address must be $RAY_HEAD_IP and the port of the head, got {address}"
    for kind, command in (("head", head[1]), ("worker", worker[1])):
        for option in ("--node-ip-address", "--object-store-memory"):
            if option not in options_of(command):
                yield f"{kind}: must have {option}"
        yield from (f"{kind}: {fault}" for fault in command_line_faults(command))
