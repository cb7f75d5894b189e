"""A command ends as it would with a reader, whatever its standard streams are and whatever the locale can encode."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.sweep.plan import Plan

# As printed by a command: more than a pipe or a buffer holds, with letters that Latin-1, GBK or ASCII lack.
SCRIPT = """
import os, sys
from adaprob_ray.streams import make_streams_lasting
make_streams_lasting()
for number in range(20_000):
    print(f"{number} ε=⅓ é 漢 →")
print("Ω", file=sys.stderr)
with open(os.devnull) as file:
    assert file.fileno() > 2
sys.exit(3)
"""


def start(script: str = SCRIPT, redirection: str = "", **options: Any) -> subprocess.Popen[bytes]:
    """Python on a script; `redirection` as in a shell."""
    environment = {**os.environ, **options.pop("environment", {})}
    words = ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, script]
    return subprocess.Popen(words, env=environment, **options)


@pytest.mark.parametrize(
    "redirection",
    [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-", "> /dev/full", "> /dev/full 2>&1", "> /dev/null < /dev/null"],
)
def test_closed_and_full_streams_do_not_end_a_command(redirection: str) -> None:
    process = start(redirection=redirection, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 3, err.decode(errors="replace")


def test_a_reader_that_leaves_does_not_end_a_command() -> None:
    process = start(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=240) == 3
    assert b"Error" not in err


def test_a_terminal_that_is_gone_does_not_end_a_command() -> None:
    ours, theirs = pty.openpty()
    process = start(stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    assert process.wait(timeout=240) == 3


def test_a_pipe_that_does_not_block_gets_every_line() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = start(stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    with open(reader, "rb") as file:
        lines = file.read().splitlines()
    assert process.wait(timeout=240) == 3
    assert len(lines) == 20_000


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "koi8-r", "cp1252", "shift_jis"])
def test_what_an_encoding_lacks_is_escaped(encoding: str) -> None:
    process = start(
        environment={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 3
    first = out.decode(encoding).splitlines()[0]
    assert first == "0 ε=⅓ é 漢 →".encode(encoding, "backslashreplace").decode(encoding)


@pytest.mark.parametrize("module", ["adaprob_ray", "analysis"])
def test_both_commands_print_in_every_locale(module: str, tmp_path: Path) -> None:
    """The name in the error is beyond ASCII."""
    words = ["run", "größe–Ω.yaml"] if module == "adaprob_ray" else ["compare", "--sweep", "größe–Ω.yaml"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "ADAPROB_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-m", module, *words]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="latin-1", timeout=240)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert r"größe\u2013\u03a9.yaml" in result.stderr


class _Console:
    """A console whose every print fails."""

    is_terminal = False

    def __init__(self, error: Exception) -> None:
        self._error = error

    def print(self, *arguments: object, **options: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(32, "Broken pipe"),
        OSError(5, "Input/output error"),
        OSError(28, "No space left on device"),
        UnicodeEncodeError("gbk", "é", 0, 1, "no"),
        ValueError("I/O operation on closed file."),
    ],
)
def test_progress_that_cannot_be_shown_costs_nothing(error: Exception) -> None:
    make: Callable[..., ProgressReporter] = ProgressReporter
    with make(Plan({}), console=_Console(error)) as progress:
        progress.update()
