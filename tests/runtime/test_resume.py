"""Runs that are killed, interrupted or started twice: the same command resumes, and no finished cell runs twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tiny_sweep import CELLS, Command, cells_of, commits, key_of, same_columns, wait_for

from adaprob_ray.store import Store
from adaprob_ray.sweep.plan import Plan

SLEEPER = key_of(cells_of(), "unlearn", "finetune")
MARK = "ADAPROB_TEST_SLEEP-unlearn-finetune"


def asleep(command: Command) -> dict[str, frozenset[int]]:
    """Start the command, and what is done when its sleeping cell sleeps."""
    process = command.start(ADAPROB_TEST_SLEEP="unlearn-finetune")
    wait_for((command.marks / MARK).exists, process)
    command.process = process  # type: ignore[attr-defined]
    return commits(command.opened())


def check_resumed(command: Command, before: dict[str, frozenset[int]], undisturbed: Store) -> None:
    """The same command does the rest, once each, without waiting for a lease; the Records are the undisturbed ones."""
    code, out, err = command.run(ADAPROB_TEST_SLEEP="unlearn-finetune")
    assert code == 0, err
    assert f"{CELLS - len(before)} cells executed, {CELLS} of {CELLS} done" in out
    store = command.opened()
    for key, log in store.survey().items():
        assert log.commits == ({2} if key == SLEEPER else {1})
        assert log.leases == ({1, 2} if key == SLEEPER else {1})
    assert before.items() <= commits(store).items()
    assert same_columns(store) == same_columns(undisturbed)


@pytest.mark.slow
def test_after_sigkill_the_same_command_does_the_rest(tmp_path: Path, first_run: tuple[Store, Plan]) -> None:
    command = Command(tmp_path)
    before = asleep(command)
    process = command.process  # type: ignore[attr-defined]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    log = command.opened().log(SLEEPER)
    assert log.open_attempts == {1}, "killed, so nobody could release it"
    assert 0 < len(before) < CELLS
    check_resumed(command, before, first_run[0])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_releases_the_lease_and_prints_the_command_that_resumes(
    number: signal.Signals, tmp_path: Path, first_run: tuple[Store, Plan]
) -> None:
    command = Command(tmp_path)
    before = asleep(command)
    process = command.process  # type: ignore[attr-defined]
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stopping, up to 15 s …" in err.splitlines()
    assert f"adaprob-ray run {command.sweep} --store {command.store} --executor local" in err.splitlines()[-1]
    log = command.opened().log(SLEEPER)
    assert log.released == {1}
    assert not log.open_attempts
    check_resumed(command, before, first_run[0])


@pytest.mark.slow
def test_two_runs_at_once_execute_each_cell_once_in_total(tmp_path: Path, first_run: tuple[Store, Plan]) -> None:
    command = Command(tmp_path, table="stage_tables:TOGETHER")
    processes = [command.start() for _ in range(2)]
    said = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    counts = [int(out.partition(" cells executed")[0].split()[-1]) for out, _ in said]
    assert sum(counts) == CELLS
    assert min(counts) > 0
    store = command.opened()
    assert {key: log.leases for key, log in store.survey().items()} == dict.fromkeys(cells_of(), frozenset({1}))
    assert same_columns(store) == same_columns(first_run[0])
