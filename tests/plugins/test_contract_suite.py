"""The contract tests as a user of another package runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import packages
import pytest

from adaprob_ray.contract.cases import Case, cases

ROOT = Path(__file__).resolve().parents[2]
DECLARED = packages.METHOD.replace(
    "    def unlearn(", "    def updated_statistics(self, model, batch_norm):\n        return []\n\n    def unlearn("
)


def suite(folder: Path, method: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`pytest --pyargs adaprob_ray.contract --method …` with the entry point that an installed package has."""
    metadata = folder / "site/entry_point-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: entry-point\nVersion: 1\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(
        "[pytest11]\nadaprob_ray.pytest_plugin = adaprob_ray.pytest_plugin\n", encoding="utf-8"
    )
    path = os.pathsep.join([str(ROOT), str(folder / "site")])
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--pyargs", "adaprob_ray.contract"]
    return subprocess.run(
        [*command, "--method", method, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": ""},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.slow
def test_a_method_that_keeps_the_contract_passes_all_of_it(tmp_path: Path) -> None:
    packages.write_package(tmp_path, "own_contract", method=DECLARED)
    process = suite(tmp_path, "own_contract.method:Noise", "-rs")
    assert process.returncode == 0, process.stdout
    passed = re.search(r"(\d+) passed", process.stdout)
    assert passed is not None
    # Those of each unlearning case with `{}`, and of each method: see adaprob_ray/contract.
    assert int(passed[1]) >= 25


@pytest.mark.slow
def test_one_that_breaks_it_fails_with_the_reason(tmp_path: Path) -> None:
    wrong = packages.METHOD.replace("Cost(forward=0, backward=0)", "Cost(forward=3, backward=0)")
    packages.write_package(tmp_path, "own_breach", method=wrong)
    process = suite(tmp_path, "own_breach.method:Noise", "-m", "not slow")
    assert process.returncode == 1
    assert "counted 0 forward and 0 backward, cost() declares 3 and 0; samples: retain 148" in process.stdout
    assert "stays under batch_norm: train, and updated_statistics() declares that it changes" in process.stdout


def test_one_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    process = suite(tmp_path, "nowhere.mine:Method")
    assert process.returncode == 4
    assert (
        "ERROR: --method: nowhere.mine:Method: must be in a module that can be imported, got no module"
        in process.stderr
    )


def test_other_tests_have_no_option_method(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_it():\n    pass\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "adaprob_ray.pytest_plugin", "--method", "x"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert process.returncode == 4
    assert "unrecognized arguments: --method" in process.stderr


def test_the_suite_has_a_case_for_each_choice_and_for_tested_settings() -> None:
    settings = [case.settings for case in cases("unlearn") if case.method == "adaprob"]
    assert settings[0] == "{}"
    assert '{"reference": "pseudo"}' in settings
    assert Case("finetune").build() == Case("finetune").cls()
