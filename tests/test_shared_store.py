"""A folder that several users of one machine share: what a umask hides is said, and a store of a group hides nothing."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_contract import finish

from adaprob_ray import cli, load_records
from adaprob_ray.store import Store
from adaprob_ray.store.init import init_store

AS_USER = Path(__file__).with_name("as_user.py")
GROUP = 43_000
USERS = {42_001: 0o002, 42_022: 0o022, 42_077: 0o077}  # uid: umask

SWEEP = """\
name: shared
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.05}
  forget: {kind: selective, class: 3, count: 25}
  seed: SEEDS
train: {recipe: large, epochs: 1}
methods:
  finetune: {epochs: 1}
metrics: [errors]
precision: float32
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the group, outside the folders of pytest, which other users may not enter."""
    with tempfile.TemporaryDirectory(prefix="shared-", dir="/tmp") as name:
        os.chown(name, -1, GROUP)
        Path(name).chmod(0o2775)
        yield Path(name)


def process_of_user(
    uid: int, action: str, location: Path, *keys: str, data: str = ""
) -> subprocess.CompletedProcess[str]:
    """An action of as_user.py by that user of the group; `data` is ADAPROB_DATA, since the user may not read that of root."""
    command = [sys.executable, str(AS_USER), str(uid), str(GROUP), str(USERS[uid]), action, str(location), *keys]
    environment = {**os.environ, "ADAPROB_DATA": data}
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)


def as_user(uid: int, action: str, location: Path, *keys: str, exit_code: int = 0) -> str:
    """What an action of as_user.py prints."""
    result = process_of_user(uid, action, location, *keys)
    assert result.returncode == exit_code, result.stderr
    return result.stdout


@needs_root
@pytest.mark.parametrize("killed", USERS)
def test_three_users_of_a_group_finish_and_take_over_from_one_another(folder: Path, killed: int) -> None:
    location = folder / "store"
    as_user(killed, "share", location)
    as_user(killed, "be-killed", location, "aaaa", exit_code=-signal.SIGKILL)
    as_user(min(USERS.keys() - {killed}), "do", location, "aaaa")
    for uid in USERS:
        as_user(uid, "do", location, f"b{uid}", f"c{uid}")
    for uid in USERS:
        as_user(uid, "read", location, "aaaa", *(f"{letter}{user}" for letter in "bc" for user in USERS))
    store = Store.open(location)
    assert store.log("aaaa").commits == {2}
    assert {key: log.done for key, log in store.survey().items() if log.done != 1} == {"aaaa": 2}
    for path in location.rglob("*"):
        assert path.stat().st_mode & 0o060 == 0o060, path
        assert path.stat().st_gid == GROUP


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("killed", [42_077])  # whose files would be hidden from the others
def test_sweeps_of_three_users_of_a_group_finish_though_one_is_killed(folder: Path, killed: int) -> None:
    """The sweeps have cells in common, and what the killed one had begun is executed by another user."""
    location = folder / "store"
    sweeps = {uid: folder / f"{uid}.yaml" for uid in USERS}
    for seed, sweep in enumerate(sweeps.values(), start=2):
        sweep.write_text(SWEEP.replace("SEEDS", f"[1, {seed}]"), encoding="utf-8")
        sweep.chmod(0o644)
    as_user(killed, "share", location)
    as_user(killed, "run-and-be-killed", location, str(sweeps[killed]), exit_code=-signal.SIGKILL)
    store = Store.open(location)
    (begun,) = [key for key, log in store.survey().items() if log.open_attempts]
    for uid in [*(USERS.keys() - {killed}), killed]:
        out = as_user(uid, "run", location, str(sweeps[uid]))
        assert out.count("16 of 16 done") == 2, "the first is that of root"
    logs = store.survey()
    assert all(log.done is not None for log in logs.values())
    assert {key for key, log in logs.items() if log.leases != {1}} == {begun}
    assert len(load_records(location)) == 4 * 4  # seeds and labels
    paths = list(location.rglob("*"))
    assert any("tfevents" in path.name for path in paths)
    for path in paths:
        assert path.stat().st_mode & 0o060 == 0o060, path


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o700, 0o710])  # of the data root: closed, or open while the folder in it is closed
def test_a_data_folder_of_another_user_is_an_error_in_one_line(folder: Path, mode: int) -> None:
    (folder / "data" / "prepared").mkdir(parents=True, mode=0o700)
    (folder / "data").chmod(mode)
    os.chown(folder / "data", -1, GROUP)
    (folder / "sweep.yaml").write_text(SWEEP.replace("SEEDS", "[1]"), encoding="utf-8")
    arguments = "plan", folder / "store", str(folder / "sweep.yaml")
    process = process_of_user(42_077, *arguments, data=str(folder / "data"))
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line == (
        f"error: ADAPROB_DATA: must be a folder that you can read, got {folder / 'data'}"
        f" (Permission denied: {folder / 'data' / 'prepared'})"
    )
    assert process_of_user(42_077, *arguments).returncode == 0


@needs_root
@pytest.mark.parametrize("uid", USERS)
def test_without_group_the_umask_holds(folder: Path, uid: int) -> None:
    as_user(uid, "do", folder / "store", "aaaa")
    for path in (folder / "store").rglob("*"):
        full = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) & 0o777 == full & ~USERS[uid], path


@needs_root
def test_what_a_umask_hides_is_named_and_skipped(folder: Path) -> None:
    location = folder / "store"
    as_user(42_001, "share", location)
    (location / "store.json").write_text('{"format":1}')  # a shared folder whose users write with their own umasks
    as_user(42_001, "do", location, "aaaa", "bbbb")
    as_user(42_077, "do", location, "cccc")
    report = json.loads(as_user(42_022, "look", location, "cccc"))
    assert report["visible"] == ["aaaa", "bbbb"]
    (line,) = [line for line in report["lines"] if "1 folder skipped" in line and "cells/cccc (uid 42077)" in line]
    assert "store init --group" in line
    assert "cells/cccc" in report["refusal"]


@needs_root
def test_sharing_later_gives_the_group_what_was_there(folder: Path) -> None:
    location = folder / "store"
    as_user(42_077, "do", location, "aaaa")
    as_user(42_077, "share", location)
    as_user(42_022, "read", location, "aaaa")
    as_user(42_022, "do", location, "bbbb")


def test_init_creates_a_store_and_mends_its_description(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    location = str(tmp_path / "store")
    assert cli.main(["store", "init", "--store", location]) == 0
    finish(Store.open(location), weights=b"w")
    for damaged in (b"", b'{"form', b"\x00" * 12, b"[1]"):
        (tmp_path / "store" / "store.json").write_bytes(damaged)
        capsys.readouterr()
        assert cli.main(["store", "verify", "--store", location]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"store.json is damaged ({len(damaged)} bytes" in line
        assert f"adaprob-ray store init --store {location}" in line
        assert cli.main(["store", "init", "--store", location]) == 0
        assert cli.main(["store", "verify", "--store", location]) == 0
    assert [path.name for path in (tmp_path / "store").glob(".*")] == []


def test_the_umask_is_as_before_after_a_shared_store_is_written(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        init_store(str(tmp_path / "store"), group=True)
        finish(Store.open(tmp_path / "store"), weights=b"w")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o777 for path in (tmp_path / "store").rglob("*") if path.is_file()}
    assert modes == {0o660}
