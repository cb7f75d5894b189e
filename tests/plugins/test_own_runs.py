"""Sweeps, searches and single models with the methods, metrics, networks and data sets of another package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import packages
import pytest
import torch
from torch import nn

import adaprob_ray
from adaprob_ray import cli
from adaprob_ray.errors import InputError

Write = Callable[..., str]
ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, as a user gives it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ADAPROB_STORE": str(folder / "store"), "COLUMNS": "200"}
    command = [sys.executable, "-c", "import sys; from adaprob_ray import cli; sys.exit(cli.main())", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")


def succeed(folder: Path, *arguments: str) -> str:
    process = run(folder, *arguments)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.mark.slow
def test_a_sweep_is_run_compared_edited_and_run_again(tmp_path: Path) -> None:
    packages.write_package(tmp_path, "own_sweep")
    plan = succeed(tmp_path, "plan", "own.yaml")
    assert "Noise (own_sweep.method:Noise)  sigma=0.02  0 of 1 done" in plan
    assert "8 cells executed, 8 of 8 done" in succeed(tmp_path, "run", "own.yaml", "--executor", "local")
    table = succeed(tmp_path, "compare", "own.yaml")
    assert "own_sweep.data:stripes · own_sweep.nets:small(width=2) · forget 5 samples of class 1" in table
    assert "\nNoise " in table
    assert "test top" in table
    assert "written: out/report.html" in succeed(tmp_path, "report", "own.yaml")
    assert "100 % done" in succeed(tmp_path, "status", "own.yaml")
    (tmp_path / "own_sweep/scale.py").write_text("SCALE = 2.0\n", encoding="utf-8")
    closest = succeed(tmp_path, "explain", "own.yaml", "unlearn-Noise")
    assert "revisions.source:own_sweep.method: " in closest.partition("closest completed cell")[2]
    assert "2 cells executed, 8 of 8 done" in succeed(tmp_path, "run", "own.yaml", "--executor", "local")
    assert "0 cells executed, 8 of 8 done" in succeed(tmp_path, "run", "own.yaml", "--executor", "local")
    again = succeed(tmp_path, "run", "own.yaml", "--executor", "local", "--rerun", "method=own_sweep.method:Noise")
    assert "to compute again: 2 finished cells (1 unlearn, 1 evaluate)" in again


def test_a_package_next_to_the_sweep_file_is_found_from_another_folder(tmp_path: Path) -> None:
    packages.write_package(tmp_path / "there", "own_neighbour")
    (tmp_path / "here").mkdir()
    assert "to execute: 8 cells" in succeed(tmp_path / "here", "plan", "../there/own.yaml")


def test_a_module_without_a_package_and_labels_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        packages.METHOD.replace("from NAME.scale import SCALE\n", "SCALE = 1\n"), encoding="utf-8"
    )
    sweep = """\
name: one
grid: {dataset: digits, architecture: {name: allcnn, filters: 0.06}, forget: {kind: class, class: 1}, seed: 1}
methods:
  mine:Noise:
    - {where: {dataset: digits}, with: {sigma: 0.01}}
  strong: {method: "mine:Noise", sigma: [0.1, 0.2]}
metrics: [errors]
"""
    (tmp_path / "one.yaml").write_text(sweep, encoding="utf-8")
    plan = succeed(tmp_path, "plan", "one.yaml")
    assert "Noise (mine:Noise)   sigma=0.01  0 of 1 done" in plan
    assert "strong (mine:Noise)  sigma=0.1   0 of 1 done" in plan
    (tmp_path / "two.yaml").write_text(sweep.replace("strong:", "Noise:"), encoding="utf-8")
    process = run(tmp_path, "plan", "two.yaml")
    assert process.returncode == 2
    assert "must have a label of its own, because 'Noise' is one already" in process.stderr


@pytest.mark.slow
def test_a_metric_that_returns_other_columns_fails_its_cell_with_the_reason(tmp_path: Path) -> None:
    wrong = packages.METRIC.replace('{"test_top_logit": ', '{"top": ')
    packages.write_package(tmp_path, "own_wrong", metric=wrong)
    process = run(tmp_path, "run", "own.yaml", "--executor", "local", "--only", "label=original")
    assert process.returncode == 1
    assert "own_wrong.metric:TOP_LOGIT: must return its columns, test_top_logit, got top" in process.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_workers_of_ray_import_it_from_next_to_the_sweep_file(tmp_path: Path) -> None:
    packages.write_package(tmp_path / "there", "own_on_ray")
    (tmp_path / "here").mkdir()
    output = succeed(tmp_path / "here", "run", "../there/own.yaml", "--cpus", "1", "--no-tensorboard")
    assert "8 cells executed, 8 of 8 done" in output


@pytest.mark.ray
@pytest.mark.slow
def test_nodes_of_a_cluster_that_see_no_folder_get_the_package_from_ray(tmp_path: Path) -> None:
    packages.write_package(tmp_path / "there", "own_on_cluster")
    (tmp_path / "here").mkdir()
    script = Path(__file__).parent / "own_cluster.py"
    process = subprocess.run(
        [sys.executable, str(script), "../there/own.yaml", str(tmp_path / "store")],
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert process.returncode == 0, process.stdout + process.stderr
    modules = ", ".join(f"own_on_cluster.{module}" for module in ("metric", "method", "data", "nets"))
    assert f"{modules} imported" in process.stdout
    assert "8 cells executed, 8 of 8 done" in process.stdout


@pytest.mark.slow
def test_a_search_tunes_it_and_freezes_its_settings(tmp_path: Path) -> None:
    sweep = packages.write_package(tmp_path, "own_search")
    text = sweep.read_text(encoding="utf-8").replace("{sigma: 0.02}", "{}").replace("seed: 1", "seed: 2")
    search = f"{text}search: {{trials: 2, seeds: [1], rule: validation}}\n"
    (tmp_path / "search.yaml").write_text(search, encoding="utf-8")
    output = succeed(tmp_path, "search", "search.yaml", "--executor", "local")
    assert "Noise on own_search.data:stripes, own_search.nets:small(width=2), 5of1" in output
    succeed(tmp_path, "search", "search.yaml", "--freeze", "frozen.yaml")
    assert "{method: 'own_search.method:Noise'" in (tmp_path / "frozen.yaml").read_text(encoding="utf-8")
    assert "to execute: " in succeed(tmp_path, "plan", "frozen.yaml")
    (tmp_path / "own_search/scale.py").write_text("SCALE = 2.0\n", encoding="utf-8")
    assert "0 of 2 trials" in succeed(tmp_path, "search", "search.yaml", "--show")


def test_list_describes_what_a_path_names(own_package: Write, capsys: pytest.CaptureFixture[str]) -> None:
    name = own_package()
    for kind, path, lines in (
        ("methods", "method:Noise", ["Noise on the weights", "sigma  number  0.05     > 0    standard deviation"]),
        ("metrics", "metric:TOP_LOGIT", ["Mean largest logit", "test_top_logit"]),
        ("architectures", "nets:small", ["One convolution.", "arguments: width=4"]),
        ("datasets", "data:stripes", ["Striped noise", "classes: 3"]),
    ):
        assert cli.main(["list", kind, f"{name}.{path}"]) == 0
        output = capsys.readouterr().out
        assert all(line in output for line in lines), output
    assert cli.main(["list", "methods", f"{name}.method:Nose"]) == 2
    assert "unknown name 'Nose'; did you mean 'Noise'?" in capsys.readouterr().err


def test_unlearn_takes_a_path_and_the_record_says_where_the_method_is_from(own_package: Write) -> None:
    name = own_package()
    torch.manual_seed(0)
    images, labels = torch.randn(60, 8), torch.arange(60) % 3
    model = nn.Sequential(nn.Linear(8, 3))
    result = adaprob_ray.unlearn(
        model, (images, labels), forget=[0, 3], method=f"{name}.method:Noise", sigma=0.5, progress=False, max_drop=100.0
    )
    assert not torch.equal(result.model[0].weight, model[0].weight)  # type: ignore[index]
    method = result.record["predicate"]["method"]
    assert method["path"] == f"{name}.method:Noise"
    assert method["settings"] == {"sigma": 0.5}
    assert method["sourceDigest"] > 0
    with pytest.raises(InputError, match=f"method: {name}.method:Nose: unknown name 'Nose'"):
        adaprob_ray.unlearn(model, (images, labels), forget=[0], method=f"{name}.method:Nose")


@pytest.mark.slow
def test_the_command_unlearn_takes_a_path(tmp_path: Path) -> None:
    packages.write_package(tmp_path, "own_command")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def make():\n    return nn.Linear(4, 2)\n"
        "def data():\n    x = torch.arange(160.0).reshape(40, 4) / 160\n    return x, torch.arange(40) % 2\n",
        encoding="utf-8",
    )
    (tmp_path / "rows.txt").write_text("1\n2\n", encoding="utf-8")
    inputs = ["--model", "net.py:make", "--data", "net.py:data", "--forget", "rows.txt", "--max-drop", "100"]
    options = ["--method", "own_command.method:Noise", "--set", "sigma=1", "--out", "out"]
    assert "by noise (sigma=1)" in succeed(tmp_path, "unlearn", *inputs, *options)
    record = json.loads((tmp_path / "out/record.json").read_text(encoding="utf-8"))
    assert record["predicate"]["method"]["path"] == "own_command.method:Noise"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "entries agree with the record" in succeed(elsewhere, "audit", str(tmp_path / "out"))
