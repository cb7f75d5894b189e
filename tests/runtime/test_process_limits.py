"""Limits of the operating system, as Linux and macOS set them, before a private Ray starts."""

from __future__ import annotations

import os
import resource
from types import SimpleNamespace

import psutil
import pytest

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.process_limits import FILES_ENOUGH, PROCESSES_NEEDED, check_process_limits

UNLIMITED = resource.RLIM_INFINITY
FILES, PROCESSES = resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC


class Limits(dict[int, tuple[int, int]]):
    """The limits of a process by kind, (soft, hard), with the system's rules for changing them."""

    def set(self, kind: int, limits: tuple[int, int]) -> None:
        if limits[1] != self[kind][1] or (limits[1] != UNLIMITED and limits[0] > limits[1]):
            raise ValueError("not allowed to raise maximum limit")
        self[kind] = limits


def check(
    monkeypatch: pytest.MonkeyPatch, limits: Limits, *, threads: int = 10, others: int = 0, user: int = 1000
) -> None:
    """Run the check where this user has `threads` threads, and another user `others`."""
    processes = [
        SimpleNamespace(num_threads=lambda: threads, uids=lambda: SimpleNamespace(real=1000)),
        SimpleNamespace(num_threads=lambda: others, uids=lambda: SimpleNamespace(real=2000)),
    ]
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "getuid", lambda: user)
    monkeypatch.setattr(psutil, "process_iter", lambda: processes)
    check_process_limits()


@pytest.mark.parametrize("hard", [4096, UNLIMITED])
def test_soft_limits_are_raised(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    limits = Limits({FILES: (256, hard), PROCESSES: (100, UNLIMITED)})
    check(monkeypatch, limits)
    assert limits[FILES][0] == (FILES_ENOUGH if hard == UNLIMITED else hard)
    assert limits[PROCESSES] == (UNLIMITED, UNLIMITED)


@pytest.mark.parametrize("files", [(200, 200), (64, 1023), (1, 1)])
def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch, files: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=rf"ulimit -n: .* got {files[1]}; raise it or use --executor local"):
        check(monkeypatch, Limits({FILES: files, PROCESSES: (UNLIMITED, UNLIMITED)}))


@pytest.mark.parametrize(("limit", "threads"), [(PROCESSES_NEEDED, 10), (1000, 600), (10, 10)])
def test_too_few_processes(monkeypatch: pytest.MonkeyPatch, limit: int, threads: int) -> None:
    with pytest.raises(InputError, match=rf"ulimit -u: .* a limit of {limit}, of which {threads} are in use"):
        check(monkeypatch, Limits({FILES: (4096, 4096), PROCESSES: (limit, limit)}), threads=threads)


@pytest.mark.parametrize(("others", "user"), [(0, 1000), (5000, 1000), (0, 0)])
def test_threads_of_other_users_do_not_count_and_root_has_no_limit(
    monkeypatch: pytest.MonkeyPatch, others: int, user: int
) -> None:
    limit = PROCESSES_NEEDED + 10 if user else 10
    limits = Limits({FILES: (4096, 4096), PROCESSES: (limit, limit)})
    check(monkeypatch, limits, others=others, user=user)
    assert limits == {FILES: (4096, 4096), PROCESSES: (limit, limit)}, "a hard limit cannot be raised"
