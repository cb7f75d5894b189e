"""The suite notices the defects that it is there for: each, planted in our source, fails the test that is named for it.

A test that cannot fail proves nothing. The named one passes as the source is and fails, by a law that it states, as changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from defects import DEFECTS, Defect
from plant import ROOT, changed

Runner = Callable[[list[str], Sequence[Sequence[str]]], dict[str, Any]]
FAILED = 1  # of pytest's exit codes; a test that is not found, or cannot be collected, has others
every_defect = pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """Runs tests with changes, in another process."""
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # no threads that a fork would lose
    command = [sys.executable, str(Path(__file__).with_name("plant.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen(command, text=True, env={**os.environ, **quiet}, **pipes)
    assert server.stdin is not None
    assert server.stdout is not None
    requests, answers = server.stdin, server.stdout

    def run(tests: list[str], changes: Sequence[Sequence[str]]) -> dict[str, Any]:
        requests.write(json.dumps({"tests": tests, "changes": changes}) + "\n")
        requests.flush()
        answer: dict[str, Any] = json.loads(answers.readline())
        return answer

    with server:
        yield run
        requests.close()


@pytest.fixture(scope="session")
def passing(request: pytest.FixtureRequest, runner: Runner) -> set[str]:
    """Those of the named tests that pass as the source is: one run for all defects that this session plants."""
    chosen = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    tests = {given["defect"].test for given in chosen if isinstance(given.get("defect"), Defect)}
    return set(runner(sorted(tests), ())["passed"])


@every_defect
def test_the_text_of_a_defect_stands_in_our_source(defect: Defect) -> None:
    for module in {change[0] for change in defect.changes}:
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).read_text()
        own = [change for change in defect.changes if change[0] == module]
        compile(changed(source, own), spec.origin, "exec")
    assert (ROOT / defect.test.split("::")[0]).is_file()


def test_defects_have_names_of_their_own() -> None:
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 10
    assert all(defect.about for defect in DEFECTS)


@pytest.mark.slow
@every_defect
def test_a_planted_defect_fails_its_test(runner: Runner, passing: set[str], defect: Defect) -> None:
    assert defect.test in passing
    planted = runner([defect.test], defect.changes)
    assert planted["code"] == FAILED, f"not noticed: {defect.about}\n{planted['output']}"
    phase, message = planted["failed"][defect.test]
    assert phase == "call", planted["output"]
    assert message.startswith(("AssertionError", "assert ", "Failed: ")), planted["output"]
