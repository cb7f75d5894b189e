"""Faults of the files in cluster/, as lines of text; no line if there is none.

`ray up` has a validation of its own, which lets much through that fails later, or bills. Kubernetes drops fields that it
does not know. So what a file may contain is listed here: from Ray's schema and commands where they can be asked, and from
the definitions and the operator's rules of KubeRay 1.7 (ray.io/v1), which cannot.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import click
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts import scripts as ray_commands

CHECKOUT = Path(__file__).resolve().parents[2]
CLUSTER = CHECKOUT / "cluster"
RAY_UP_FILES = ("onprem.yaml", "aws.yaml", "gcp.yaml")
SCREEN_LINES = 66

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
GCP_NODE_KEYS = frozenset(
    "machineType disks scheduling serviceAccounts networkInterfaces guestAccelerators metadata tags labels".split()
)
GCP_DISK_KEYS = frozenset({"boot", "autoDelete", "type", "initializeParams"})
HEAD_OPTIONS = {
    "--head": None,
    "--num-cpus": "0",
    "--num-gpus": "0",
    "--dashboard-host": "127.0.0.1",
    "--autoscaling-config": "~/ray_bootstrap_config.yaml",
}

RAYJOB_KEYS = frozenset(
    "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint entrypointNumCpus entrypointNumGpus "
    "entrypointResources jobId managedBy metadata preRunningDeadlineSeconds rayClusterSpec runtimeEnvYAML "
    "shutdownAfterJobFinishes submissionMode submitterConfig submitterPodTemplate suspend ttlSecondsAfterFinished".split()
)
RAYCLUSTER_KEYS = frozenset(
    "rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs "
    "gcsFaultToleranceOptions headServiceAnnotations managedBy suspend upgradeStrategy networkPolicy".split()
)
AUTOSCALER_KEYS = frozenset(
    "version upscalingMode idleTimeoutSeconds image imagePullPolicy resources env envFrom volumeMounts "
    "securityContext".split()
)
HEAD_GROUP_KEYS = frozenset(
    "enableIngress headService ingressOptions labels rayStartParams resources serviceType template".split()
)
WORKER_GROUP_KEYS = frozenset(
    "groupName template replicas minReplicas maxReplicas numOfHosts idleTimeoutSeconds priority scaleStrategy suspend "
    "rayStartParams resources labels".split()
)
POD_KEYS = frozenset(
    "restartPolicy securityContext containers initContainers volumes serviceAccountName nodeSelector tolerations "
    "affinity imagePullSecrets priorityClassName runtimeClassName".split()
)
CONTAINER_KEYS = frozenset(
    "name image imagePullPolicy command args env envFrom ports resources volumeMounts lifecycle securityContext".split()
)
CHOICES = {
    "submissionMode": ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    "upscalingMode": ("Default", "Aggressive", "Conservative"),
    "version": ("v1", "v2"),
    "mode": ("disabled", "token"),
}

SBATCH_OPTIONS = frozenset(
    "job-name output open-mode nodes ntasks-per-node cpus-per-task gpus-per-node mem time requeue exclusive partition "
    "account signal".split()
)
SRUN_OPTIONS = frozenset({"wait", "kill-on-bad-exit", "cpus-per-task"})
SYMMETRIC_RUN_REFUSES = frozenset({"head", "node-ip-address", "port", "block", "include-dashboard"})
VARIABLES = frozenset(
    "ADAPROB_DATA ADAPROB_STORE AWS_REGION RAY_AUTH_MODE RAY_HEAD_IP RAY_TMPDIR RAY_USAGE_STATS_ENABLED "
    "RAY_API_SERVER_ADDRESS RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT RAY_enable_autoscaler_v2 SLURM_JOB_ID "
    "SLURM_JOB_NUM_NODES SLURM_CPUS_PER_TASK SKYPILOT_NODE_RANK".split()
)
SECRETS = (
    r"AKIA[0-9A-Z]{16}",
    r"PRIVATE KEY",
    r"AIza[0-9A-Za-z_-]{35}",
    r"\b[0-9a-f]{32,}\b",
    r"RAY_AUTH_TOKEN=",
    r"(?i)(secret|password|access_key)\w*\s*[:=]\s*\S",
)


class UniqueKeys(yaml.SafeLoader):
    """A loader that refuses a key written twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.YAMLError(f"written twice: {', '.join(repeated)}")
        return super().construct_mapping(node, deep)


@cache
def ray_version() -> str:
    """The version of Ray that setup.cfg pins."""
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    (version,) = re.findall(r"^ray\[default,tune\]==(\S+)$", setup["options"]["install_requires"], re.MULTILINE)
    return str(version)


def text_faults(text: str) -> Iterator[str]:
    """What no file may contain, whatever its kind."""
    for pattern in SECRETS:
        if re.search(pattern, text):
            yield f"looks like a secret: {pattern}"
    for word in ("nightly", "dev0", ":latest", "0.0.0.0"):
        if word in text:
            yield f"must not contain {word}"
    for version in re.findall(r"\b2\.\d+\.\d+\b", text):
        if version != ray_version():
            yield f"must name Ray {ray_version()}, as setup.cfg does, got {version}"
    for variable in sorted(set(re.findall(r"\b(?:ADAPROB|RAY|SLURM|SKYPILOT)_\w+", text)) - VARIABLES):
        yield f"unknown environment variable {variable}"


def screen_faults(text: str) -> Iterator[str]:
    """Whether a file can be read in one screen."""
    lines = text.splitlines()
    if len(lines) > SCREEN_LINES:
        yield f"has {len(lines)} lines, more than {SCREEN_LINES}"
    yield from (f"line {number}: longer than 128" for number, line in enumerate(lines, 1) if len(line) > 128)


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
    import jsonschema

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
    yield from _unknown(node, GCP_NODE_KEYS, "node_config")
    for disk in node.get("disks", [{}]):
        yield from _unknown(disk, GCP_DISK_KEYS, "disks")
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
    options = _options(head[1].removeprefix("RAY_enable_autoscaler_v2=0 "))
    for option, value in HEAD_OPTIONS.items():
        if option not in options or options[option] != value:
            yield f"head: must have {option}{'' if value is None else f'={value}'}"
    address = _options(worker[1]).get("--address")
    if address != f"$RAY_HEAD_IP:{options.get('--port')}":
        yield f"worker: --address must be $RAY_HEAD_IP and the port of the head, got {address}"
    for kind, command in (("head", head[1]), ("worker", worker[1])):
        for option in ("--node-ip-address", "--object-store-memory"):
            if option not in _options(command):
                yield f"{kind}: must have {option}"
        yield from (f"{kind}: {fault}" for fault in command_line_faults(command))


def _options(command: str) -> dict[str, str | None]:
    """The options of a command line in this file's style, --name=value or --name. $(...) counts as one word."""
    words = re.sub(r"\$\([^)]*\)", "$(…)", command).split()
    pairs = (word.partition("=") for word in words if word.startswith("--"))
    return {name: value if equals else None for name, equals, value in pairs}


@cache
def bash_faults(script: str) -> tuple[str, ...]:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    return (f"bash: {done.stderr.strip()}",) if done.returncode else ()


def kuberay_faults(text: str) -> list[str]:
    """Faults of a RayJob, most of which Kubernetes accepts in silence."""
    try:
        job = yaml.load(text, UniqueKeys)
        return [*text_faults(text), *_rayjob_faults(job)]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        return [f"{type(error).__name__}: {error}"]


def _rayjob_faults(job: Mapping[str, Any]) -> Iterator[str]:
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    if (job["apiVersion"], job["kind"]) != ("ray.io/v1", "RayJob") or job.keys() != {
        *("apiVersion", "kind", "metadata", "spec")
    }:
        yield "must be a RayJob of ray.io/v1"
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", job["metadata"]["name"]):
        yield "metadata.name: must be at most 47 lower-case letters, digits and hyphens"
    yield from _unknown(spec, RAYJOB_KEYS, "spec")
    yield from _unknown(cluster, RAYCLUSTER_KEYS, "rayClusterSpec")
    yield from _unknown(cluster["headGroupSpec"], HEAD_GROUP_KEYS, "headGroupSpec")
    yield from _unknown(cluster.get("autoscalerOptions", {}), AUTOSCALER_KEYS, "autoscalerOptions")
    yield from _unknown(cluster.get("authOptions", {}), frozenset({"mode", "secretName"}), "authOptions")
    yield from _operator_faults(spec, cluster)
    yield from _job_faults(spec, cluster)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield from _group_faults(group, cluster)
    for group in cluster["workerGroupSpecs"]:
        yield from _unknown(group, WORKER_GROUP_KEYS, "workerGroupSpecs")
        if not 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield f"{group['groupName']}: must have minReplicas <= replicas <= maxReplicas"


def _operator_faults(spec: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[str]:
    """Rules of the operator's validation.go that concern the fields which a file of ours may have."""
    for name, choices in CHOICES.items():
        for place in (spec, cluster.get("autoscalerOptions", {}), cluster.get("authOptions", {})):
            if name in place and place[name] not in choices:
                yield f"{name}: must be one of {', '.join(choices)}, got {place[name]}"
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not spec.get("shutdownAfterJobFinishes"):
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield "suspend needs shutdownAfterJobFinishes"
    if spec.get("backoffLimit", 0) > 0 and (
        "clusterSelector" in spec or spec.get("submissionMode") == "InteractiveMode"
    ):
        yield "backoffLimit is not for clusterSelector or InteractiveMode"
    if "deletionRules" in spec.get("deletionStrategy", {}) and (
        spec.get("shutdownAfterJobFinishes") or spec.get("ttlSecondsAfterFinished")
    ):
        yield "deletionStrategy excludes shutdownAfterJobFinishes and ttlSecondsAfterFinished"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        if group.get("resources") and group["rayStartParams"].keys() & {"num-cpus", "num-gpus", "memory", "resources"}:
            yield "resources and rayStartParams: only one may give the resources of a group"
        if "labels" in group["rayStartParams"]:
            yield "rayStartParams.labels is refused"


def _job_faults(spec: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[str]:
    """What this project wants of the job."""
    if spec.get("submissionMode") != "HTTPMode":
        yield "submissionMode: must be HTTPMode: others take a broken log stream for the end of the job"
    for name in ("backoffLimit", "activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if not isinstance(spec.get(name), int) or spec[name] <= 0:
            yield f"{name}: must be a positive integer"
    if not spec.get("shutdownAfterJobFinishes"):
        yield "shutdownAfterJobFinishes: must be true"
    if cluster.get("authOptions", {}).get("mode") != "token":
        yield "authOptions.mode: must be token"
    if cluster.get("rayVersion") != ray_version():
        yield f'rayVersion: must be "{ray_version()}"'
    if cluster.get("enableInTreeAutoscaling") is not True or not cluster["autoscalerOptions"].get("idleTimeoutSeconds"):
        yield "enableInTreeAutoscaling and idleTimeoutSeconds: idle pods must go"
    if cluster["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
        yield 'headGroupSpec: must have num-cpus: "0": the head runs the driver'
    yield from command_line_faults(spec["entrypoint"])
    if "adaprob-ray run " not in spec["entrypoint"] or "adaprob-ray data prepare " not in spec["entrypoint"]:
        yield "entrypoint: must prepare the data and run a sweep"


def _group_faults(group: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[str]:
    for name, value in group["rayStartParams"].items():
        if name not in _ray_start_options() or not isinstance(value, str):
            yield f"rayStartParams.{name}: must be an option of `ray start`, and its value a string"
    pod = group["template"]["spec"]
    yield from _unknown(pod, POD_KEYS, "pod")
    if cluster["autoscalerOptions"].get("version") == "v2" and pod.get("restartPolicy") != "Never":
        yield "restartPolicy: must be Never with version 2 of the autoscaler"
    (container,) = pod["containers"]
    yield from _unknown(container, CONTAINER_KEYS, "container")
    if container["resources"].get("limits") != container["resources"].get("requests"):
        yield "resources: requests must equal limits"
    if not re.fullmatch(rf"\S+:{re.escape(ray_version())}-py31[123]-(cpu|cu\d{{3}})", container["image"]):
        yield f"image: the tag must be {ray_version()}-py31x-cpu or -cuXYZ, got {container['image']}"
    if {variable["name"] for variable in container["env"]} != {"ADAPROB_STORE", "ADAPROB_DATA"}:
        yield "env: must set ADAPROB_STORE and ADAPROB_DATA"
    volumes = {volume["name"] for volume in pod["volumes"]}
    if unknown := {mount["name"] for mount in container["volumeMounts"]} - volumes:
        yield f"volumeMounts: no volume is called {', '.join(sorted(unknown))}"


def _ray_start_options() -> frozenset[str]:
    options = (option for parameter in ray_commands.start.params for option in parameter.opts)
    return frozenset(option.removeprefix("--") for option in options)


def slurm_faults(text: str) -> list[str]:
    """Faults of a script for sbatch, apart from those that shellcheck finds."""
    lines = text.splitlines()
    directives = [line.split()[1] for line in lines if line.startswith("#SBATCH")]
    names = [directive.removeprefix("--").partition("=")[0] for directive in directives]
    commands = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    late = [line for line in lines[commands[0] :] if line.startswith("#SBATCH")]
    script = re.sub(r"\\\n\s*", " ", text)
    (start,) = re.findall(r"^srun .* ray symmetric-run (.*?) -- ", script, re.MULTILINE) or [""]
    options = _options(start)
    given = {option.removeprefix("--") for option in options}
    srun = {name for line in re.findall(r"^srun (.*?)\"\$\{isolated", script, re.MULTILINE) for name in _options(line)}
    return [
        *text_faults(text),
        *bash_faults(text),
        *(f"#SBATCH --{name}: unknown to this check" for name in sorted(set(names) - SBATCH_OPTIONS)),
        *(f"{line}: Slurm ignores it after the first command" for line in late),
        *(
            f"srun {name}: unknown to this check"
            for name in sorted(srun)
            if name.removeprefix("--") not in SRUN_OPTIONS
        ),
        *(["must call ray symmetric-run"] if not start else []),
        *(
            f"#SBATCH --{name}: is missing"
            for name in ("nodes", "ntasks-per-node=1", "time")
            if f"--{name}" not in text
        ),
        *(
            f"symmetric-run --{name}: unknown or refused"
            for name in sorted(given)
            if name not in {"address", "min-nodes"} and name not in _ray_start_options() - SYMMETRIC_RUN_REFUSES
        ),
        *(
            f"symmetric-run: must have --{name}"
            for name in ("address", "min-nodes", "num-cpus", "object-store-memory", "ray-client-server-port")
            if name not in given
        ),
        *(
            ["symmetric-run: must have --dashboard-host=127.0.0.1"]
            if options.get("--dashboard-host") != "127.0.0.1"
            else []
        ),
        *(
            f"must contain {needed}"
            for needed in (
                "RAY_AUTH_MODE=token",
                "RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID",
                "SLURM_JOB_ID %",
                "ADAPROB_STORE=SHARED/",
                "ADAPROB_DATA=SHARED/",
                "RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=",
            )
            if needed not in text
        ),
        *command_line_faults(script),
    ]


def dockerfile_faults(text: str) -> list[str]:
    """Faults of the Dockerfile."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    instructions = [line.split(maxsplit=1) for line in lines]
    known = {"ARG", "FROM", "RUN", "COPY", "ENV"}
    copied = {word for verb, rest in instructions if verb == "COPY" for word in rest.split()[1:-1]}
    bases = [rest for verb, rest in instructions if verb == "FROM"]
    return [
        *text_faults(text),
        *(f"{verb}: unknown to this check" for verb, _ in instructions if verb not in known),
        *([] if bases == [f"rayproject/ray:{ray_version()}-py311-${{PLATFORM}}"] else [f"FROM: got {bases}"]),
        *([] if lines[0] == "ARG PLATFORM=cpu" else ["must begin with ARG PLATFORM=cpu"]),
        *([] if lines.count("ARG PLATFORM") == 1 else ["ARG PLATFORM: must be repeated after FROM to be seen there"]),
        *([] if copied == {"dist/*.whl", "sweeps"} else [f"COPY: must copy the wheel and the sweeps, got {copied}"]),
        *([] if f"'ray[default,tune]=={ray_version()}' /home/ray/dist/*.whl" in text else ["must install the wheel"]),
        *(fault for verb, rest in instructions if verb == "RUN" for fault in bash_faults(rest)),
    ]


def command_line_faults(text: str) -> Iterator[str]:
    """Unknown commands and options of `ray` and `adaprob-ray` in a text, wherever they are called in it."""
    from adaprob_ray.cli import commands

    programs: dict[str, click.Command] = {"ray": ray_commands.cli, "adaprob-ray": commands}
    plain = re.sub(r"\$\([^)]*\)", "$(…)", text)
    for match in re.finditer(r"(?<![\w.~\[-])(adaprob-ray|ray)(?= +[a-z-])(?=([^\n`&|;>]*))", plain):
        yield from _call_faults(programs[match[1]], match[1], _words(match[2].removeprefix(match[1])))


def _words(arguments: str) -> list[str]:
    """The words of a command line. One that began inside a quotation ends with it."""
    words = arguments.split("  #")[0]
    with contextlib.suppress(ValueError):
        return shlex.split(words)
    return words.replace('"', " ").split("'")[0].split()


def _call_faults(command: click.Command, name: str, words: list[str]) -> Iterator[str]:
    context = click.Context(command)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0] not in command.list_commands(context):
            yield f"{name}: has no command {words[0]}"
            return
        found = command.get_command(context, words[0])
        assert found is not None
        command, name, words = found, f"{name} {words[0]}", words[1:]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word == "--":
            return
        if word.startswith("-") and word.partition("=")[0] not in options | {"--help"} and name != "ray symmetric-run":
            yield f"{name}: has no option {word}"


def _unknown(mapping: Mapping[str, Any], known: frozenset[str], place: str) -> Iterator[str]:
    for key in sorted(mapping.keys() - known):
        yield f"{place}.{key}: unknown"
