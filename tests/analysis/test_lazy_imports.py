"""What `python -m analysis` loads before a builder runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.registry import ARTEFACTS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "ray", "matplotlib", "pandas", "numpy", "scipy", "sklearn", "rich", "jinja2", "optuna"}
SCRIPT = """
import contextlib, io, json, sys
from analysis.__main__ import main

with contextlib.redirect_stdout(io.StringIO()):
    for arguments in json.loads(sys.argv[1]):
        assert main(arguments) == 0
print(json.dumps(sorted(sys.modules)))
"""


def test_help_loads_neither_torch_nor_matplotlib_nor_pandas() -> None:
    commands = [["--help"], *([name, "--help"] for name in ARTEFACTS)]
    script = [sys.executable, "-c", SCRIPT, json.dumps(commands)]
    process = subprocess.run(script, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    modules = set(json.loads(process.stdout))
    assert modules & HEAVY == set()
    assert not {name for name in modules if name.startswith("adaprob_ray.reporting")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARTEFACTS)
def test_the_builder_of_every_artefact_exists(name: str) -> None:
    assert callable(ARTEFACTS[name].build)
