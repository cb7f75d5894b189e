"""The line that says that a command is stopping: at once, once, and whoever handles the signal."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from adaprob_ray import cli
from adaprob_ray.cli import _interrupt
from adaprob_ray.cli._interrupt import STOPPING, interruptible
from adaprob_ray.runtime import launch

pytestmark = pytest.mark.usefixtures("restored_sigterm")


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a line was printed."""
    event, echo = threading.Event(), _interrupt.click.echo

    def spying(*arguments: object, **options: bool) -> None:
        echo(*arguments, **options)
        event.set()

    monkeypatch.setattr(_interrupt.click, "echo", spying)
    return event


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_printed_while_the_handler_of_somebody_else_waits(
    number: signal.Signals, announced: threading.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Ray Tune does on SIGINT: it notes the signal, and ends its trials before the command goes on."""
    seen: list[bool] = []
    before = signal.getsignal(number)
    with interruptible():
        signal.signal(number, lambda *_: seen.append(announced.wait(timeout=60)))
        try:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        finally:
            signal.signal(number, before)
    assert seen == [True, True]
    assert capsys.readouterr().err == f"\n{STOPPING}\n", "once"


def test_other_signals_say_nothing_and_nothing_is_left_behind(capsys: pytest.CaptureFixture[str]) -> None:
    wakeup, handler = signal.set_wakeup_fd(-1), signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGUSR2)
        assert capsys.readouterr().err == ""
        assert signal.set_wakeup_fd(-1) == -1
        assert not [thread for thread in threading.enumerate() if thread.name == "stop-announcer"]
    finally:
        signal.signal(signal.SIGUSR2, handler)
        signal.set_wakeup_fd(wakeup)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_run_says_that_it_stops_and_then_how_to_resume(
    executor: str,
    number: signal.Signals,
    sweep_file: str,
    tmp_path: Path,
    announced: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        try:
            os.kill(os.getpid(), number)
        finally:
            announced.wait(timeout=60)

    monkeypatch.setattr(launch, "run", interrupted)
    assert cli.main(["run", sweep_file, "--executor", executor, "--store", str(tmp_path / "store")]) == 130
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines[0] == STOPPING
    assert lines[1] == "Interrupted. Completed cells are saved. Resume with:"
