"""One experiment: a store, the command that runs the sweep, and what is measured while a fault is injected."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from adaprob_ray import cli
from adaprob_ray.errors import StoreError
from adaprob_ray.store import Store
from benchmarks.faults.proxy import BUCKET, FaultyS3
from benchmarks.faults.stages import cell_name
from benchmarks.faults.sweep import comparable_records, sweep_cells, sweep_text

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 240.0
# A user whose run does nothing for so long presses Ctrl-C; longer than a lease takes to expire.
PATIENCE_SECONDS = 120.0
MAX_REPEATS = 6


@dataclass(kw_only=True)
class Result:
    """What one experiment showed: names of cells, times in seconds since the fault, what `status` said. See page.py."""

    fault: str
    repetition: int
    again: list[str] = field(default_factory=list)
    extra_commits: list[str] = field(default_factory=list)
    wrong_records: list[str] = field(default_factory=list)
    not_done: list[str] = field(default_factory=list)
    started_twice: list[str] = field(default_factory=list)
    resumed_after: float | None = None
    hit_cell_after: float | None = None
    status: str = ""
    status_at_end: str = ""
    repeats: int = 0
    interrupts: int = 0
    exit_codes: list[int] = field(default_factory=list)
    seconds: float = 0.0
    note: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing finished was executed again, committed twice, wrong or missing."""
        return not (self.again or self.extra_commits or self.wrong_records or self.not_done)


class Experiment:
    """The surroundings of one fault.

    Args:
        folder: An empty folder for everything.
        seeds: Size of the sweep, 12 cells for each.
        executor: Of the commands, "ray" or "local".
        nan: Whether the sweep has a label whose training diverges.
        s3: The store is on this S3 server; None for a folder.
        failing: Patterns of the cells that cannot be done.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seeds: int,
        executor: str = "ray",
        nan: bool = False,
        s3: FaultyS3 | None = None,
        failing: Iterable[str] = (),
    ) -> None:
        self.folder, self.executor, self.s3, self._failing = folder, executor, s3, tuple(failing)
        self.start_time = time.monotonic()
        self.sweep = folder / "sweep.yaml"
        self.sweep.write_text(sweep_text(seeds=seeds, nan=nan), encoding="utf-8")
        self.cells = sweep_cells(self.sweep.read_text(encoding="utf-8"))
        self.location = str(folder / "store")
        if s3 is not None:
            self.location = f"s3://{BUCKET}/store"
            os.environ |= aws_variables(s3.direct)
        self.store = Store.open(self.location)
        self.address: str | None = None
        self.processes: list[subprocess.Popen[str]] = []
        self.damaged: dict[str, int] = {}
        self.explanation = ""
        self.status, self.hit_cell = "", ""
        self._fault_time: float | None = None
        self._started: list[float] = []
        self._repeats = self._interrupts = 0
        self._exit_codes: list[int] = []
        self._commits: dict[tuple[str, int], float] = {}
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._watch_commits, daemon=True)
        self._watch.start()

    # -- what a fault uses -------------------------------------------------------------------------------------------

    def start(self, *, executor: str | None = None, **variables: str) -> subprocess.Popen[str]:
        """Start the command on the sweep; `variables` for this process only, see stages.py."""
        command = [sys.executable, "-m", "benchmarks.faults.driver", "run", str(self.sweep), "--store", self.location]
        command += ["--executor", executor or self.executor]
        if self.address is not None:
            command += ["--address", self.address]
        environment = {**with_checkout(os.environ), "FAULTS_FOLDER": str(self.folder), "RAY_AUTH_MODE": "disabled"}
        if self.s3 is not None:
            environment |= aws_variables(self.s3.endpoint)
        with self._log(len(self.processes)).open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
            )
        self.processes.append(process)
        self._started.append(time.monotonic())
        return process

    def log(self, process: subprocess.Popen[str]) -> Path:
        """What a command has printed so far."""
        return self._log(self.processes.index(process))

    def held(self, number: int = 1) -> dict[str, Any]:
        """Wait until a cell is held, and say which: key, name, pid."""
        path = self.folder / f"held-{number}"
        self.wait_for(path.exists, f"no cell came to hold {number}")
        cell: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if number == 1:
            self.hit_cell = cell["key"]
        return cell

    def let_go(self, number: int = 1) -> None:
        """Let the held cell continue."""
        (self.folder / f"go-{number}").touch()

    def fault(self) -> None:
        """The fault is injected now: seconds are counted from here."""
        self._fault_time = time.monotonic()

    def note_status(self) -> None:
        """Ask `adaprob-ray status`, as a user would who has noticed something."""
        self.status = self.status or self._ask_status()

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until the condition holds. Raises RuntimeError after that long, or if all commands have ended."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"{what} within {seconds:.0f} s\n{self.logs()}")
            time.sleep(0.05)

    def committed(self) -> int:
        """How many commits were seen so far."""
        return len(self._commits)

    def finish(self) -> None:
        """Wait for the commands, and repeat the command, as its user would, until all cells are done that can be."""
        while True:
            for process in self.processes[len(self._exit_codes) :]:
                self._exit_codes.append(self._wait(process))
            unfinished = self._unfinished()
            if not unfinished and self._exit_codes[-1] == (1 if self._failing else 0):
                return
            if self._repeats == MAX_REPEATS:
                return
            self._repeats += 1
            self.start()

    def result(self, fault: str, repetition: int, undisturbed: Mapping[str, Mapping[str, Any]]) -> Result:
        """What the store holds now, compared with the Records of a run that nothing disturbed."""
        self._stop.set()
        self._watch.join()
        logs = self.store.survey()
        executions = self._executions()
        done = {key for key in self.cells if key in logs and logs[key].done is not None}
        records = comparable_records(self.store, self.cells)
        expected = {key: row for key, row in undisturbed.items() if key in self.cells and self._can_be_done(key)}
        starts = Counter(note["key"] for note in executions)
        failing = {key for key in self.cells if not self._can_be_done(key)}
        return Result(
            fault=fault,
            repetition=repetition,
            again=[note["name"] for note in executions if self._was_finished(note)],
            extra_commits=[
                cell_name(self.cells[key])
                for key, log in logs.items()
                for _ in range(len(log.commits - log.revoked) - 1)
            ],
            wrong_records=[cell_name(self.cells[key]) for key in expected if records.get(key) != expected[key]],
            not_done=[cell_name(self.cells[key]) for key in self.cells.keys() - done - failing],
            started_twice=[f"{cell_name(self.cells[key])} ({count})" for key, count in starts.items() if count > 1],
            resumed_after=self._seconds_until(lambda key: True),
            hit_cell_after=self._seconds_until(lambda key: key == self.hit_cell),
            status=self.status,
            status_at_end=self._ask_status(),
            repeats=self._repeats,
            interrupts=self._interrupts,
            exit_codes=self._exit_codes,
            seconds=time.monotonic() - self.start_time,
            note=self.explanation,
        )

    def logs(self) -> str:
        """The last lines of every command."""
        texts = [path.read_text(encoding="utf-8")[-3000:] for path in sorted(self.folder.glob("command-*.log"))]
        return "\n---\n".join(texts)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _log(self, number: int) -> Path:
        return self.folder / f"command-{number}.log"

    def _wait(self, process: subprocess.Popen[str]) -> int:
        """The exit code. A command that has done nothing for long is interrupted, as its user would do."""
        while True:
            started = self._started[self.processes.index(process)]
            last = max([self._fault_time or 0.0, started, *self._commits.values()])
            quiet = time.monotonic() - last
            if process.poll() is None and quiet > PATIENCE_SECONDS:
                self._interrupts += 1
                process.send_signal(signal.SIGINT)
                try:
                    return process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
            try:
                return process.wait(1.0)
            except subprocess.TimeoutExpired:
                continue

    def _can_be_done(self, key: str) -> bool:
        return not any(fnmatch(cell_name(self.cells[key]), pattern) for pattern in self._failing)

    def _unfinished(self) -> list[str]:
        logs = self.store.survey()
        return [key for key in self.cells if self._can_be_done(key) and (key not in logs or logs[key].done is None)]

    def _executions(self) -> list[dict[str, Any]]:
        path = self.folder / "executions.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def _was_finished(self, note: Mapping[str, Any]) -> bool:
        """Whether a cell had a commit when this execution of it started, other than one that the fault has damaged."""
        return any(number != self.damaged.get(note["key"]) for number in note["commits"])

    def _watch_commits(self) -> None:
        period = 0.1 if self.s3 is None else 0.5
        while not self._stop.wait(period):
            with contextlib.suppress(StoreError):
                for key, log in self.store.survey().items():
                    for number in log.commits:
                        self._commits.setdefault((key, number), time.monotonic())

    def _seconds_until(self, concerns: Callable[[str], bool]) -> float | None:
        if self._fault_time is None:
            return None
        times = [seen for (key, _), seen in self._commits.items() if seen > self._fault_time and concerns(key)]
        return min(times) - self._fault_time if times else None

    def _ask_status(self) -> str:
        """The counts that `adaprob-ray status --json` gives, and the failures by class; or the error."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = cli.main(["status", str(self.sweep), "--store", self.location, "--json"])
        text = out.getvalue()
        if code:
            return f"exit code {code}: {text.strip()}"
        document = json.loads(text[text.index("{") :])
        counts = [f"{count} {state}" for state, count in document["counts"].items() if count]
        classes = Counter(failure["class"] for failure in document["failures"].values())
        counts += [f"{count} failed before ({name})" for name, count in classes.items()]
        return ", ".join(counts)


def with_checkout(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that imports `benchmarks` from any working directory."""
    paths = [str(ROOT), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def aws_variables(endpoint: str) -> dict[str, str]:
    """The environment that leads obstore to a local S3."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def write_result(result: Result, path: Path) -> None:
    """Write a result as one JSON document."""
    path.write_text(json.dumps(asdict(result)), encoding="utf-8")
