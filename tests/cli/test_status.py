"""The command status: one report, reports again and again, JSON and exit codes, of stores that others fill."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from adaprob_ray import cli
from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.cli import status as command
from adaprob_ray.cli._status_lines import MAX_DEVICES, status_lines
from adaprob_ray.errors import Failure, StoreError
from adaprob_ray.runtime.status_reader import StatusReader
from adaprob_ray.runtime.status_report import DeviceStatus, FailedCell, RunningCell, StatusReport
from adaprob_ray.runtime.tensorboard_layout import tensorboard_command, tensorboard_folder
from adaprob_ray.store import Attempt, Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import STATES
from adaprob_ray.sweep.sweep import Sweep

CELLS = 8


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ADAPROB_STORE", str(tmp_path / "store"))
    return str(tmp_path / "store")


@pytest.fixture
def cells(sweep_file: str) -> Mapping[str, Cell]:
    return Sweep.load(sweep_file, REGISTRY).cells


def begin(store: Store, cell: Cell, **options: Any) -> Attempt:
    attempt = store.begin(cell.key, cell.identity, owner="test", run="run", **options)
    assert attempt is not None
    return attempt


def finish(store: Store, cells: Mapping[str, Cell], *, leave: int = 0) -> None:
    """Commit all cells except the last ones."""
    for cell in list(cells.values())[: len(cells) - leave]:
        begin(store, cell).commit({"cell_seconds": 2.0})


# -- one report --------------------------------------------------------------------------------------------------------


def test_where_nothing_runs_the_command_that_starts_or_resumes_is_shown(
    sweep_file: str, location: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", sweep_file, "--only", "stage=train"]) == 0
    output = capsys.readouterr().out
    command = f"adaprob-ray run {sweep_file} --store {location} --only stage=train"
    assert f"nothing is running; start or resume with: {command}\n" in output
    assert not Path(location).exists()


def test_a_report_names_failures_and_where_cells_run(
    sweep_file: str, location: str, cells: Mapping[str, Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(location)
    done, failed, runs = list(cells.values())[:3]
    begin(store, done).commit({"cell_seconds": 2.0})
    begin(store, failed).fail(Failure(failure_class="diverged", message="Diverged: NaN in epoch 1"))
    held = begin(store, runs, gpu=0.5)
    assert cli.main(["status", sweep_file]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"small: 1 of {CELLS} cells done in {location}\n")
    assert "1 running, 1 failed" in output
    assert "  diverged: 1 cell\n    NaN in epoch 1\n" in output
    assert failed.title in output
    assert f"  {runs.title}  {os.uname().nodename} gpu " in output
    assert "50 %" in output
    assert "nothing is running" not in output
    held.release()


def test_json_has_everything(
    sweep_file: str, location: str, cells: Mapping[str, Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(location)
    failed, runs = list(cells.values())[:2]
    begin(store, failed).fail(Failure(failure_class="code", message="no"))
    held = begin(store, runs)
    assert cli.main(["status", sweep_file, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["sweep"], document["cells"], document["result"]) == ("small", CELLS, "unfinished")
    assert document["counts"]["leased"] == 1
    assert document["counts"]["failed"] == 0, "a run would try it again"
    assert document["stages"]["train"]["failed"] == 1
    assert document["failures"][failed.key]["state"] == "failed"
    assert document["failures"][failed.key]["class"] == "code"
    assert [cell["title"] for cell in document["running"]] == [runs.title]
    assert [device["cells"] for device in document["devices"]] == [1]
    assert document["remarks"] == []
    assert document["tensorboard"] is None
    held.release()


def test_the_command_of_tensorboard_is_shown_once_there_is_something_to_see(
    sweep_file: str, location: str, cells: Mapping[str, Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(location)
    finish(store, cells)
    assert cli.main(["status", sweep_file]) == 0
    assert "tensorboard" not in capsys.readouterr().out
    folder = tensorboard_folder(location, "small")
    folder.mkdir(parents=True)
    assert cli.main(["status", sweep_file]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line == f"tensorboard: {tensorboard_command(folder)}"
    assert cli.main(["status", sweep_file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tensorboard"] == tensorboard_command(folder)


# -- exit codes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "code"), [("done", 0), ("failed", 1), ("running", 3), ("free", 3)])
def test_exit_codes_for_scripts(
    last: str, code: int, sweep_file: str, location: str, cells: Mapping[str, Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(location)
    finish(store, cells, leave=1)
    cell = list(cells.values())[-1]
    attempt = begin(store, cell)
    if last == "done":
        attempt.commit({})
    elif last == "failed":
        attempt.fail(Failure(failure_class="code", message="no"))
    elif last == "free":
        attempt.release()
    assert cli.main(["status", sweep_file, "--exit-code"]) == code
    assert cli.main(["status", sweep_file]) == 0, "only if asked"
    if last == "running":
        attempt.release()


# -- --watch -------------------------------------------------------------------------------------------------------------


def test_watch_prints_a_report_at_each_interval_and_ends_when_all_is_done(
    sweep_file: str,
    location: str,
    cells: Mapping[str, Cell],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From before the store exists, over a moment without network, to the last cell."""
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 1:
            finish(Store.open(location), cells, leave=1)
        elif len(naps) == 3:
            begin(Store.open(location), list(cells.values())[-1]).commit({})

    def read(self: StatusReader) -> StatusReport:
        if len(naps) == 2:
            raise StoreError("store s3://bucket: no answer")
        return real(self)

    real = StatusReader.read
    monkeypatch.setattr(StatusReader, "read", read)
    monkeypatch.setattr(command.time, "sleep", sleep)
    assert cli.main(["status", sweep_file, "--watch", "--interval", "7"]) == 0
    assert naps == [7.0, 7.0, 7.0]
    output = capsys.readouterr().out
    headlines = [line for line in output.splitlines() if line.startswith("small: ")]
    assert [line.split()[1] for line in headlines] == ["0", "7", "7", "8"]
    assert "not refreshed: store s3://bucket: no answer" in output


def test_an_interrupted_watch_is_no_error(
    sweep_file: str, location: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", interrupt)
    assert cli.main(["status", sweep_file, "--watch"]) == 0
    assert cli.main(["status", sweep_file, "--watch", "--exit-code", "--json"]) == 3
    output = capsys.readouterr()
    assert output.err == ""
    assert json.loads(output.out.splitlines()[-1])["result"] == "unfinished"


@pytest.mark.parametrize("interval", ["0", "-1", "soon"])
def test_an_interval_is_a_number_of_seconds(interval: str, sweep_file: str) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["status", sweep_file, "--watch", "--interval", interval])
    assert stop.value.code == 2


# -- what a screen shows ---------------------------------------------------------------------------------------------------


def large_report() -> StatusReport:
    """Long names, many failures and many nodes."""
    title = "unlearn-scrub_unsmoothed_notebook-cifar10-resnet18-100of5-s1-r2-{:08x}"
    message = "RuntimeError: " + "the sky is falling and what is said about it is long " * 5
    classes = ["diverged"] * 6 + ["out_of_memory"] * 2
    failures = [
        FailedCell(
            key=str(n),
            title=title.format(n),
            state="failed",
            failure=Failure(failure_class=name, message=f"{n % 5} {message}"),
        )
        for n, name in enumerate(classes)
    ]
    host = "raycluster-kuberay-worker-group-gpu-{:05d}"
    devices = [
        DeviceStatus(
            host=host.format(n // 8),
            gpu_id=str(n % 8),
            cells=3,
            gpus_granted=0.99,
            peak_bytes=4_100_000_000,
            silent_seconds=100.0 * n,
        )
        for n in range(40)
    ]
    running = [
        RunningCell(key=str(n), title=title.format(n), host=host.format(n // 24), gpu=0.33, gpu_id=str(n // 3 % 8))
        for n in range(120)
    ]
    counts = {**dict.fromkeys(STATES, 100_000), "running": 0}
    return StatusReport(
        stages=dict.fromkeys(["pretrain", "train", "unlearn", "relearn", "evaluate"], counts),
        counts=counts,
        running=running,
        devices=devices,
        failures=failures,
        cells_per_minute=123.456,
        seconds_left=200_000.0,
    )


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_is_wider_than_the_terminal_and_all_fits_on_a_screen(width: int) -> None:
    remarks = ["nothing is running; start or resume with: adaprob-ray run " + "a/long/path/" * 12]
    lines = status_lines(
        large_report(),
        headline="x" * 200,
        remarks=remarks,
        skipped=["y" * 200],
        width=width,
        curves="tensorboard --logdir " + "another/path/" * 4,
    )
    console = Console(file=io.StringIO(), width=width)
    for line in lines:
        console.print(line)
    rows = console.file.getvalue().splitlines()
    assert max(map(len, rows)) <= width
    assert len(rows) == len(lines) <= 62
    assert "".join(rows[2:5]).count("a/long/path/") >= 10, "a command is folded, not cut off"
    assert "".join(rows[-4:]).count("another/path/") >= 3


def test_a_compact_report_fits_on_a_small_screen_with_every_class_of_failure() -> None:
    report = large_report()
    lines = status_lines(report, headline="", remarks=[], skipped=[], width=80, compact=True)
    text = [str(line) for line in lines]
    assert len(lines) <= 2 + 7 + 4 + 3 + MAX_DEVICES + 1
    assert [line for line in text if line.startswith("  diverged: 6 cells: 0 RuntimeError: the sky")]
    assert [line for line in text if line.startswith("  out_of_memory: 2 cells: ")]
    assert max(map(len, text)) <= 80


def test_shortened_lists_say_how_much_they_leave_out() -> None:
    lines = [str(line) for line in status_lines(large_report(), headline="", remarks=[], skipped=[], width=80)]
    text = "\n".join(lines)
    assert "  diverged: 6 cells" in lines
    assert "    and 2 other messages; --json lists them" in lines
    assert "  and 28 devices more with 84 cells; --json lists them" in lines
    assert "nodes: 5" in lines
    assert "  and 112 more" in lines
    assert text.count("3     99 %     4.1 GB  silent") == 12 - 1
    assert "about 2.3 days left" in text


def test_a_file_gets_full_names() -> None:
    text = "\n".join(map(str, status_lines(large_report(), headline="", remarks=[], skipped=[], width=None)))
    assert "…" not in text
    assert "raycluster-kuberay-worker-group-gpu-00000" in text


# -- while another process runs the sweep ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_is_watched_while_another_process_runs_it(sweep_file: str, location: str) -> None:
    arguments = [sweep_file, "--store", location]
    python = [sys.executable, "-m", "adaprob_ray"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    watch = subprocess.Popen([*python, "status", *arguments, "--watch", "--interval", "0.2", "--json"], **pipes)
    run = subprocess.run([*python, "run", *arguments, "--executor", "local"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    out, err = watch.communicate(timeout=120)
    assert (watch.returncode, err) == (0, "")
    reports = [json.loads(line) for line in out.splitlines()]
    done = [report["counts"]["done"] for report in reports]
    assert done == sorted(done)
    assert done[-1] == CELLS
    running = [report for report in reports if report["running"]]
    assert running, "a training takes longer than the interval"
    assert all(device["host"] == os.uname().nodename for report in running for device in report["devices"])
    assert all(device["gpu_id"] == "" for report in running for device in report["devices"])
