"""Limits of the operating system that a private local Ray needs: open files, processes and threads."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

import psutil

from adaprob_ray.errors import InputError

# Ray's processes on two CPUs have about 400 threads, and each further one about 40.
PROCESSES_NEEDED = 450
# The limit that Linux starts a session with. With 200 a run of one cell on two CPUs did its work and then never ended.
FILES_NEEDED = 1024
# Of a hard limit without end, which macOS refuses as a soft one.
FILES_ENOUGH = 10_240


def check_process_limits() -> None:
    """Raise this process's limits as far as it may. Raises InputError where Ray could not run its processes."""
    for kind, enough in ((resource.RLIMIT_NOFILE, FILES_ENOUGH), (resource.RLIMIT_NPROC, resource.RLIM_INFINITY)):
        soft, hard = resource.getrlimit(kind)
        wanted = enough if hard == resource.RLIM_INFINITY else hard
        if soft != resource.RLIM_INFINITY and (wanted == resource.RLIM_INFINITY or wanted > soft):
            with suppress(ValueError, OSError):
                resource.setrlimit(kind, (wanted, hard))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files != resource.RLIM_INFINITY and files < FILES_NEEDED:
        raise InputError(
            f"ulimit -n: must be at least {FILES_NEEDED} open files for Ray, got {files}; raise it or use --executor local"
        )
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
