"""The faults: how each is injected, and why a cell may have been started twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adaprob_ray.store.names import WEIGHTS
from benchmarks.faults.experiment import Experiment
from benchmarks.faults.hosts import NAMESPACE, PORT, Host
from benchmarks.faults.proxy import FaultyS3

CUT_SECONDS = 40.0
CLOCK_STEP_SECONDS = 3600
# Longer than two heartbeats, so that other processes see what the stepped clock does to them.
CLOCK_HOLD_SECONDS = 12.0
UNLEARN = "unlearn-*"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row of the table.

    name: for the command line.
    title: what happens.
    inject: runs the sweep and injects the fault, `(experiment, repetition)`.
    started_twice: why a cell may have been started twice; empty where none may.
    needs: "namespaces" or "cc", else nothing.
    local: whether the fault does not concern Ray, so that `--executor local` meets it as well.
    s3: whether the store is on S3; `refuse_every` as FaultyS3 has it.
    nan: whether the sweep has a label whose training diverges.
    failing: patterns of the cells that cannot be done.
    """

    name: str
    title: str
    inject: Callable[[Experiment, int], None]
    started_twice: str = ""
    needs: str = ""
    local: bool = True
    s3: bool = False
    refuse_every: int = 0
    nan: bool = False
    failing: tuple[str, ...] = ()

    def missing(self) -> str:
        """Why the fault cannot be injected here; empty if it can."""
        if self.needs == "namespaces" and not has_namespaces():
            return "needs root and namespaces"
        if self.needs == "cc" and shutil.which("cc") is None:
            return "needs a C compiler"
        return ""


def has_namespaces() -> bool:
    """Whether this process may create pid, mount, UTS and network namespaces."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run([*NAMESPACE, "--uts", "--net", "true"], capture_output=True).returncode == 0


def kill_worker(experiment: Experiment, repetition: int) -> None:
    experiment.start(FAULTS_HOLD=UNLEARN)
    worker = experiment.held()
    experiment.fault()
    os.kill(worker["pid"], signal.SIGKILL)
    experiment.note_status()
    experiment.finish()


def kill_driver(experiment: Experiment, repetition: int) -> None:
    driver = experiment.start(FAULTS_HOLD=UNLEARN)
    experiment.held()
    experiment.fault()
    driver.kill()
    experiment.note_status()
    experiment.finish()


@contextmanager
def _cluster(experiment: Experiment) -> Iterator[tuple[Host, Host]]:
    """Two hosts with one core each, the command on the first; an unlearn cell is held on the second."""
    variables = {"FAULTS_FOLDER": str(experiment.folder), "RAY_AUTH_MODE": "disabled"}
    head = Host(experiment.folder, "head", 1, {**variables, "FAULTS_AWAIT": UNLEARN})
    other = Host(experiment.folder, "other", 2, {**variables, "FAULTS_HOLD": UNLEARN})
    experiment.address = f"127.0.0.1:{PORT}"
    experiment.start()
    experiment.held()
    try:
        yield head, other
    finally:
        other.kill()
        head.kill()


def kill_raylet(experiment: Experiment, repetition: int) -> None:
    with _cluster(experiment) as (_, other):
        experiment.fault()
        other.raylet().kill()
        experiment.note_status()
        experiment.finish()


def kill_node(experiment: Experiment, repetition: int) -> None:
    with _cluster(experiment) as (_, other):
        experiment.fault()
        other.kill()
        experiment.note_status()
        experiment.finish()


def restart_head(experiment: Experiment, repetition: int) -> None:
    with _cluster(experiment) as (head, other):
        experiment.fault()
        head.kill()
        experiment.note_status()
        variables = {"FAULTS_FOLDER": str(experiment.folder), "RAY_AUTH_MODE": "disabled"}
        head = Host(experiment.folder, "head", 1, variables)
        other.kill()
        other = Host(experiment.folder, "other", 2, variables)
        try:
            experiment.finish()
        finally:
            other.kill()
            head.kill()


def cut_network(experiment: Experiment, repetition: int) -> None:
    """The worker's cell takes longer than the cut; another run waits for it, and takes it over after 30 s of silence.

    Then the two attempts commit: first the cut worker in repetition 1, first its successor in 2, both at once in 3.
    """
    assert experiment.s3 is not None
    holds = {"FAULTS_HOLD": UNLEARN, "FAULTS_HOLDS": "2"}
    experiment.start(**holds)
    worker = experiment.held()
    _start_second(experiment, **holds)
    with experiment.s3.cut(worker["pid"]):
        experiment.fault()
        time.sleep(CUT_SECONDS / 2)
        experiment.note_status()
        time.sleep(CUT_SECONDS / 2)
    experiment.held(2)
    first, second = [(1, 2), (2, 1), (1, 2)][(repetition - 1) % 3]
    experiment.let_go(first)
    if repetition % 3:
        log = experiment.store.log
        experiment.wait_for(lambda: log(worker["key"]).commits, "no attempt of the cell was committed")
    experiment.let_go(second)
    experiment.finish()


def _start_second(experiment: Experiment, **variables: str) -> None:
    """Another run on the same store, without Ray; returns when it knows the leases of the first.

    It does when it executes cells, and when it waits, because the first has left it none: then it prints its progress.
    """
    second = experiment.start(executor="local", **variables)
    executions, output = experiment.folder / "executions.jsonl", experiment.log(second)
    experiment.wait_for(
        lambda: (
            f'"pid": {second.pid},' in executions.read_text(encoding="utf-8")
            or " cells: " in output.read_text(encoding="utf-8")
        ),
        "the second run did not plan",
    )


def make_store_read_only(experiment: Experiment, repetition: int) -> None:
    """A read-only mount is put over the store's folder.

    Remounting the folder itself is refused ("busy") while any file in it is open for writing, as TensorBoard's are.
    """
    process = experiment.start(FAULTS_HOLD=UNLEARN)
    experiment.held()
    subprocess.run(["mount", "--bind", experiment.location, experiment.location], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", experiment.location], check=True)
    experiment.fault()
    experiment.note_status()
    experiment.let_go()
    process.wait()
    subprocess.run(["umount", "--lazy", experiment.location], check=True)
    experiment.finish()


def fill_store(experiment: Experiment, repetition: int) -> None:
    """The tmpfs is filled but for a few pages, so that small objects can still be written and large ones cannot."""
    ballast = Path(experiment.location) / "ballast"
    process = experiment.start(FAULTS_HOLD=UNLEARN)
    experiment.held()
    free = shutil.disk_usage(experiment.location).free
    ballast.write_bytes(bytes(max(free - 5 * 4096, 0)))
    experiment.fault()
    experiment.note_status()
    experiment.let_go()
    process.wait()
    ballast.unlink()
    experiment.finish()


def truncate_artefact(experiment: Experiment, repetition: int) -> None:
    _damage(experiment, lambda data: data[: len(data) // 2])


def flip_artefact(experiment: Experiment, repetition: int) -> None:
    def flip(data: bytes) -> bytes:
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]

    _damage(experiment, flip)


def _damage(experiment: Experiment, damage: Callable[[bytes], bytes]) -> None:
    """Damage the weights of an original model just before an unlearn cell reads them."""
    experiment.start(FAULTS_HOLD=UNLEARN)
    model = experiment.cells[experiment.held()["key"]].parents["original"]
    number = experiment.store.log(model).done
    assert number is not None
    path = Path(experiment.location) / "attempts" / model / str(number) / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    experiment.damaged[model], experiment.hit_cell = number, model
    experiment.fault()
    experiment.let_go()
    experiment.note_status()
    experiment.finish()


def step_clock(experiment: Experiment, repetition: int) -> None:
    """Forward in odd repetitions, back in even ones, while another run watches the lease."""
    library = experiment.folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    step = CLOCK_STEP_SECONDS if repetition % 2 else -CLOCK_STEP_SECONDS
    experiment.start(FAULTS_HOLD=UNLEARN, FAULTS_CLOCK=str(step), LD_PRELOAD=str(library))
    experiment.held()
    experiment.fault()
    _start_second(experiment)
    time.sleep(CLOCK_HOLD_SECONDS)
    experiment.note_status()
    experiment.let_go()
    experiment.finish()


def start_two_drivers(experiment: Experiment, repetition: int) -> None:
    experiment.start()
    experiment.start()
    experiment.wait_for(experiment.committed, "no cell was committed")
    experiment.fault()
    experiment.note_status()
    experiment.finish()


def poison_cell(experiment: Experiment, repetition: int) -> None:
    experiment.start(FAULTS_ABORT="unlearn-adaprob-s1")
    log = experiment.folder / "executions.jsonl"
    experiment.wait_for(
        lambda: log.exists() and "unlearn-adaprob-s1" in log.read_text(encoding="utf-8"), "the cell was not started"
    )
    experiment.fault()
    experiment.note_status()
    experiment.finish()


def diverge(experiment: Experiment, repetition: int) -> None:
    experiment.start()
    log = experiment.folder / "executions.jsonl"
    experiment.wait_for(
        lambda: log.exists() and "unlearn-scrub-s1" in log.read_text(encoding="utf-8"), "the cell was not started"
    )
    experiment.fault()
    experiment.note_status()
    experiment.finish()


def refuse_requests(experiment: Experiment, repetition: int) -> None:
    assert experiment.s3 is not None
    experiment.start()
    experiment.wait_for(experiment.committed, "no cell was committed")
    experiment.fault()
    experiment.note_status()
    experiment.finish()
    experiment.explanation = f"{experiment.s3.refused} of {experiment.s3.requests} requests refused"


TAKEN_OVER = "the cell that was running is taken over"
READ_AGAIN = "the damaged cell, and the cells that noticed the damage"

FAULTS = {
    fault.name: fault
    for fault in (
        Fault(name="worker", title="worker SIGKILL", inject=kill_worker, started_twice=TAKEN_OVER, local=False),
        Fault(
            name="raylet",
            title="raylet SIGKILL",
            inject=kill_raylet,
            started_twice=TAKEN_OVER,
            needs="namespaces",
            local=False,
        ),
        Fault(
            name="node",
            title="whole node gone",
            inject=kill_node,
            started_twice=TAKEN_OVER,
            needs="namespaces",
            local=False,
        ),
        Fault(name="driver", title="driver SIGKILL", inject=kill_driver, started_twice="cells that were running"),
        Fault(
            name="head",
            title="head restarted",
            inject=restart_head,
            started_twice="cells that were running",
            needs="namespaces",
            local=False,
        ),
        Fault(
            name="network",
            title="network cut between a worker and the store for 40 s",
            inject=cut_network,
            started_twice="another run takes the silent worker's cell over",
            s3=True,
        ),
        Fault(
            name="read-only",
            title="store read-only",
            inject=make_store_read_only,
            started_twice="cells that could not be written",
            needs="namespaces",
        ),
        Fault(
            name="full",
            title="store full",
            inject=fill_store,
            started_twice="cells that could not be written",
            needs="namespaces",
        ),
        Fault(name="truncated", title="artefact truncated", inject=truncate_artefact, started_twice=READ_AGAIN),
        Fault(name="flipped", title="artefact's bytes flipped", inject=flip_artefact, started_twice=READ_AGAIN),
        Fault(name="clock", title="clock stepped by an hour on a lease holder", inject=step_clock, needs="cc"),
        Fault(name="two-drivers", title="two drivers on one store", inject=start_two_drivers),
        Fault(
            name="poison",
            title="poison cell (aborts each worker that runs it)",
            inject=poison_cell,
            started_twice="a cell whose worker dies is tried four times",
            local=False,
            failing=("*-adaprob-s1",),
        ),
        Fault(
            name="nan",
            title="NaN cell (training diverges)",
            inject=diverge,
            nan=True,
            failing=("unlearn-scrub-*", "evaluate-exploding-*"),
        ),
        Fault(
            name="s3-503",
            title="S3 answers 503 to one request in five",
            inject=refuse_requests,
            s3=True,
            refuse_every=5,
        ),
    )
}


def s3_for(fault: Fault) -> FaultyS3 | None:
    """The S3 server that the fault needs."""
    return FaultyS3(fault.refuse_every) if fault.s3 else None
