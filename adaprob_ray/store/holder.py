"""The process that holds an attempt, and whether it is certainly dead.

A process is identified by its host's name, boot and pid namespace (two containers may share a host name), its pid,
and the time it started (pids are reused).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from adaprob_ray.store.objects import timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who began an attempt. `host`, `boot`, `pid` and `pid_started` identify the process; the others are for people.

    `gpu`: how many GPUs were granted, None in leases of versions that did not say. `gpu_id`: index or UUID of the card.
    """

    owner: str = ""
    run: str = ""
    host: str = ""
    boot: str = ""
    pid: int | None = None
    pid_started: float | None = None
    at: str = ""
    gpu: float | None = None
    gpu_id: str = ""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Holder:
        """The holder that a lease names; an entry that the lease lacks keeps its default."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in names})


def this_process(owner: str = "", run: str = "", gpu: float | None = None) -> Holder:
    """This process as the holder of an attempt that begins now. A cell uses the first of the cards that are visible."""
    return Holder(
        owner=owner,
        run=run,
        host=socket.gethostname(),
        boot=_boot(),
        pid=os.getpid(),
        pid_started=process_started(os.getpid()),
        at=timestamp(),
        gpu=gpu,
        gpu_id=(os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0] or "0") if gpu else "",
    )


def is_dead(holder: Holder) -> bool:
    """Whether `holder` is certainly dead: a process of this boot and pid namespace that no longer exists.

    False for a process on another host and for an incomplete holder: only missing heartbeats can tell there.
    """
    boot = _boot()
    if not boot or (holder.host, holder.boot) != (socket.gethostname(), boot):
        return False
    if not isinstance(holder.pid, int) or holder.pid_started is None:
        return False
    return process_started(holder.pid) != holder.pid_started


def process_started(pid: int) -> float | None:
    """When process `pid` of this host started, in its system's unit; None if there is no such live process.

    Linux: clock ticks since boot, read directly, because psutil adds a boot time that moves when the clock is set.
    Other systems: seconds since 1970. A zombie counts as dead.
    """
    if Path("/proc/self/stat").exists():
        try:
            status = Path(f"/proc/{pid}/stat").read_text(errors="replace", encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return None if status[0] in "ZX" else float(status[19])
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _boot() -> str:
    """Boot id and pid namespace; empty where the system does not tell, and then no holder is judged by its pid."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text(encoding='utf-8').strip()}:{namespace}"
    except OSError:
        return "" if Path("/proc/self").exists() else f"{psutil.boot_time():.0f}"
