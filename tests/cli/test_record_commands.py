"""compare, report and figure in a folder that holds no checkout: what they write, and what they refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adaprob_ray import cli

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
pytestmark = pytest.mark.slow  # each loads torch and Matplotlib


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a sweep file and a file of its Records."""
    shutil.copy(ROOT / "sweeps/quickstart.yaml", tmp_path)
    shutil.copy(RESULTS / "quickstart.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPROB_STORE", "quickstart.jsonl")
    return tmp_path


def test_compare_writes_the_published_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "quickstart.yaml"]) == 0
    for ending in ("md", "tex", "csv"):
        name = f"compare-quickstart.{ending}"
        assert (folder / "out" / name).read_text() == (RESULTS / name).read_text()
    printed = capsys.readouterr().out
    assert "digits · allcnn, filters 0.12 · forget all of class 5" in printed
    assert "written: out/compare-quickstart.md, out/compare-quickstart.tex, out/compare-quickstart.csv" in printed


def test_compare_shows_only_the_columns_that_are_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "quickstart.yaml", "--metrics", "kl_test_nats", "--out", "tables"]) == 0
    metrics = {line.split(",")[8] for line in (folder / "tables/compare-quickstart.csv").read_text().splitlines()[1:]}
    assert metrics == {"kl_test_nats"}
    assert cli.main(["compare", "quickstart.yaml", "--metrics", "kl_tset_nats"]) == 2
    assert "did you mean 'kl_test_nats'?" in capsys.readouterr().err


def test_a_figure_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("trade_off", "cost", "ranks"):
        assert cli.main(["figure", name, "quickstart.yaml"]) == 0
        assert (folder / "out" / f"{name}.png").stat().st_size > 10_000
        assert (folder / "out" / f"{name}.pdf").is_file()
    assert cli.main(["figure", "ranks", "quickstart.yaml", "--columns", "test_eror_percent"]) == 2
    assert "did you mean 'test_error_percent'" in capsys.readouterr().err
    assert cli.main(["figure", "ablation", "quickstart.yaml", "--over", "method.lam"]) == 2
    assert (
        "error: --over: must be a setting of which a label has two values, got method.lam (labels: "
        in capsys.readouterr().err
    )
    assert cli.main(["figure", "embedding", "quickstart.yaml"]) == 2
    assert "must be a store or an archive with Outputs (.zip), got Records alone" in capsys.readouterr().err
    archive = str(RESULTS / "quickstart.zip")
    assert cli.main(["figure", "embedding", "quickstart.yaml", "--store", archive]) == 2
    assert "error: --only: must select one group for a figure of outputs, got digits" in capsys.readouterr().err


def test_a_report_of_all_records_or_of_a_sweep(folder: Path) -> None:
    assert cli.main(["report"]) == 0
    assert "48 Records in 2 tables" in (folder / "out/report.html").read_text()
    assert cli.main(["report", "quickstart.yaml", "--only", "seed<3", "--out", "part"]) == 0
    assert "32 Records in 2 tables" in (folder / "part/report.html").read_text()


def test_missing_records_are_named_or_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the last three lines."""
    lines = (folder / "quickstart.jsonl").read_text().splitlines()
    (folder / "quickstart.jsonl").write_text("\n".join(lines[:-3]) + "\n")
    assert cli.main(["compare", "quickstart.yaml"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    command = "adaprob-ray run quickstart.yaml --store ./store --only method=adaprob,forget=25of3,seed=3"
    assert errors[0] == f"error: 3 of 48 Records are missing; compute them with:  {command}"
    assert not (folder / "out").exists()
    assert cli.main(["compare", "quickstart.yaml", "--partial"]) == 0
    assert "partial: 3 Records are missing" in capsys.readouterr().out


def test_a_store_that_does_not_exist_is_bad_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--store", "none"]) == 2
    assert "none" in capsys.readouterr().err
    assert not (folder / "none").exists()


def test_compare_and_report_warn_of_a_method_whose_source_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers that are shown are those of the earlier source."""
    from adaprob_ray.runtime import method_source

    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\ngrid: {dataset: digits, architecture: {name: allcnn, filters: 0.02}, seed: 1, "
        "forget: {kind: selective, class: 3, count: 25}}\ntrain: {recipe: large, epochs: 1}\n"
        "methods: {finetune: {epochs: 1}}\nmetrics: [errors]\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "tiny.yaml", "--executor", "local", "--no-tensorboard"]) == 0
    capsys.readouterr()
    assert cli.main(["compare", "tiny.yaml"]) == 0
    assert "has changed" not in capsys.readouterr().err
    monkeypatch.setattr(method_source, "source_digest", lambda method: "another source")
    line = "the source of method finetune has changed since 1 of its cells was computed, but its revision has not"
    for command in ("compare", "report"):
        assert cli.main([command, "tiny.yaml"]) == 0
        assert f"warning: {line}" in capsys.readouterr().err
    assert line in (tmp_path / "out" / "compare-tiny.md").read_text(encoding="utf-8")
    assert line in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
