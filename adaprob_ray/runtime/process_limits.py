"""Limits of the operating system that a private local Ray needs: open files, processes and threads."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

import psutil

from adaprob_ray.errors import InputError

# Ray's processes on two CPUs have about 400 threads, and each further one about 40.
PROCESSES_NEEDED = 450


def check_process_limits() -> None:
    """Raise this process's limits as far as it may. Raises InputError where Ray could not start its processes."""
    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC):
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (resource.getrlimit(kind)[1],) * 2)
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit == resource.RLIM_INFINITY or os.geteuid() == 0:  # the limit does not hold for root
        return
    in_use = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            in_use += process.num_threads() if process.uids().real == os.getuid() else 0
    if limit - in_use < PROCESSES_NEEDED:
        raise InputError(
            f"ulimit -u: must leave {PROCESSES_NEEDED} processes and threads for Ray, got a limit of {limit}, of which "
            f"{in_use} are in use; raise it or use --executor local"
        )
