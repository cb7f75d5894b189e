"""The benchmark of the time to the noise floor, on digits: its last epochs are the Records of the sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import adaprob_ray
from adaprob_ray import cli
from benchmarks import run_command
from benchmarks.unlearning import COLUMNS, FLOOR_COLUMNS, main

SWEEP = """
name: benchmark
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.06}
  forget: {kind: class, class: 3}
  seed: [1, 2, 3]
pretrain: false
train: {epochs: 2}
methods:
  original: {}
  retrain: {}
  retrain_independent: {}
  scrub: {epochs: 2, forget_epochs: 1}
  scrub_rewind: {epochs: 2, forget_epochs: 1}
  adaprob: {epochs: 2, lr: 1.0e-3}
metrics: [errors, membership_auc, kl_to_retrain, passes, seconds]
"""


def run(function: Callable[[], int | None], *arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["benchmark", *arguments])
        with pytest.raises(SystemExit) as stop:
            run_command(function)
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    options = ("--executor", "local", "--no-tensorboard", "--store", str(folder / "store"))
    assert cli.main(["run", str(folder / "sweep.yaml"), *options]) == 0
    return folder


@pytest.mark.slow
def test_the_last_epoch_is_the_record_of_the_sweep(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--store", str(folder / "store"), "--against", "scrub", "--out", str(folder / "table.csv"))
    assert run(main, str(folder / "sweep.yaml"), *options) == 0
    table = pd.read_csv(folder / "table.csv", keep_default_na=False)
    assert list(table.groupby("label", sort=False).size().items()) == [
        ("scrub", 2),
        ("scrub_rewind", 2),
        ("adaprob", 2),
    ]
    records = adaprob_ray.load_records(str(folder / "store"))
    for label, lines in table.groupby("label"):
        own = records[records["label"] == label]
        last = lines.iloc[-1]
        for column in COLUMNS:
            assert last[column] == pytest.approx(own[column].mean(), rel=1e-4, abs=1e-6), (label, column)
        assert last["passes"] == (own["forward_examples"] + own["backward_examples"]).mean()
        assert (lines["seconds"].diff().dropna() > 0).all()
    output = capsys.readouterr().out
    for label in ("scrub", "scrub_rewind", "adaprob"):
        assert f"{label}: never inside the floor" in output or f"{label}: inside the floor after epoch" in output
    retrain, independent = (
        records[records["label"] == label].set_index("seed") for label in ("retrain", "retrain_independent")
    )
    column = FLOOR_COLUMNS[0]
    scrub = records[records["label"] == "scrub"].set_index("seed")
    line = table[table["label"] == "scrub"].iloc[-1]
    assert line[f"{column}_difference"] == pytest.approx((scrub[column] - independent[column]).mean(), abs=1e-3)
    spread = (retrain[column] - independent[column]).std()
    assert line[f"{column}_floor"] == pytest.approx(4.302653 * spread / 3**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "scrubb"], "--labels: must be of benchmark, got scrubb (known: scrub, scrub_rewind, adaprob)"),
        (["--labels", "adaprob"], "--against: must be one of the labels that run, got scrub"),
        (["--labels", "retrain"], "--labels: must be of benchmark, got retrain"),
    ],
)
@pytest.mark.slow
def test_unknown_labels_are_one_line(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--store", str(folder / "store"), "--against", "scrub", *arguments)
    assert run(main, str(folder / "sweep.yaml"), *options) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
