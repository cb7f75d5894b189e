"""Benchmarks as commands: bad input ends in one line and exit code 2, not in a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adaprob_ray.errors import InputError
from benchmarks import run_command

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = sorted(
    path
    for path in (*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "benchmarks").glob("*/__main__.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)


def test_bad_input_is_one_line_for_each_fault_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise InputError("cifar10: no folder", "--rows: must be positive, got 0")

    with pytest.raises(SystemExit) as stop:
        run_command(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: cifar10: no folder\nerror: --rows: must be positive, got 0\n"


@pytest.mark.parametrize(("returned", "code"), [(None, None), (0, 0), (1, 1)])
def test_the_exit_code_is_what_main_returns(returned: int | None, code: int | None) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: returned)
    assert stop.value.code == code


def test_an_error_of_the_code_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(main)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_benchmark_runs_its_main_this_way(path: Path) -> None:
    last = path.read_text(encoding="utf-8").rpartition('if __name__ == "__main__":\n')[2]
    assert re.fullmatch(r"    run_command\(main\)\n", last)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("training", "error: cifar10: no folder .*; set ADAPROB_DATA, or run `adaprob-ray data prepare cifar10`"),
        ("instruction_sets --sweep missing.yaml", "error: .*missing.yaml.*"),
        ("plan many", ".*argument cells: invalid int value: 'many'"),
    ],
)
def test_without_what_it_needs_a_benchmark_exits_with_2(command: str, message: str, tmp_path: Path) -> None:
    name, *options = command.split()
    result = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ADAPROB_DATA": str(tmp_path / "nowhere")},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 2, result.stderr
    assert re.fullmatch(message, result.stderr.strip().splitlines()[-1])
    assert "Traceback" not in result.stderr
