"""The whole command against a real, tiny store: tables, files, missing and corrupt Records, exit codes."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from adaprob_ray import cli
from analysis.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow  # two processes that import torch: 5 s of one core; the rest of tests/analysis is fast

SWEEP = """
name: tiny
grid: {dataset: digits, architecture: {name: allcnn, filters: 0.02}, forget: {kind: selective, class: 3, count: 25}, seed: 1}
train: {recipe: large, epochs: 1}
methods:
  finetune: {epochs: 1, lr: [0.01, 0.02]}
metrics: [errors, kl_to_retrain, seconds]
"""


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds tiny.yaml and its store, every cell done."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "tiny.yaml").write_text(SWEEP)
    process = python("adaprob_ray", "run", "tiny.yaml", "--store", "store", "--executor", "local", folder=folder)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder


def test_tables_are_printed_and_written(folder: Path) -> None:
    process = python(
        "analysis", "compare", "--store", "store", "--sweep", "tiny.yaml", "--out", "new/out", folder=folder
    )
    assert process.returncode == 0, process.stderr
    assert "digits · allcnn, filters 0.02 · forget 25 samples of class 3" in process.stdout
    assert "finetune lr=0.01" in process.stdout
    assert "n = 1 seed (1)" in process.stdout
    assert max(map(len, process.stdout.splitlines())) <= 100
    lines = list(csv.DictReader((folder / "new/out/compare-tiny.csv").open()))
    rows = {(line["label"], line["settings"]) for line in lines}
    assert rows == {
        ("original", ""), ("retrain", ""), ("retrain_independent", ""), ("finetune", "lr=0.01"), ("finetune", "lr=0.02"),
        ("noise floor", ""),
    }  # fmt: skip
    assert "| finetune lr=0.02 |" in (folder / "new/out/compare-tiny.md").read_text()


def test_chosen_metrics(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["compare", "--store", str(folder / "store"), "--sweep", str(folder / "tiny.yaml"), "--out", str(tmp_path)]
    assert main([*call, "--metrics", "kl_test_nats,test_error_percent"]) == 0
    metrics = [line["metric"] for line in csv.DictReader((tmp_path / "compare-tiny.csv").open())]
    assert list(dict.fromkeys(metrics)) == ["kl_test_nats", "test_error_percent"]
    capsys.readouterr()
    assert main([*call, "--metrics", "test_eror_percent"]) == 2
    assert "did you mean 'test_error_percent'?" in capsys.readouterr().err


def test_another_label_to_compare_with(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--store", str(folder / "store"), "--out", str(tmp_path)]
    assert main(["compare", *place, "--sweep", str(folder / "tiny.yaml"), "--against", "original"]) == 0
    assert "difference from original, same seed" in (tmp_path / "compare-tiny-against-original.md").read_text()
    written = (tmp_path / "compare-tiny-against-original.csv").read_text()
    (tmp_path / "compare-tiny-against-original.csv").unlink()
    assert cli.main(["compare", str(folder / "tiny.yaml"), *place, "--against", "original"]) == 0
    assert (tmp_path / "compare-tiny-against-original.csv").read_text() == written
    assert not (tmp_path / "compare-tiny.csv").exists()
    capsys.readouterr()
    assert cli.main(["compare", str(folder / "tiny.yaml"), *place, "--against", "finetune"]) == 2
    assert "finetune must have one row, has 2 (lr=0.01, lr=0.02)" in capsys.readouterr().err
    assert cli.main(["compare", str(folder / "tiny.yaml"), *place, "--against", "finetun"]) == 2
    assert "--against: unknown label 'finetun'; did you mean 'finetune'?" in capsys.readouterr().err


def test_missing_records_are_named_with_the_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wider = tmp_path / "wider.yaml"
    wider.write_text(SWEEP.replace("seed: 1", "seed: [1, 2]"))
    store, out = str(folder / "store"), tmp_path / "out"
    assert main(["compare", "--store", store, "--sweep", str(wider), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    first, *lines = printed.err.splitlines()
    assert [line.rpartition("-")[0] for line in lines] == [
        f"error: missing: evaluate-{label}-digits-allcnn-25of3-s2"
        for label in ("original", "retrain", "retrain_independent", "finetune-lr=0.01", "finetune-lr=0.02")
    ]
    command = f"adaprob-ray run {wider} --store {store} --only seed=2"
    assert first == f"error: 5 of 10 Records are missing; compute them with:  {command}"
    assert not printed.out
    assert not out.exists()


def test_of_many_missing_records_five_are_named_and_the_command_computes_just_those(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wider = tmp_path / "wider.yaml"
    wider.write_text(SWEEP.replace("lr: [0.01, 0.02]", f"lr: [0.01, 0.02, {', '.join(f'0.1{n}' for n in range(7))}]"))
    store = tmp_path / "store"
    subprocess.run(["cp", "-r", folder / "store", store], check=True)
    call = ["compare", "--store", str(store), "--sweep", str(wider), "--out", str(tmp_path / "out")]
    assert main(call) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith("error: 7 of 12 Records are missing; compute them with:  adaprob-ray run ")
    assert len(lines) == 6
    assert lines[-1] == "error: missing: and 2 more"
    command = shlex.split(first.partition("compute them with:  ")[2])
    assert command[command.index("--only") + 1] == "label=finetune"
    assert main([*call, "--only", "seed=1,label=finetune"]) == 2
    assert "--only seed=1,label=finetune" in capsys.readouterr().err, "what was asked for stays"
    assert main([*call, "--partial"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("evaluate-finetune-lr=0.1") == 5
    assert "and 2 more" in printed
    assert cli.main([*command[1:], "--executor", "local"]) == 0
    assert main(call) == 0


def test_a_corrupt_record_is_a_missing_one(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    subprocess.run(["cp", "-r", folder / "store", store], check=True)
    damaged = sorted(store.glob("attempts/*/1/record.json"))[:2]
    for path in damaged:
        path.write_text(json.dumps({**json.loads(path.read_text()), "test_error_percent": 0.0}))
    call = ["compare", "--store", str(store), "--sweep", str(folder / "tiny.yaml"), "--out", str(tmp_path / "out")]
    assert main(call) == 2
    printed = capsys.readouterr()
    assert "(record.json has " in printed.err
    for path in damaged:
        assert re.search(rf"^error: missing: evaluate-\S+-{path.parts[-3][:8]}\b", printed.err, re.MULTILINE)
    assert "error: 2 of 5 Records are missing; compute them with:  adaprob-ray run " in printed.err
    assert not printed.out
    assert not (tmp_path / "out").exists()


def test_bad_input_and_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--store", str(tmp_path / "none"), "--sweep", str(ROOT / "sweeps/quickstart.yaml")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: store ")
    assert "48 of 48 Records are missing; compute them with:  adaprob-ray run" in errors
    assert main(["compare", "--sweep", str(tmp_path / "none.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
