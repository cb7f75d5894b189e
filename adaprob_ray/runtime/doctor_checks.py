"""The checks of `adaprob-ray doctor`: each reads what is known about the machines and returns findings.

To add a check, write a function from a `Survey` to findings and add it to MACHINE_CHECKS or CLUSTER_CHECKS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adaprob_ray.runtime.packing import Capacity
from adaprob_ray.runtime.survey import Finding, Machine, Status, Survey, count_nodes, merge, redact

GIB = 2**30
# Below the first, checkpoints and logs of one run may not fit; below the second, Ray warns or stops.
LOW_DISK_BYTES, FULL_DISK_BYTES = 5 * GIB, GIB
# Nothing is decided by a clock, but S3 refuses requests that are a quarter of an hour off, and logs cannot be compared.
CLOCK_SECONDS = 5.0

INSTALL = "install the same wheel and the same Python on every node"
UNREACHABLE = "look at `ray status` and at Ray's logs on that node (/tmp/ray/session_latest/logs), or stop Ray there"


def check_nodes(survey: Survey) -> list[Finding]:
    """Every node answers."""
    if not survey.machines:
        return [Finding(status="fail", check="nodes", where="cluster", message="no node is alive", remedy="start one")]
    return [
        Finding(status="ok", check="nodes", where=machine.name, message="a task ran there")
        if machine.facts is not None
        else Finding(
            status="fail",
            check="nodes",
            where=machine.name,
            message=machine.fault,
            # What is not installed there, or an earlier version of this package, cannot be imported.
            remedy=INSTALL if "ModuleNotFoundError" in machine.fault or "ImportError" in machine.fault else UNREACHABLE,
        )
        for machine in survey.machines
    ]


def check_versions(survey: Survey) -> list[Finding]:
    """Python, ray, torch, numpy, adaprob_ray and its source are those of the driver."""
    findings = []
    for machine, facts in survey.answering:
        installed = facts["versions"]
        differing = [name for name, version in survey.versions.items() if installed.get(name) != version]
        if differing:
            message = ", ".join(f"{name} {installed.get(name)} (here {survey.versions[name]})" for name in differing)
            findings.append(
                Finding(status="fail", check="versions", where=machine.name, message=message, remedy=INSTALL)
            )
        else:
            message = ", ".join(f"{name} {version}" for name, version in installed.items())
            findings.append(Finding(status="ok", check="versions", where=machine.name, message=message))
    return findings


def check_store(survey: Survey) -> list[Finding]:
    """Every node creates, reads and deletes in the store, and it is the same store everywhere."""
    if survey.location is None:
        return []
    if survey.store_fault is not None:
        remedy = "check --store, the permissions there and, for a URI, its credentials and endpoint"
        return [
            Finding(status="fail", check="store", where="driver", message=survey.store_fault, remedy=remedy),
        ]
    findings = [_store_finding(machine, facts["store"], survey.location) for machine, facts in survey.answering]
    free, needed = survey.store_free_bytes, survey.bytes_to_write
    if free is not None and free < needed:
        message = (
            f"{free / GIB:.1f} GiB free in {survey.location}, and the unfinished cells write {needed / GIB:.1f} GiB"
        )
        remedy = "make room, or use another --store"
        findings.append(Finding(status="fail", check="store", where="driver", message=message, remedy=remedy))
    return findings


def _store_finding(machine: Machine, result: Mapping[str, Any], location: str) -> Finding:
    finding = Finding(status="fail", check="store", where=machine.name, message="")
    if result["fault"] is not None:
        remedy = "give that node the permissions, credentials and endpoint (AWS_*) that the driver has"
        return replace(finding, message=result["fault"], remedy=remedy)
    if not result["sees_marker"]:
        message = f"does not see what the driver wrote in {location}: is it a shared file system?"
        return replace(
            finding, message=message, remedy="mount one shared folder at that path on every node, or use s3://"
        )
    if not result["creates_once"]:
        message = f"{location} replaces an object that must be created only if absent, so two runs could execute the same cell"
        return replace(finding, message=message, remedy="use a storage service that honours If-None-Match, or a folder")
    return replace(finding, status="ok", message=f"create, read and delete in {location}")


def check_data(survey: Survey) -> list[Finding]:
    """The data sets of unfinished cells are on every node that runs cells."""
    findings = []
    for machine, facts in survey.answering:
        faults = [fault for fault in facts["data"].values() if fault is not None]
        for fault in faults:
            names = " ".join(name for name, value in facts["data"].items() if value == fault)
            remedy = (
                f"on that node: ADAPROB_DATA={survey.data_root} adaprob-ray data prepare {names}; or mount that folder"
            )
            findings.append(Finding(status="fail", check="data", where=machine.name, message=fault, remedy=remedy))
        if facts["data"] and not faults:
            message = f"{', '.join(facts['data'])} verified in {survey.data_root}"
            findings.append(Finding(status="ok", check="data", where=machine.name, message=message))
    return list(dict.fromkeys(findings))


def check_modules(survey: Survey) -> list[Finding]:
    """The modules that a sweep file names by path can be imported on every node, and are those of the driver."""
    findings = []
    for machine, facts in survey.answering:
        faults = [fault for fault in facts["modules"].values() if fault is not None]
        remedy = "install the package on every node in the version that is here, with what it imports"
        findings += [
            Finding(status="fail", check="modules", where=machine.name, message=fault, remedy=remedy)
            for fault in faults
        ]
        if facts["modules"] and not faults:
            message = f"{', '.join(facts['modules'])} imported"
            findings.append(Finding(status="ok", check="modules", where=machine.name, message=message))
    return findings


def check_gpus(survey: Survey) -> list[Finding]:
    """PyTorch sees and can use the cards that Ray counts. A fault is only a warning for cells that ask for none."""
    needs_gpu = any(request.get("GPU") for requests in survey.requests.values() for request in requests)
    bad: Status = "fail" if needs_gpu or not survey.requests else "warn"
    findings = []
    for machine, facts in survey.answering:
        cards, counted = facts["gpus"], machine.resources.get("GPU", 0)
        finding = Finding(status="ok", check="gpus", where=machine.name, message="none")
        if isinstance(cards, str):
            if counted:
                remedy = "repair the driver or install a torch build for it, or start Ray there with --num-gpus=0"
                finding = replace(finding, status=bad, message=f"Ray counts {counted:g}, but {cards}", remedy=remedy)
        elif len(cards) < counted:
            remedy = f"start Ray there with --num-gpus={len(cards)}"
            message = f"Ray counts {counted:g}, PyTorch sees {len(cards)}"
            finding = replace(finding, status=bad, message=message, remedy=remedy)
        elif machine.gpu_faults:
            remedy = (
                "look at nvidia-smi on that node; take a broken card out with CUDA_VISIBLE_DEVICES before `ray start`"
            )
            finding = replace(finding, status=bad, message="; ".join(machine.gpu_faults), remedy=remedy)
        elif len(cards) > counted:
            remedy = f"start Ray there with --num-gpus={len(cards)} if they may be used"
            message = f"Ray counts {counted:g}, PyTorch sees {len(cards)}"
            finding = replace(finding, status="warn", message=message, remedy=remedy)
        elif cards:
            tried = "computed on" if machine.gpu_faults is not None else "in use by others, not tried"
            kinds = dict.fromkeys(f"{card['name']} {card['bytes'] / GIB:.0f} GiB" for card in cards)
            finding = replace(finding, message=f"{len(cards)} x {', '.join(kinds)}, {tried}")
        findings.append(finding)
    return findings


def check_shared_memory(survey: Survey) -> list[Finding]:
    """/dev/shm holds Ray's object store."""
    findings = []
    for machine, facts in survey.answering:
        size, store = facts["shared_memory_bytes"], machine.resources.get("object_store_memory", 0)
        finding = Finding(status="ok", check="shm", where=machine.name, message="")
        if size is None:
            findings.append(replace(finding, message="no /dev/shm here; Ray uses the temporary folder"))
        elif size < store:
            message = (
                f"/dev/shm has {size / GIB:.2f} GiB, Ray's object store {store / GIB:.2f} GiB: it is on disk, and slow"
            )
            remedy = "docker run --shm-size, an emptyDir of medium Memory, or ray start --object-store-memory=100000000"
            findings.append(replace(finding, status="warn", message=message, remedy=remedy))
        else:
            findings.append(replace(finding, message="/dev/shm holds Ray's object store"))
    return findings


def check_disk(survey: Survey) -> list[Finding]:
    """The temporary folder can be written and has room."""
    findings = []
    for machine, facts in survey.answering:
        folder, free = facts["temp"], facts["temp_free_bytes"]
        finding = Finding(status="ok", check="disk", where=machine.name, message=f"room in {folder}")
        remedy = "make room there, or point TMPDIR to another disk before `ray start`"
        if facts["temp_fault"] is not None:
            message = f"temporary folder {folder} cannot be written: {facts['temp_fault']}"
            finding = replace(finding, status="fail", message=message, remedy=remedy)
        elif free < LOW_DISK_BYTES:
            status: Status = "fail" if free < FULL_DISK_BYTES else "warn"
            message = f"temporary folder {folder} has {free / GIB:.1f} GiB free"
            finding = replace(finding, status=status, message=message, remedy=remedy)
        findings.append(finding)
    return findings


def check_clocks(survey: Survey) -> list[Finding]:
    """Clocks agree with the driver's."""
    answering = [machine for machine, _ in survey.answering]
    off = [machine for machine in answering if abs(machine.clock_offset) > CLOCK_SECONDS]
    findings = [
        Finding(
            status="warn",
            check="clocks",
            where=machine.name,
            message=f"{abs(machine.clock_offset):.0f} s {'ahead of' if machine.clock_offset > 0 else 'behind'} the driver",
            remedy="synchronize it (chrony or NTP): S3 refuses clocks that are 15 minutes off, and times in logs mislead",
        )
        for machine in off
    ]
    if len(off) < len(answering):
        largest = max(abs(machine.clock_offset) for machine in answering if machine not in off)
        where = count_nodes(len(answering) - len(off))
        findings.append(
            Finding(status="ok", check="clocks", where=where, message=f"within {largest:.2f} s of the driver")
        )
    return findings


def check_resources(survey: Survey) -> list[Finding]:
    """Every request of an unfinished cell fits one node, or one node of a type that an autoscaler may start."""
    capacity = Capacity([machine.resources for machine in survey.machines], survey.node_types)
    findings = []
    for stage, requests in survey.requests.items():
        for request in requests:
            finding = Finding(status="ok", check="resources", where=stage, message="")
            if request.get("GPU") and not capacity.has_gpus:
                message = "asks for a GPU, and there is none: its cells run on CPU cores"
                remedy = "add nodes with GPUs, unless that is intended"
                findings.append(replace(finding, status="warn", message=message, remedy=remedy))
                request = {name: amount for name, amount in request.items() if name != "GPU"}
            findings.append(_resources_finding(finding, request, capacity))
    return findings


def _resources_finding(finding: Finding, request: Mapping[str, float], capacity: Capacity) -> Finding:
    amounts = ", ".join(f"{name.lower()} {amount:g}" for name, amount in request.items())
    if Capacity(capacity.nodes).fits(request):
        return replace(finding, message=f"{amounts} fits a node")
    if capacity.fits(request):
        return replace(
            finding, message=f"{amounts} fits no current node, but fits a node type that the autoscaler may start"
        )
    offers = [*capacity.nodes, *capacity.startable]
    most = ", ".join(f"{name.lower()} {max((offer.get(name, 0) for offer in offers), default=0):g}" for name in request)
    message = f"{amounts} fits no node and no type of node that an autoscaler may start (the most of one: {most})"
    remedy = (
        "if nodes are still joining (see `ray status`), wait for them; else add a larger node, "
        "or lower `resources:` in the sweep file"
    )
    return replace(finding, status="fail", message=message, remedy=remedy)


Check = Callable[[Survey], list[Finding]]

MACHINE_CHECKS: tuple[Check, ...] = (
    check_versions,
    check_store,
    check_data,
    check_modules,
    check_gpus,
    check_shared_memory,
    check_disk,
    check_resources,
)
CLUSTER_CHECKS: tuple[Check, ...] = (check_nodes, *MACHINE_CHECKS, check_clocks)


def run_checks(
    survey: Survey, checks: Sequence[Check] = CLUSTER_CHECKS, secrets: Mapping[str, str] = os.environ
) -> list[Finding]:
    """All findings, those that say the same of several nodes as one, without credentials."""
    findings = [finding for check in checks for finding in merge(check(survey))]
    return [replace(f, message=redact(f.message, secrets), remedy=redact(f.remedy, secrets)) for f in findings]
