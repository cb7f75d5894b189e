"""The benchmark of the time to the noise floor, on digits: its last epochs are the Records of the sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import adaprob_ray
from adaprob_ray import cli
from adaprob_ray.reporting.stats.equivalence import COLUMNS
from benchmarks import retain_error, run_command
from benchmarks.unlearning import faster, main, table, verdicts
from benchmarks.unlearning_states import MEASURED, State

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
def test_the_rise_of_the_retain_error_is_that_of_the_records(folder: Path) -> None:
    pair = (str(folder / "sweep.yaml"), str(folder / "store"))
    assert run(retain_error.main, *pair, "--out", str(folder / "rises.csv")) == 0
    rises = pd.read_csv(folder / "rises.csv").set_index("label")
    assert list(rises.index) == ["scrub", "scrub_rewind", "adaprob"]
    records = adaprob_ray.load_records(pair[1]).pivot(index="seed", columns="label", values="retain_error_percent")
    for label in rises.index:
        rise = records[label] - records["original"]
        expected = [records["original"].mean(), records[label].mean(), rise.mean(), rise.max(), 3]
        columns = ["original", "unlearned", "rise", "largest_rise", "seeds"]
        assert rises.loc[label, columns].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_without_models_the_rise_of_the_retain_error_is_one_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = folder / "other.yaml"
    other.write_text(SWEEP.replace("seed: [1, 2, 3]", "seed: 4"), encoding="utf-8")
    assert run(retain_error.main, str(other), str(folder / "store")) == 2
    assert "must have unlearned models" in capsys.readouterr().err
    other.write_text(SWEEP.replace("lr: 1.0e-3", "lr: [1.0e-3, 1.0e-2]"), encoding="utf-8")
    assert run(retain_error.main, str(other), str(folder / "store")) == 2
    assert "must have one setting for each label, got several of adaprob" in capsys.readouterr().err
    assert run(retain_error.main, str(other)) == 2
    assert "SWEEP STORE: must be pairs, got 1 names" in capsys.readouterr().err


@pytest.mark.slow
def test_the_last_epoch_is_the_record_of_the_sweep(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--store", str(folder / "store"), "--against", "scrub", "--out", str(folder / "table.csv"))
    assert run(main, str(folder / "sweep.yaml"), *options) == 0
    printed = pd.read_csv(folder / "table.csv", keep_default_na=False)
    assert list(printed.groupby("label", sort=False).size().items()) == [
        ("scrub", 2),
        ("scrub_rewind", 2),
        ("adaprob", 2),
    ]
    records = adaprob_ray.load_records(str(folder / "store"))
    for label, lines in printed.groupby("label"):
        own = records[records["label"] == label]
        last = lines.iloc[-1]
        for column in MEASURED:
            assert last[column] == pytest.approx(own[column].mean(), rel=1e-4, abs=1e-6), (label, column)
        assert last["passes"] == (own["forward_examples"] + own["backward_examples"]).mean()
        assert (lines["seconds"].diff().dropna() > 0).all()
    output = capsys.readouterr().out
    for label in ("scrub", "scrub_rewind", "adaprob"):
        assert output.count(f"seed 1: {label}: ") == 2, "in both orders"
        assert output.count(f"{label}: at its end") == 1
    assert "scrub: equivalent to Retrain after" in output
    assert "scrub_rewind: equivalent to Retrain after" not in output, "it may return the state of any epoch"
    column = COLUMNS[0]
    by_label = {label: rows.set_index("seed")[column] for label, rows in records.groupby("label")}
    line = printed[printed["label"] == "scrub"].iloc[-1]
    difference = (by_label["scrub"] - by_label["retrain_independent"]).mean()
    assert line[f"{column}_difference"] == pytest.approx(difference, abs=1e-3)
    spread = (by_label["retrain"] - by_label["retrain_independent"]).std()
    assert line[f"{column}_margin"] == pytest.approx(4.302653 * spread / 3**0.5, rel=1e-3)


RETRAIN = {
    "test_error_percent": 35.0,
    "retain_error_percent": 5.0,
    "membership_auc_percent": 50.0,
    "kl_forget_nats": 0.4,
}
FORGET = {1: (57.0, 54.0), 2: (51.0, 58.0), 3: (60.0, 55.0)}  # of Retrain and of the independent one


def made_up(forget: float, seed: int, seconds: float) -> State:
    """Retrain in all but forget error, which is the independent one's moved by `forget`."""
    return State(seconds, int(100 * seconds), {**RETRAIN, "forget_error_percent": FORGET[seed][1] + forget})


REFERENCES = {
    seed: {
        "retrain": {**RETRAIN, "forget_error_percent": retrain},
        "retrain_independent": {**RETRAIN, "forget_error_percent": independent},
    }
    for seed, (retrain, independent) in FORGET.items()
}


def test_the_first_equivalent_epoch_and_the_end_are_told_apart() -> None:
    states = {
        "overshoots": {
            seed: [made_up(move, seed, 1.0 + at) for at, move in enumerate((-40.0, 0.0, 40.0))] for seed in FORGET
        },
        "slow": {
            seed: [made_up(move, seed, 10.0 * (at + 1)) for at, move in enumerate((-40.0, 1.0))] for seed in FORGET
        },
    }
    lines = pd.DataFrame(table(states, REFERENCES))
    assert list(verdicts(lines, "slow")) == [
        "overshoots: equivalent to Retrain after epoch 2: 2.0 s, 200 passes",
        "overshoots: at its end not equivalent in forget error: 3.0 s, 300 passes; 0.15x the seconds and 0.15x the passes of "
        "slow",
        "slow: equivalent to Retrain after epoch 2: 20.0 s, 2,000 passes",
        "slow: at its end equivalent to Retrain: 20.0 s, 2,000 passes; 1.00x the seconds and 1.00x the passes of slow",
    ]
    assert [line for line in verdicts(lines, "slow", ["overshoots"]) if "after epoch" in line] == [
        "slow: equivalent to Retrain after epoch 2: 20.0 s, 2,000 passes"
    ]


def test_a_seed_that_ends_early_keeps_its_result() -> None:
    states = {"early": {seed: [made_up(-40.0, seed, 1.0), made_up(0.0, seed, 2.0)] for seed in (2, 3)}}
    states["early"][1] = [made_up(0.0, 1, 1.5)]
    lines = pd.DataFrame(table(states, REFERENCES))
    assert list(lines["not_equivalent"]) == ["forget error", ""]
    assert list(lines["seconds"]) == pytest.approx([3.5 / 3, 5.5 / 3])


def test_more_than_a_point_of_test_error_is_not_equivalent() -> None:
    state = made_up(0.0, 1, 1.0)
    far = {seed: [State(1.0, 1, {**made_up(0.0, seed, 1.0).columns, "test_error_percent": 36.1})] for seed in FORGET}
    assert next(table({"far": far}, REFERENCES))["not_equivalent"] == "test error"
    assert [each.seconds for each in faster([state], [state.with_seconds(0.5)])] == [0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--labels", "scrubb"],
            "--labels: must unlearn in benchmark, got scrubb (known: scrub, scrub_rewind, adaprob)",
        ),
        (["--labels", "adaprob"], "--against: must be one of the labels that run, got scrub"),
        (["--labels", "retrain"], "--labels: must unlearn in benchmark, got retrain"),
        (["--only", "seed<3"], "benchmark: must have the same seeds, at least 3, for all labels, got"),
    ],
)
@pytest.mark.slow
def test_unknown_labels_are_one_line(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--store", str(folder / "store"), "--against", "scrub", *arguments)
    assert run(main, str(folder / "sweep.yaml"), *options) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.slow
def test_several_settings_of_a_label_and_references_that_are_not_done(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = tmp_path / "several.yaml"
    several.write_text(SWEEP.replace("scrub: {epochs: 2,", "scrub: {epochs: [1, 2],"), encoding="utf-8")
    assert run(main, str(several), "--store", str(folder / "store"), "--against", "scrub") == 2
    assert "must have one setting, request and repeat for each label, got several of scrub" in capsys.readouterr().err
    other = tmp_path / "other.yaml"
    other.write_text(SWEEP.replace("train: {epochs: 2}", "train: {epochs: 3}"), encoding="utf-8")
    assert run(main, str(other), "--store", str(folder / "store"), "--against", "scrub") == 2
    assert "--only label=retrain_independent" in capsys.readouterr().err
