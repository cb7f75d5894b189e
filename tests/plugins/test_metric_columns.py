"""Columns of metrics by path and facts of methods: no value of a Record replaces another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import packages
import pytest

import adaprob_ray
from adaprob_ray import cli
from adaprob_ray.catalogue import METRICS, REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.plugins.metrics import FACT_COLUMNS, RECORD_COLUMNS
from adaprob_ray.stages.evaluate import refuse_repeated_columns
from adaprob_ray.sweep.sweep import Sweep

Write = Callable[..., str]
RUN = ["--executor", "local", "--no-tensorboard"]
FACTS = """\
name: facts
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.05}
  forget: {kind: selective, class: 1, count: 10}
  seed: 1
train: {recipe: large, epochs: 1}
methods:
  adaprob: {epochs: 1}
  scrub_rewind: {epochs: 1}
  bias_shift: {}
metrics: [errors, membership, kl_to_retrain, membership_auc, kl_variants, selection, probe, relearn, all_requests]
relearn: {epochs: 1}
keep: {unlearn: weights}
"""


@pytest.mark.parametrize("column", ["best_epoch", "cell_seconds", "unlearn_seconds", "parameter_distance"])
def test_a_metric_may_not_have_a_column_that_is_a_fact(column: str, own_package: Write) -> None:
    name = own_package(metric=packages.METRIC.replace("test_top_logit", column))
    with pytest.raises(InputError) as error:
        Sweep.load("own.yaml", REGISTRY)
    (line,) = error.value.faults
    where = f"own.yaml: metrics: {name}.metric:TOP_LOGIT"
    assert line == f"{where}: columns: must be new, got {column!r}, which Records have already"


def test_two_metrics_may_not_have_one_column(own_package: Write, tmp_path: Path) -> None:
    second = 'SECOND = Metric(name="second", columns=("other", "test_top_logit"), compute=top_logit)\n'
    name = own_package(metric=packages.METRIC + second)
    sweep = tmp_path / "own.yaml"
    text = sweep.read_text(encoding="utf-8")
    both = text.replace(":TOP_LOGIT]", f":TOP_LOGIT, {name}.metric:SECOND]")
    sweep.write_text(both, encoding="utf-8")
    with pytest.raises(InputError) as error:
        Sweep.load("own.yaml", REGISTRY)
    assert error.value.faults == (
        f"own.yaml: metrics: {name}.metric:SECOND: columns: must be new, got 'test_top_logit', which "
        f"{name}.metric:TOP_LOGIT has already",
    )
    sweep.write_text(text.replace(":TOP_LOGIT]", ":SECOND]"), encoding="utf-8")
    assert Sweep.load("own.yaml", REGISTRY).cells, "of two sweeps each may use one"


def test_columns_and_facts_with_the_same_name() -> None:
    sources = {"seed": "the settings", "forget_error_percent": "metric errors"}
    refuse_repeated_columns(sources, {"best_epoch": 1.0}, "method adaprob")
    with pytest.raises(InputError) as error:
        refuse_repeated_columns(sources, {"seed": 1.0, "x": 2.0, "forget_error_percent": 0.0}, "method mine:Mine")
    assert error.value.faults == (
        "method mine:Mine: seed: must be noted under another name, because this column is filled by the settings",
        "method mine:Mine: forget_error_percent: must be noted under another name, because this column is filled by metric "
        "errors",
    )


@pytest.mark.slow
def test_a_method_that_notes_a_measured_error_fails_its_evaluation(
    own_package: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    noted = "context.check_deadline()\n        context.note(forget_error_percent=0.0)"
    name = own_package(method=packages.METHOD.replace("context.check_deadline()", noted))
    assert cli.main(["run", "own.yaml", *RUN]) == 1
    streams = capsys.readouterr()
    expected = f"method {name}.method:Noise: forget_error_percent: must be noted under another name"
    assert expected in streams.out + streams.err
    assert set(adaprob_ray.load_records("store")["label"]) == {"original", "retrain", "retrain_independent"}


@pytest.mark.slow
def test_a_method_that_notes_its_own_time_fails_its_unlearning(
    own_package: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    noted = "context.check_deadline()\n        context.note(unlearn_seconds=0.0)"
    name = own_package(method=packages.METHOD.replace("context.check_deadline()", noted))
    assert cli.main(["run", "own.yaml", *RUN]) == 1
    streams = capsys.readouterr()
    expected = f"method {name}.method:Noise: unlearn_seconds: must be noted under another name"
    assert expected in streams.out + streams.err


@pytest.mark.slow
def test_every_column_of_the_catalogues_cells_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("facts.yaml").write_text(FACTS, encoding="utf-8")
    assert cli.main(["run", "facts.yaml", *RUN, "--store", "store"]) == 0
    taken = (RECORD_COLUMNS | FACT_COLUMNS).union(*(metric.columns for metric in METRICS.values()))
    columns = set(adaprob_ray.load_records("store").columns)
    assert {"lr", "rewound_to", "bias_shift", "probe_test_error_percent"} <= columns
    assert {name for name in columns if "." not in name} <= taken
