"""`adaprob-ray run` on a tiny sweep where something around it is unusual: it works, or says in one line what to do."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from adaprob_ray import cli
from adaprob_ray.errors import InputError
from adaprob_ray.runtime import private_folder as folders
from adaprob_ray.runtime.installation import check_installation
from adaprob_ray.runtime.machine_resources import Limits, allotted_cpus, cgroup_quotas

SWEEP = """\
name: tiny
about: für Grüße – größer als ±1
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.02}
  forget: {kind: selective, class: 3, count: 25}
  seed: 1
train: {recipe: large, epochs: 1}
methods: {finetune: {epochs: 1}}
metrics: [errors]
"""
ONE_CELL = ["--only", "method=original,stage=train"]


def run(
    tmp_path: Path,
    *options: str,
    prefix: tuple[str, ...] = (),
    environment: dict[str, str | None] | None = None,
    sweep: str = SWEEP,
    **arguments: Any,
) -> subprocess.CompletedProcess[str]:
    """`adaprob-ray run` of one cell; an entry of `environment` that is None is removed."""
    path = tmp_path / "tiny.yaml"
    path.write_text(sweep, encoding="utf-8")
    variables: dict[str, str | None] = {**os.environ, "PYTHONIOENCODING": None, **(environment or {})}
    command = [sys.executable, "-m", "adaprob_ray", "run", str(path), "--store", str(tmp_path / "store"), *ONE_CELL]
    return subprocess.run(
        [*prefix, *command, *options],
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=200,
        **arguments,
    )


def works_or_says_what_to_do(process: subprocess.CompletedProcess[str]) -> None:
    """Done, or exit code 2 with a single line."""
    if process.returncode == 0:
        assert "cells executed, 1 of 1 done" in process.stdout
        return
    assert process.returncode == 2, process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_XX.unknown"])
def test_a_locale_without_utf8(locale: str, tmp_path: Path) -> None:
    process = run(
        tmp_path, "--executor", "local", environment={"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_a_temporary_folder_that_is_long_and_beyond_ascii(tmp_path: Path) -> None:
    folder = tmp_path / ("t" * 60 + "ü")
    folder.mkdir()
    process = run(tmp_path, environment={"TMPDIR": str(folder)})
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_no_home(tmp_path: Path) -> None:
    process = run(tmp_path, environment={"HOME": None})
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_a_closed_standard_output(tmp_path: Path) -> None:
    process = run(tmp_path, prefix=("sh", "-c", '"$@" >&-', "sh"))
    assert (process.returncode, process.stdout) == (0, ""), process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
def test_a_reader_of_the_progress_that_goes_away(tmp_path: Path) -> None:
    run(tmp_path, "--executor", "local", prefix=("sh", "-c", '"$@" 2>&1 | true', "sh"))
    process = run(tmp_path, "--executor", "local")
    assert "0 cells executed, 1 of 1 done" in process.stdout


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset")
def test_one_cpu_is_allotted(tmp_path: Path) -> None:
    first = str(min(os.sched_getaffinity(0)))
    process = run(tmp_path, prefix=("taskset", "-c", first))
    assert process.returncode == 0, process.stderr
    sweep = SWEEP + "resources: {train: {cpu: 2}}\n"
    for executor in ("ray", "local"):
        folder = tmp_path / executor
        folder.mkdir()
        process = run(folder, "--executor", executor, prefix=("taskset", "-c", first), sweep=sweep)
        assert process.returncode == 2
        assert "got cpu 2 (it has 1)" in process.stderr
        assert not (folder / "store").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_two_hundred_open_files(tmp_path: Path) -> None:
    process = run(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)))
    works_or_says_what_to_do(process)
    assert "error: ulimit -n: must be at least 1024 open files for Ray, got 200; " in process.stderr


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounting needs root and unshare")
def test_a_small_shared_memory(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"'
    works_or_says_what_to_do(run(tmp_path, prefix=("unshare", "-m", "sh", "-c", mount, "sh")))


def test_limits_are_the_least_of_affinity_quota_and_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert allotted_cpus({}, tmp_path) == 16
    assert allotted_cpus({"SLURM_CPUS_ON_NODE": "6"}, tmp_path) == 6
    assert allotted_cpus({"SLURM_CPUS_ON_NODE": "64"}, tmp_path) == 16
    assert allotted_cpus({"SLURM_CPUS_ON_NODE": "nonsense"}, tmp_path) == 16
    write(tmp_path / "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path / "sys/fs/cgroup/a/cpu.max", "350000 100000\n")
    write(tmp_path / "sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
    assert cgroup_quotas(tmp_path) == [3.5]
    assert allotted_cpus({}, tmp_path) == 3
    write(tmp_path / "sys/fs/cgroup/a/b/cpu.max", "20000 100000\n")
    assert allotted_cpus({}, tmp_path) == 1


def test_a_quota_of_the_first_version_counts_where_a_container_hides_the_path(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/docker/123\n0::/\n")
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n")
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert cgroup_quotas(tmp_path) == [2.5]
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    assert cgroup_quotas(tmp_path) == []


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_limit_is_never_more_than_what_is_allotted() -> None:
    assert Limits(cpus=1).count_cpus() == 1
    assert Limits(cpus=10_000).count_cpus() == allotted_cpus()
    assert Limits(gpus=0).count_gpus() == 0


@pytest.mark.parametrize(
    ("prepare", "fault"),
    [
        (lambda folder: folder / "missing", "No such file"),
        (lambda folder: folder.chmod(0o777) or folder, "may be changed by other users"),
        (lambda folder: folder.chmod(0o770) or folder, "may be changed by other users"),
        (lambda folder: Path("/tmp/ü"), "beyond ASCII"),
        (lambda folder: Path("/tmp/a-folder-with-26-characters"), "characters, more than"),
        (lambda folder: Path("relative"), "not an absolute path"),
    ],
)
def test_a_folder_that_ray_cannot_use_is_known(
    prepare: Callable[[Path], Path], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "characters" not in fault:
        monkeypatch.setattr(folders, "MAX_LENGTH", 1000)
    assert fault in (folders.folder_fault(prepare(tmp_path)) or "")


def test_the_folder_of_ray_lies_in_one_that_only_this_user_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere/at/all")
    with folders.private_folder() as folder:
        outer = folder.parent
        assert stat.S_IMODE(outer.stat().st_mode) == 0o700
        assert len(str(folder)) <= folders.MAX_LENGTH + 23
    assert not outer.exists()


def test_where_no_folder_can_be_used_one_line_names_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "FALLBACKS", ("/nowhere",))
    monkeypatch.setenv("TMPDIR", "/tmp/ü")
    with pytest.raises(InputError, match="beyond ASCII; /nowhere No such file") as caught, folders.private_folder():
        pass
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("requirement", "version", "is_good"),
    [
        ("numpy>=2", "1.26.4", False),
        ("tensorboard>=2.21", "2.16.2", False),
        ("optuna>=5,<6", "6.0.0", False),
        ("ray[default,tune]==2.60.0", "2.60.0", True),
        ("torch>=2.11", "2.14.1+cu130", True),
        ("ruff>=0.14; extra == 'dev'", "0.1", True),
    ],
)
def test_a_package_of_another_version_is_named(
    requirement: str, version: str, is_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: [requirement])
    monkeypatch.setattr(metadata, "version", lambda _: version)
    if is_good:
        check_installation()
        return
    with pytest.raises(InputError, match=r"installation: .* must be .*, got .*; install it: pip install") as caught:
        check_installation()
    assert version in caught.value.faults[0]


@pytest.mark.parametrize("options", [["--cpus", "2"], ["--gpus", "0"], ["--cpus", "1", "--gpus", "1"]])
@pytest.mark.parametrize("command", ["run", "search"])
def test_limits_of_this_machine_are_refused_for_a_cluster(
    command: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(__file__).parents[2] / "sweeps" / ("search_digits.yaml" if command == "search" else "quickstart.yaml")
    assert cli.main([command, str(path), "--store", str(tmp_path / "store"), "--address", "127.0.0.1:1", *options]) == 2
    names = ", ".join(option for option in options if option.startswith("--"))
    assert capsys.readouterr().err.startswith(f"error: {names}: must be given without --address: ")
    assert not (tmp_path / "store").exists()
