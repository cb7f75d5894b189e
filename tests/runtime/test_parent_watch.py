"""A worker process ends with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

WORKER = """
import sys, time
from adaprob_ray.runtime.parent_watch import exit_with_parent
exit_with_parent(0.05)
print("started", flush=True)
time.sleep(120)
"""
# Starts the worker and passes its output on, as a raylet would; then waits to be killed.
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.mark.skipif(os.name != "posix", reason="orphans are adopted by init on POSIX systems only")
def test_a_worker_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, WORKER], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    parent.send_signal(signal.SIGKILL)
    # The pipe is closed when the last process that writes to it has ended: well before the worker would end by itself.
    assert parent.communicate(timeout=60)[0] == ""
