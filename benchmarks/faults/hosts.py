"""Hosts of a Ray cluster on one machine: a pid, mount and UTS namespace and an address of its own for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

PORT = 6379
OBJECT_STORE_BYTES = 100_000_000
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--mount", "--kill-child")
# A dead node is noticed within two seconds instead of fifteen.
HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
START_SECONDS = 60.0


class Host:
    """One host, which runs `ray start` as long as it lives.

    Args:
        folder: For its log and, on the head, for Ray's files.
        name: Its host name; "head" starts the cluster.
        number: The last part of its address, 127.0.0.number.
        variables: Environment variables besides those of this process.
    """

    def __init__(self, folder: Path, name: str, number: int, variables: Mapping[str, str]) -> None:
        address = f"127.0.0.{number}"
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
        ray += [f"--node-ip-address={address}", f"--object-store-memory={OBJECT_STORE_BYTES}"]
        if name == "head":
            ray += ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={folder / 'ray'}"]
            ray += [f"--system-config={json.dumps(HEALTH_CHECKS)}"]
        else:
            ray += [f"--address=127.0.0.1:{PORT}"]
        log = folder / f"{name}.log"
        with log.open("w", encoding="utf-8") as out:
            self._process = subprocess.Popen(
                [*NAMESPACE, "--uts", "bash", "-c", f'hostname {name} && exec "$@"', "bash", *ray],
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text(encoding="utf-8"):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"ray start failed on {name}: {log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.1)

    def raylet(self) -> psutil.Process:
        """Its raylet."""
        processes = psutil.Process(self._process.pid).children(recursive=True)
        return next(process for process in processes if process.name() == "raylet")

    def kill(self) -> None:
        """End all its processes at once: the kernel kills a pid namespace together with its first process."""
        self._process.kill()
        self._process.wait()
