"""Temporary folders go with their process, or before the next run; those of living or unknown processes stay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from adaprob_ray.runtime.scratch import OWNER, remove_abandoned, scratch_folder
from adaprob_ray.store.holder import this_process

HOLD = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has tests and their processes ignore
from adaprob_ray.runtime.scratch import scratch_folder
with scratch_folder("adaprob-ray-") as outer, scratch_folder("adaprob-tune-") as inner:
    (inner / "file").write_text("")
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGABRT])
def test_the_next_run_removes_what_a_killed_process_left(temporary: Path, number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert remove_abandoned() == []
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert len(list(temporary.iterdir())) == 2
    with scratch_folder("adaprob-ray-") as folder:
        assert list(temporary.iterdir()) == [folder]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    "owner",
    [
        json.dumps(asdict(this_process())),
        json.dumps(asdict(replace(this_process(), pid=2**22 + 1, host="another"))),
        json.dumps(asdict(replace(this_process(), pid=2**22 + 1, boot="another"))),
        "",
        "[]",
        None,
    ],
    ids=["alive", "other host", "other boot", "empty", "no object", "none"],
)
def test_a_folder_whose_process_may_live_stays(temporary: Path, owner: str | None) -> None:
    folder = temporary / "adaprob-tune-x"
    folder.mkdir()
    if owner is not None:
        (folder / OWNER).write_text(owner)
    assert remove_abandoned() == []
    assert folder.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_stays(temporary: Path) -> None:
    folder = temporary / "adaprob-ray-x"
    folder.mkdir()
    (folder / OWNER).write_text(json.dumps(asdict(replace(this_process(), pid=2**22 + 1))))
    os.chown(folder, 42_001, -1)
    assert remove_abandoned() == []
    os.chown(folder, os.getuid(), -1)
    assert remove_abandoned() == [folder]
