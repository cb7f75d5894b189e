"""A cluster's machines on one machine: hosts with addresses of their own, made of namespaces. See lab.sh."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")
TOOLS = ("ip", "unshare", "nsenter", "mount", "hostname", "sshd", "ssh", "ssh-keygen", "rsync", "git")
PATH = f"{Path(sys.prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
PRIVATE = ("/root", "/tmp", "/run")  # folders that each machine has for itself
PROBE = "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && ip link add lab type bridge && ip link add v type veth"
SSHD = """\
HostKey {own}/host_key
PidFile none
UsePAM no
PermitRootLogin yes
StrictModes no
Subsystem sftp internal-sftp
"""


def missing() -> str:
    """What this machine lacks for a lab; "" if nothing."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs Linux and root"
    if absent := [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]:
        return f"needs the commands {', '.join(absent)}"
    probe = subprocess.run([*UNSHARE, "sh", "-c", PROBE], capture_output=True, text=True, env={"PATH": PATH})
    return f"namespaces cannot be used here: {probe.stderr.strip()}" if probe.returncode else ""


class Lab:
    """A launcher, and hosts that it reaches over ssh. Use it as a context manager: nothing of it outlives the block.

    Args:
        folder: For the machines' files; they see it as /mnt. /mnt/shared is for what an NFS server would offer.
        environment: Variables that shells on every machine have, in addition to PATH.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self._environment = folder, environment
        self._process: subprocess.Popen[str] | None = None
        self._pid = 0

    def __enter__(self) -> Lab:
        (self.folder / "shared").mkdir(parents=True)
        shutil.copy(HERE / "lab.sh", self.folder)
        self._prepare("launcher")
        ssh = self._machine("launcher") / "root/.ssh"
        ssh.mkdir()
        (ssh / "config").write_text("StrictHostKeyChecking accept-new\nLogLevel ERROR\n")
        new_key(ssh / "id_ed25519")
        needed = {str(CHECKOUT), sys.prefix, sys.base_prefix}
        visible = [path for path in needed if path.startswith(tuple(f"{folder}/" for folder in PRIVATE))]
        self._process = subprocess.Popen(
            [*UNSHARE, str(self.folder / "lab.sh"), "launcher", str(self.folder), *visible],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": PATH},
            text=True,
            start_new_session=True,  # Ctrl-C is for the test, which then leaves the block
        )
        self._expect("ready")
        (child,) = psutil.Process(self._process.pid).children()
        self._pid = child.pid
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def start(self, name: str, address: str) -> None:
        """Start a host, and wait until it can be reached."""
        self._prepare(name)
        own = self._machine(name)
        (own / "sshd_config").write_text(SSHD.format(own=f"/mnt/machines/{name}"))
        new_key(own / "host_key")
        (own / "root/.ssh").mkdir(mode=0o700)
        shutil.copy(self._machine("launcher") / "root/.ssh/id_ed25519.pub", own / "root/.ssh/authorized_keys")
        self._command(f"start {name} {address}")
        wait_for(lambda: self.ssh(address, "true").returncode == 0, f"ssh to {name}", seconds=60)

    def kill(self, name: str) -> None:
        """End every process of a host at once."""
        self._command(f"kill {name}")

    def run(self, command: str, *, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the launcher, in root's home."""
        return subprocess.run(self._entered(command), **self._options(), capture_output=True, timeout=timeout)

    def popen(self, command: str, log: Path) -> subprocess.Popen[str]:
        """Start a shell command on the launcher; what it prints goes to `log`."""
        with log.open("w") as file:
            return subprocess.Popen(self._entered(command), **self._options(), stdout=file, stderr=subprocess.STDOUT)

    def ssh(self, address: str, command: str, *, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a host."""
        return self.run(f"ssh -o ConnectTimeout=2 {address} {shlex.quote(command)}", timeout=timeout)

    def _entered(self, command: str) -> list[str]:
        namespaces = ("--net", "--mount", "--pid", "--uts", "--ipc")
        return ["nsenter", "--target", str(self._pid), *namespaces, "bash", "--login", "-c", f"cd && {command}"]

    def _options(self) -> dict[str, Any]:
        return {
            "stdin": subprocess.DEVNULL,
            "env": {"PATH": PATH, "HOME": "/root", "USER": "root", "LANG": "C.UTF-8"},
            "cwd": "/",
            "text": True,
        }

    def _machine(self, name: str) -> Path:
        return self.folder / "machines" / name

    def _prepare(self, name: str) -> None:
        """The files of a new machine: its users, and the environment that shells have there."""
        own = self._machine(name)
        (own / "root").mkdir(parents=True)
        (own / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\nsshd:x:998:65534::/run/sshd:/bin/false\n")
        (own / "shadow").write_text("root:*:20000::::::\nsshd:*:20000::::::\n")
        variables = {"PATH": PATH, **self._environment}
        lines = [f"export {variable}={shlex.quote(value)}\n" for variable, value in variables.items()]
        (own / "root/.bashrc").write_text("".join(lines))
        (own / "root/.bash_profile").write_text(". ~/.bashrc\n")

    def _command(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        self._expect(" ".join(line.split()[:2]))

    def _expect(self, answer: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == f"{answer}\n", f"the lab answered {line!r} instead of {answer!r}"


def new_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def wait_for(condition: Callable[[], Any], what: str, *, seconds: float = 300.0) -> None:
    """Return once the condition holds; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.2)
