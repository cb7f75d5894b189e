"""Each fault of the fault table once, in a sweep of twelve cells, and what the table says of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.experiment import Result, aws_variables
from benchmarks.faults.injections import FAULTS
from benchmarks.faults.page import NOTES, table
from benchmarks.faults.scenario import run_here, run_in_namespaces
from benchmarks.faults.sweep import undisturbed_records

SEEDS = 1
# These wait for a lease to expire or for heartbeats, however small the sweep is.
LONG = ("network", "clock")


def is_short(name: str) -> bool:
    """Whether the fault can meet the local executor, and needs no more than seconds."""
    return FAULTS[name].local and name not in LONG


def parameters() -> list[Any]:
    """All faults are left to `make test-faults`: together they take minutes."""
    marks = {
        True: [pytest.mark.slow, pytest.mark.cluster],
        False: [pytest.mark.slow, pytest.mark.cluster, pytest.mark.ray],
    }
    return [pytest.param(name, marks=marks[is_short(name)]) for name in FAULTS]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Records of a run that nothing disturbs, as JSON."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "records.json"
    path.write_text(json.dumps(undisturbed_records(folder / "store", seeds=SEEDS)))
    return path


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, which Ray's sockets need."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.mark.parametrize("name", parameters())
def test_nothing_finished_is_lost_repeated_or_wrong(
    name: str, undisturbed: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[name]
    if reason := fault.missing():
        pytest.skip(reason)
    for variable, value in aws_variables("").items():  # an experiment on S3 sets them: they are restored after the test
        monkeypatch.setenv(variable, value)
    if is_short(name) and fault.needs != "namespaces":
        result = run_here(name, folder=folder, undisturbed=undisturbed, seeds=SEEDS, executor="local")
    else:
        executor = "local" if is_short(name) else "ray"
        result = run_in_namespaces(
            name, folder=folder, undisturbed=undisturbed, seeds=SEEDS, executor=executor, timeout=280.0
        )
    assert (result.again, result.extra_commits, result.wrong_records, result.not_done) == ([], [], [], []), result
    assert fault.started_twice or not result.started_twice, result
    assert result.resumed_after is not None
    assert ("failed" in result.status_at_end) == bool(fault.failing), result.status_at_end


def test_the_table_counts_what_went_wrong_in_all_runs() -> None:
    run = Result(fault="driver", repetition=1, resumed_after=1.0, repeats=1, status="3 done", status_at_end="36 done")
    bad = replace(run, repetition=2, again=["a", "b"], extra_commits=["c"], wrong_records=["d"], not_done=["e"])
    assert run.clean
    assert not bad.clean
    rows = {
        line.split(" | ")[0].strip("| "): line
        for line in table([bad, run], {"clock": "needs a C compiler"}).splitlines()
    }
    assert rows["driver SIGKILL"] == "| driver SIGKILL | 2 | 2 | 1 | 2 | 1.0 | – | 1 | 3 done → 36 done |"
    assert rows["clock stepped by an hour on a lease holder"].endswith("| needs a C compiler |")
    assert len(rows) == len(FAULTS) + 2


def test_every_fault_is_described() -> None:
    assert NOTES.keys() == FAULTS.keys()
    assert len(FAULTS) == 15
