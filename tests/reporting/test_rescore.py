"""A user's metric over synthetic Outputs: its arguments, what it may return, and archives that survive a round trip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_records import Memory

from adaprob_ray.errors import InputError
from adaprob_ray.metrics.outputs import Evaluation, Outputs
from adaprob_ray.reporting.records.archive import Archive, record_lines, write_archive
from adaprob_ray.reporting.records.load import read_lines
from adaprob_ray.reporting.rescore import load_metric, rescore
from adaprob_ray.reporting.stats.intervals import bootstrap_interval

LABELS = ("original", "retrain", "retrain_independent", "scrub")
ROWS, CLASSES = 40, 4


def make_outputs(seed: int) -> Outputs:
    generator = np.random.default_rng(seed)
    labels = np.arange(ROWS) % CLASSES
    logits = {
        part: generator.normal(size=(ROWS, CLASSES)).astype("float32") for part in ("train", "validation", "test")
    }
    return Outputs(logits=logits, labels=dict.fromkeys(logits, labels))


@pytest.fixture
def world() -> tuple[pd.DataFrame, Memory]:
    group = {
        "dataset": "digits",
        "test_pool": "clean",
        "architecture": "allcnn",
        "filters": 0.1,
        "precision": "float32",
    }
    rows = [
        {
            **group,
            "forget": "4of1",
            "seed": seed,
            "label": label,
            "repeat": 0,
            "key": f"{label}{seed}",
            "model_key": f"m{label}{seed}",
        }
        for seed in (1, 2)
        for label in LABELS
    ]
    outputs = {row["model_key"]: make_outputs(at) for at, row in enumerate(rows)}
    return pd.DataFrame(rows), Memory(outputs)


def metric_file(folder: Path, text: str) -> Path:
    path = folder / "metric.py"
    path.write_text(text)
    return path


def test_a_metric_is_given_the_models_and_the_rows_of_its_seed(
    tmp_path: Path, world: tuple[pd.DataFrame, Memory]
) -> None:
    records, source = world
    metric = load_metric(
        metric_file(
            tmp_path,
            "def spread(e):\n"
            "    own, other = e.model.logits['train'][e.forget], e.retrain.logits['train'][e.forget]\n"
            "    gap = abs(own - other).mean().item()\n"
            "    return {'gap': gap, 'rows': len(e.forget), 'seed': e.seed, 'class': e.forget_class}\n",
        )
    )
    scored = rescore(metric, records, source).set_index("key")
    assert set(scored.index) == set(records["key"])
    assert set(scored["rows"]) == {4}
    assert set(scored["class"]) == {1}
    assert (scored["seed"] == [int(key[-1]) for key in scored.index]).all()
    assert (scored.loc[["retrain1", "retrain2"], "gap"] == 0).all()
    rows = np.random.RandomState(0).choice(np.flatnonzero(np.arange(ROWS) % CLASSES == 1), 4, replace=False)
    logits = [source.outputs(f"m{label}1").logits["train"][rows] for label in ("scrub", "retrain")]
    assert scored.loc["scrub1", "gap"] == pytest.approx(float(abs(logits[0] - logits[1]).mean()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "must have one public function, got none"),
        ("def a(e): ...\ndef b(e): ...\n", "got a, b"),
        ("import nothing_of_that_name\n", "cannot be imported: ModuleNotFoundError"),
        ("def f(:\n", "cannot be imported: SyntaxError"),
    ],
)
def test_files_without_one_function_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_metric(metric_file(tmp_path, text))
    with pytest.raises(InputError, match="must be a Python file"):
        load_metric(tmp_path / "absent.py")


def test_what_is_imported_or_begins_with_an_underscore_is_no_metric(tmp_path: Path) -> None:
    text = "from os.path import join\ndef _help(x): return x\ndef mine(e): return _help(1)\n"
    assert load_metric(metric_file(tmp_path, text)).__name__ == "mine"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 'high'", "original of seed 1: f: must be a finite number, or one for each sample, got str 'high'"),
        ("return 1 / 0", "the metric fails: ZeroDivisionError"),
    ],
)
def test_a_metric_that_fails_names_the_cell(
    tmp_path: Path, world: tuple[pd.DataFrame, Memory], body: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        rescore(load_metric(metric_file(tmp_path, f"def f(e):\n    {body}\n")), *world)


def test_one_number_for_each_row_gives_their_mean_and_its_bootstrap(world: tuple[pd.DataFrame, Memory]) -> None:
    def largest(evaluation: Evaluation) -> np.ndarray:
        return evaluation.model.logits["test"].max(1)

    records, source = world
    scored = rescore(largest, records, source).set_index("key")
    values = source.outputs("mscrub1").logits["test"].max(1).astype(float)
    assert scored.loc["scrub1", "largest"] == pytest.approx(values.mean())
    low, high = bootstrap_interval(list(values))
    assert (scored.loc["scrub1", "largest_low"], scored.loc["scrub1", "largest_high"]) == (low, high)
    few = rescore(lambda e: e.model.logits["train"][e.forget].max(1), records, source)  # four rows
    assert few["<lambda>_low"].isna().all()
    assert rescore(lambda e: np.float32(1.5), records, source)["<lambda>"].eq(1.5).all()


def test_models_of_another_recipe_are_no_references(world: tuple[pd.DataFrame, Memory]) -> None:
    records, source = world
    records["recipe.lr"] = 0.1
    other = records.assign(
        key=records["key"] + "b", **{"recipe.lr": 0.2, "model_key": records["model_key"].iloc[::-1].to_numpy()}
    )
    both = pd.concat([records, other], ignore_index=True)

    def gap(evaluation: Evaluation) -> float:
        return float(abs(evaluation.model.logits["test"] - evaluation.retrain.logits["test"]).sum())

    scored = rescore(gap, both, source).set_index("key")["gap"]
    assert scored["retrain1"] == scored["retrain2b"] == 0
    with pytest.raises(InputError, match="must have one model of original, retrain, retrain_independent"):
        rescore(gap, pd.concat([records, other.assign(**{"recipe.lr": 0.1})], ignore_index=True), source)


def test_a_missing_reference_is_named(world: tuple[pd.DataFrame, Memory]) -> None:
    records, source = world
    with pytest.raises(InputError, match=r"digits.*2: must have Records of retrain, which"):
        rescore(lambda e: 1.0, records[records["key"] != "retrain2"], source)


def test_an_archive_gives_back_what_went_in_and_is_the_same_bytes_again(
    tmp_path: Path, world: tuple[pd.DataFrame, Memory]
) -> None:
    records, source = world
    records["test_error_percent"] = [1.5, None] * 4
    first = write_archive(records, source, tmp_path / "new" / "a.zip")
    second = write_archive(records.copy(), source, tmp_path / "b.zip")
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["a.zip"]
    archive = Archive(first)
    columns = ["key", "model_key", "seed", "filters", "test_error_percent"]
    expected = records[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(archive.records[columns], expected, check_dtype=False)
    for key in records["model_key"]:
        np.testing.assert_array_equal(archive.outputs(key).logits["test"], source.outputs(key).logits["test"])
    assert rescore(lambda e: 1.0, archive.records, archive).shape[0] == len(records)


def test_lines_are_read_back_as_records(tmp_path: Path, world: tuple[pd.DataFrame, Memory]) -> None:
    records, _ = world
    records["key"] = [f"{at:032d}" for at in range(len(records))]  # digits alone stay text
    (tmp_path / "r.jsonl").write_text(record_lines(records))
    back = read_lines(tmp_path / "r.jsonl")
    assert list(back["key"]) == list(records["key"])
    assert set(back["seed"]) == {1, 2}


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    for text in ("", "PK nonsense"):
        (tmp_path / "x.zip").write_text(text)
        with pytest.raises(InputError, match="must be an archive of Outputs"):
            Archive(tmp_path / "x.zip")
