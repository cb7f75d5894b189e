"""Faults of the files that run one sweep as a job: on Kubernetes, under Slurm, and the image for it.

Kubernetes drops fields that it does not know, so those of a RayJob (ray.io/v1) are listed here, from the definitions and
the operator's rules of KubeRay 1.7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from file_checks import (
    UniqueKeys,
    bash_faults,
    command_line_faults,
    names,
    options_of,
    ray_start_options,
    ray_version,
    text_faults,
    unknown_keys,
)

RAYJOB_KEYS = names(
    "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint entrypointNumCpus entrypointNumGpus "
    "entrypointResources jobId managedBy metadata preRunningDeadlineSeconds rayClusterSpec runtimeEnvYAML "
    "shutdownAfterJobFinishes submissionMode submitterConfig submitterPodTemplate suspend ttlSecondsAfterFinished"
)
RAYCLUSTER_KEYS = names(
    "rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs "
    "gcsFaultToleranceOptions headServiceAnnotations managedBy suspend upgradeStrategy networkPolicy"
)
AUTOSCALER_KEYS = names(
    "version upscalingMode idleTimeoutSeconds image imagePullPolicy resources env envFrom volumeMounts securityContext"
)
HEAD_GROUP_KEYS = names("enableIngress headService ingressOptions labels rayStartParams resources serviceType template")
WORKER_GROUP_KEYS = names(
    "groupName template replicas minReplicas maxReplicas numOfHosts idleTimeoutSeconds priority scaleStrategy suspend "
    "rayStartParams resources labels"
)
POD_KEYS = names(
    "restartPolicy securityContext containers initContainers volumes serviceAccountName nodeSelector tolerations "
    "affinity imagePullSecrets priorityClassName runtimeClassName"
)
CONTAINER_KEYS = names(
    "name image imagePullPolicy command args env envFrom ports resources volumeMounts lifecycle securityContext"
)
CHOICES = {
    "submissionMode": ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    "upscalingMode": ("Default", "Aggressive", "Conservative"),
    "version": ("v1", "v2"),
    "mode": ("disabled", "token"),
}

SBATCH_OPTIONS = names(
    "job-name output open-mode nodes ntasks-per-node cpus-per-task gpus-per-node mem time requeue exclusive partition "
    "account signal"
)
SRUN_OPTIONS = frozenset({"wait", "kill-on-bad-exit", "cpus-per-task"})
SYMMETRIC_RUN_REFUSES = frozenset({"head", "node-ip-address", "port", "block", "include-dashboard"})


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
    yield from unknown_keys(spec, RAYJOB_KEYS, "spec")
    yield from unknown_keys(cluster, RAYCLUSTER_KEYS, "rayClusterSpec")
    yield from unknown_keys(cluster["headGroupSpec"], HEAD_GROUP_KEYS, "headGroupSpec")
    yield from unknown_keys(cluster.get("autoscalerOptions", {}), AUTOSCALER_KEYS, "autoscalerOptions")
    yield from unknown_keys(cluster.get("authOptions", {}), frozenset({"mode", "secretName"}), "authOptions")
    yield from _operator_faults(spec, cluster)
    yield from _job_faults(spec, cluster)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield from _group_faults(group, cluster)
    for group in cluster["workerGroupSpecs"]:
        yield from unknown_keys(group, WORKER_GROUP_KEYS, "workerGroupSpecs")
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
        if name not in ray_start_options() or not isinstance(value, str):
            yield f"rayStartParams.{name}: must be an option of `ray start`, and its value a string"
    pod = group["template"]["spec"]
    yield from unknown_keys(pod, POD_KEYS, "pod")
    if cluster["autoscalerOptions"].get("version") == "v2" and pod.get("restartPolicy") != "Never":
        yield "restartPolicy: must be Never with version 2 of the autoscaler"
    (container,) = pod["containers"]
    yield from unknown_keys(container, CONTAINER_KEYS, "container")
    if container["resources"].get("limits") != container["resources"].get("requests"):
        yield "resources: requests must equal limits"
    if not re.fullmatch(rf"\S+:{re.escape(ray_version())}-py31[123]-(cpu|cu\d{{3}})", container["image"]):
        yield f"image: the tag must be {ray_version()}-py31x-cpu or -cuXYZ, got {container['image']}"
    if {variable["name"] for variable in container["env"]} != {"ADAPROB_STORE", "ADAPROB_DATA"}:
        yield "env: must set ADAPROB_STORE and ADAPROB_DATA"
    volumes = {volume["name"] for volume in pod["volumes"]}
    if unknown := {mount["name"] for mount in container["volumeMounts"]} - volumes:
        yield f"volumeMounts: no volume is called {', '.join(sorted(unknown))}"


def slurm_faults(text: str) -> list[str]:
    """Faults of a script for sbatch, apart from those that shellcheck finds."""
    lines = text.splitlines()
    directives = [line.split()[1] for line in lines if line.startswith("#SBATCH")]
    names = [directive.removeprefix("--").partition("=")[0] for directive in directives]
    commands = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    late = [line for line in lines[commands[0] :] if line.startswith("#SBATCH")]
    script = re.sub(r"\\\n\s*", " ", text)
    (start,) = re.findall(r"^srun .* ray symmetric-run (.*?) -- ", script, re.MULTILINE) or [""]
    options = options_of(start)
    given = {option.removeprefix("--") for option in options}
    srun = {
        name for line in re.findall(r"^srun (.*?)\"\$\{isolated", script, re.MULTILINE) for name in options_of(line)
    }
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
            if name not in {"address", "min-nodes"} and name not in ray_start_options() - SYMMETRIC_RUN_REFUSES
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
