"""What a command loads, each in a fresh process: help is immediate, and only `run` loads Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import contextlib, io, json, sys
from adaprob_ray import cli

with contextlib.redirect_stdout(io.StringIO()):
    for arguments in json.loads(sys.argv[1]):
        assert cli.main(arguments) == 0
print(json.dumps(sorted(sys.modules)))
"""


def modules_after(*commands: list[str]) -> set[str]:
    """The modules that a fresh process has loaded after these commands."""
    script = [sys.executable, "-c", SCRIPT, json.dumps(commands)]
    process = subprocess.run(script, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return set(json.loads(process.stdout))


def test_help_loads_click_and_little_else() -> None:
    names = ["", "plan", "run", "status", "explain", "data", "data list", "data prepare", "data verify", "data indices"]
    names += ["init", "init sweep", "list", "doctor", "store", "store gc", "store copy", "store verify"]
    names += ["unlearn", "audit", "compare", "report", "figure", "figure trade_off", "figure ablation"]
    modules = modules_after(*([*name.split(), "--help"] for name in names))
    heavy = {
        "torch",
        "ray",
        "rich",
        "numpy",
        "pandas",
        "pydantic",
        "yaml",
        "obstore",
        "sklearn",
        "PIL",
        "matplotlib",
        "jinja2",
    }
    assert modules & heavy == set()
    ours = {name for name in modules if name.startswith("adaprob_ray.") and not name.startswith("adaprob_ray.cli")}
    assert ours == {"adaprob_ray._version", "adaprob_ray.errors", "adaprob_ray.streams"}


def test_completion_of_commands_and_sweep_files_loads_no_catalogue() -> None:
    script = SCRIPT.replace(
        "cli.main(arguments) == 0",
        "ShellComplete(cli.commands, {}, 'adaprob-ray', 'X').get_completions(arguments, '')",
    ).replace(
        "from adaprob_ray import cli", "from adaprob_ray import cli\nfrom click.shell_completion import ShellComplete"
    )
    commands = [[], ["run"], ["data"], ["run", "x.yaml", "--executor"]]
    process = subprocess.run([sys.executable, "-c", script, json.dumps(commands)], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert set(json.loads(process.stdout)) & {"torch", "adaprob_ray.catalogue"} == set()


@pytest.mark.slow
def test_commands_that_only_read_load_neither_ray_nor_what_only_a_run_needs(sweep_file: str, tmp_path: Path) -> None:
    arguments = [sweep_file, "--store", str(tmp_path / "store")]
    modules = modules_after(["plan", *arguments], ["status", *arguments], ["explain", *arguments])
    assert modules & {"ray", "optuna", "tensorboard", "sklearn"} == set()


def test_list_never_loads_ray_and_loads_pytorch_only_for_what_is_made_of_it() -> None:
    assert modules_after(["list", "recipes"], ["list", "recipes", "small"]) & {"torch", "ray"} == set()
    kinds = ("methods", "metrics", "architectures", "datasets")
    assert modules_after(*(["list", kind] for kind in kinds)) & {"ray", "optuna", "tensorboard", "sklearn"} == set()
