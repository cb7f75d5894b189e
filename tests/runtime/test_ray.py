"""The same cells on a private local Ray: killed, interrupted, with a worker that dies and a method that fails.

Three runs of one sweep on one store, in order, because each start of Ray takes seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_world import with_value
from tiny_sweep import TINY, Command, cells_of, commits, key_of, run, same_columns, wait_for

from adaprob_ray.store import Store

# `bad` fails in every run; all other labels must come through.
DOCUMENT = with_value(TINY, "methods.bad", {"method": "scrub", "epochs": 2, "forget_epochs": 1})
CELLS = cells_of(DOCUMENT)
BAD, BELOW = key_of(CELLS, "unlearn", "scrub"), key_of(CELLS, "evaluate", "bad")
KILLED, INTERRUPTED = key_of(CELLS, "unlearn", "finetune"), key_of(CELLS, "unlearn", "adaprob")
DIES = key_of(CELLS, "evaluate", "adaprob")
FAIL = {"ADAPROB_TEST_FAIL": "unlearn-scrub"}
# Both are given in the environment, which only the user and root can read; they must appear nowhere else.
SECRETS = {"RAY_AUTH_TOKEN": "9d1f6c0e" * 8, "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-adaprob-test"}

# The fixture runs three sweeps on Ray: a minute alone, several where other work has the processors.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]


def secrets_in(folder: Path) -> dict[Path, set[str]]:
    """The names of the secrets that each file below a folder contains."""
    return {
        file: {name for name, secret in SECRETS.items() if secret.encode() in file.read_bytes()}
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What was in the store after each of the three runs, and what they said."""
    command = Command(tmp_path_factory.mktemp("ray"), document=DOCUMENT, executor="ray")
    scratch = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))  # short: Ray's sockets are below it
    environment = {**FAIL, **SECRETS, "TMPDIR": str(scratch)}

    process = command.start(ADAPROB_TEST_SLEEP="unlearn-finetune unlearn-adaprob", **environment)
    wait_for((command.marks / "ADAPROB_TEST_SLEEP-unlearn-finetune").exists, process)
    wait_for(lambda: len(commits(command.opened())) >= 4, process)
    command_lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    killed = commits(command.opened())
    # Looked at now, because the next run removes what a killed one leaves in the temporary folder.
    after_kill = secrets_in(scratch)

    process = command.start(ADAPROB_TEST_SLEEP_TOO="unlearn-adaprob", **environment)
    wait_for((command.marks / "ADAPROB_TEST_SLEEP_TOO-unlearn-adaprob").exists, process)
    wait_for(lambda: KILLED in commits(command.opened()), process)
    process.send_signal(signal.SIGINT)
    _, interrupted_err = process.communicate(timeout=600)
    interrupted = commits(command.opened())

    code, out, err = command.run(ADAPROB_TEST_DIE="evaluate-adaprob", **environment)
    yield {
        "files": {**after_kill, **secrets_in(scratch), **secrets_in(command.folder)},
        "command_lines": command_lines,
        "command": command,
        "store": command.opened(),
        "killed": killed,
        "interrupted": interrupted,
        "interrupted_code": process.returncode,
        "interrupted_said": interrupted_err,
        "code": code,
        "out": out,
        "err": err,
    }
    shutil.rmtree(scratch, ignore_errors=True)


def test_sigterm_interrupts_as_sigint_does(tmp_path: Path) -> None:
    """Slurm, Kubernetes and `docker stop` send it; ray.init installs a handler of its own, which ends the process at once."""
    command = Command(tmp_path, document=DOCUMENT, executor="ray")
    process = command.start(ADAPROB_TEST_SLEEP="unlearn-finetune")
    wait_for((command.marks / "ADAPROB_TEST_SLEEP-unlearn-finetune").exists, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Interrupted. Completed cells are saved." in err
    assert "stopping, up to 15 s …" in err.splitlines()
    logs = command.opened().survey()
    assert any(log.released for log in logs.values())
    assert not any(log.open_attempts for log in logs.values())


def test_no_finished_cell_is_executed_twice(story: dict[str, Any]) -> None:
    assert story["killed"].items() <= story["interrupted"].items() <= commits(story["store"]).items()
    assert 0 < len(story["killed"]) < len(story["interrupted"]) < len(CELLS) - 2
    assert {len(numbers) for numbers in commits(story["store"]).values()} == {1}


def test_each_stop_cost_the_stopped_cell_one_attempt(story: dict[str, Any]) -> None:
    assert story["store"].log(KILLED).leases == {1, 2}
    assert KILLED in story["interrupted"], "the killed cell was taken over by the next run"
    log = story["store"].log(INTERRUPTED)
    assert log.done == max(log.leases) >= 2
    for key, numbers in commits(story["store"]).items():
        stopped = key in (KILLED, INTERRUPTED, DIES)
        assert numbers == {max(story["store"].log(key).leases)}
        assert stopped or numbers == {1}


def test_an_interrupt_under_ray_exits_with_130_and_prints_the_command_that_resumes(story: dict[str, Any]) -> None:
    assert story["interrupted_code"] == 130, story["interrupted_said"]
    assert "--executor ray" in story["interrupted_said"].splitlines()[-1]
    assert "stopping, up to 15 s …" in story["interrupted_said"].splitlines()


def test_a_worker_that_dies_is_tried_again(story: dict[str, Any]) -> None:
    log = story["store"].log(DIES)
    assert log.leases == {1, 2}
    assert log.done == 2


def test_a_failure_under_ray_is_stored_and_blocks_what_is_below(story: dict[str, Any]) -> None:
    assert story["code"] == 1
    assert f"failed: {CELLS[BAD].title}: code: RuntimeError: the sky is falling" in story["err"]
    assert f"blocked: {CELLS[BELOW].title}: by {CELLS[BAD].title}" in story["err"]
    store: Store = story["store"]
    assert store.log(BAD).failed == store.log(BAD).leases
    assert not store.log(BELOW).leases
    assert commits(store).keys() == CELLS.keys() - {BAD, BELOW}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_in_no_file_log_process_list_or_store(story: dict[str, Any], name: str) -> None:
    secret = SECRETS[name].encode()
    assert any(b"raylet" in line for line in story["command_lines"]), "Ray's own processes are among them"
    assert not [line for line in story["command_lines"] if secret in line]
    said = story["out"] + story["err"] + story["interrupted_said"]
    assert secret not in said.encode()
    files: dict[Path, set[str]] = story["files"]
    assert any(file.name.startswith("raylet") for file in files), "Ray's logs are among them"
    assert not [file for file, secrets in files.items() if name in secrets]


def test_records_of_both_executors_agree_bit_for_bit(story: dict[str, Any], tmp_path: Path) -> None:
    local = Store.open(tmp_path / "local")
    run(local, DOCUMENT)
    assert same_columns(story["store"], DOCUMENT, leave="bad") == same_columns(local, DOCUMENT, leave="bad")
