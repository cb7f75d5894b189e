"""Running one command in this process or in one of its own, and what is wrong with how it ended."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from adaprob_ray import cli
from adaprob_ray.cli._exit_codes import BAD_INPUT, DONE, FAILED

SECONDS_ALLOWED = 10.0
EXIT_CODES = (DONE, FAILED, BAD_INPUT)
TRACEBACK = "Traceback (most recent call last)"
# A message that does not fit on a screen helps nobody.
MAX_LINE_LENGTH = 2000


class TooLong(BaseException):
    """The command has run for SECONDS_ALLOWED. Not an Exception, so that no handler of the command catches it."""


@dataclass(frozen=True)
class CommandResult:
    """How a command ended. `code` is None if it raised, then `crash` is the traceback."""

    arguments: tuple[str, ...]
    code: int | None
    out: str
    err: str
    crash: str = ""

    def faults(self) -> list[str]:
        """What no input may cause, one line each."""
        name = self.arguments[0]
        if self.crash:
            return [f"{name}: {self.crash}"]
        faults = []
        if self.code not in EXIT_CODES:
            faults.append(f"{name}: exit code {self.code}")
        if TRACEBACK in self.err or TRACEBACK in self.out:
            faults.append(f"{name}: prints a traceback: {self.err[-2000:]}")
        if self.code == BAD_INPUT:
            faults += [f"{name}: {fault}" for fault in self._faults_of_refusal()]
        return faults

    def _faults_of_refusal(self) -> Iterator[str]:
        lines = self.err.splitlines()
        if not any("rror: " in line for line in lines):
            yield f"exit code 2 without an error: {self.err!r}"
        if self.out:
            yield f"exit code 2, yet it prints {self.out[:200]!r}"
        for line in lines:
            if len(line) > MAX_LINE_LENGTH:
                yield f"a line of {len(line)} characters: {line[:200]}"


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)


def run_in_process(*arguments: str, seconds: float = SECONDS_ALLOWED) -> CommandResult:
    """Run `adaprob-ray ARGUMENTS` in this process, through `main`."""
    out, err = io.StringIO(), io.StringIO()
    code, crash = None, ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with _time_limit(seconds):
                code = cli.main(arguments)
        except SystemExit as stop:  # of click, for a usage error
            code = stop.code if isinstance(stop.code, int) else FAILED
        except TooLong:
            crash = f"not done within {seconds:.0f} s\n{traceback.format_exc()}"
        except BaseException:
            crash = traceback.format_exc()
    return CommandResult(arguments, code, out.getvalue(), err.getvalue(), crash)


def run_as_process(*arguments: str, cwd: Path, seconds: float = 6 * SECONDS_ALLOWED) -> CommandResult:
    """Run it in a process of its own; more seconds, because it has to import everything."""
    command = [sys.executable, "-m", "adaprob_ray", *arguments]
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return CommandResult(arguments, None, "", "", f"not done within {seconds:.0f} s")
    return CommandResult(arguments, done.returncode, done.stdout.decode(), done.stderr.decode())


def paths_below(folder: Path) -> frozenset[str]:
    """Every path below a folder, to see what a command has written."""
    return frozenset(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def differs(one: CommandResult, other: CommandResult) -> Sequence[str]:
    """Where the same command in a process of its own ended otherwise."""
    if other.crash or one.code == other.code:
        return []
    return [f"{one.arguments[0]}: exit code {one.code} through main(), {other.code} as a process: {other.err[-500:]}"]
