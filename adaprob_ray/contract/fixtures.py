"""Fixtures and marks of the contract tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

import adaprob_ray
from adaprob_ray.contract.cases import Case, chosen


def every_case(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """Once for each case; cases other than `{}` are marked slow."""
    marks = {True: [], False: [pytest.mark.slow]}
    return pytest.mark.parametrize(
        "case", [pytest.param(case, id=case.name, marks=marks[case.settings == "{}"]) for case in cases]
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads: bit for bit needs the same number everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digests_of_another_process() -> dict[str, str]:
    """The digests of all cases in another process."""
    root = str(Path(adaprob_ray.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    script = [sys.executable, "-m", "adaprob_ray.contract.digests", *chosen()]
    process = subprocess.run(script, capture_output=True, text=True, env=environment, check=True, encoding="utf-8")
    digests: dict[str, str] = json.loads(process.stdout)
    return digests
