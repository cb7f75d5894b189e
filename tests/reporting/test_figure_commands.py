"""Figures, report, archive and a stranger's metric by command, from a real store of a tiny sweep."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic_records import tiny_sweep

from adaprob_ray import cli
from adaprob_ray.reporting.figures import curves
from adaprob_ray.reporting.figures.curves import Curves, draw_curves
from adaprob_ray.reporting.records.load import read_lines
from analysis.__main__ import BAD_INPUT, DONE, main

pytestmark = pytest.mark.slow  # a sweep of 24 cells, and figures by Matplotlib and scikit-learn

METHODS = "{scrub: {epochs: 1}, scrub_again: {method: scrub, epochs: 1}, adaprob: {epochs: 1, lam: [1.0, 2.0]}}"
SWEEP = tiny_sweep(METHODS, "[errors, kl_to_retrain, seconds]") + "primary_label: adaprob\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    (folder / "tiny.yaml").write_text(SWEEP)
    arguments = ["run", str(folder / "tiny.yaml"), "--store", str(folder / "store"), "--executor", "local"]
    assert cli.main(arguments) == 0
    return folder


def command(folder: Path, *arguments: str, store: str = "store") -> int:
    return main([*arguments, "--store", str(folder / store), "--out", str(folder / "out")])


@pytest.mark.parametrize("name", ["figure2", "figure3", "ablation_lambda", "trade_off", "cost", "figure4"])
def test_a_figure_is_drawn_from_any_sweep(folder: Path, name: str) -> None:
    assert command(folder, name, "--sweep", str(folder / "tiny.yaml")) == DONE
    assert {path.suffix for path in (folder / "out").glob(f"{name}.*")} >= {".png", ".pdf"}
    assert (folder / "out" / f"{name}.png").stat().st_size > 10_000


def test_series_are_drawn_from_a_store_and_from_its_archive_alike(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["--sweep", str(folder / "tiny.yaml")]
    assert command(folder, "archive", *sweep) == DONE
    for scalar in ("projection_residual", "retain_error_percent"):
        pictures = folder / "out" / f"trajectories-{scalar}.png"
        assert command(folder, "trajectories", *sweep, "--scalar", scalar) == DONE
        first = pictures.read_bytes()
        assert len(first) > 10_000
        assert command(folder, "trajectories", *sweep, "--scalar", scalar, store="out/tiny.zip") == DONE
        assert pictures.read_bytes() == first
    capsys.readouterr()
    assert command(folder, "trajectories", *sweep, "--scalar", "residual") == BAD_INPUT
    names = "loss, lr, objective, projection_residual, retain_error_percent, retain_loss, train_error_percent"
    expected = f"adaprob lam=1: unknown series 'residual' (known: {names})"
    assert expected in capsys.readouterr().err


def test_every_label_that_has_the_series_is_drawn_and_the_others_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two labels of equal settings share one model."""
    pictures: list[Curves] = []

    def draw(curve: Curves) -> Figure:
        pictures.append(curve)
        return draw_curves(curve)

    monkeypatch.setattr(curves, "draw_curves", draw)
    sweep = ["--sweep", str(folder / "tiny.yaml")]
    assert command(folder, "trajectories", *sweep, "--scalar", "forget_error_percent") == DONE
    assert command(folder, "trajectories", *sweep, "--scalar", "projection_residual") == DONE
    assert set(pictures[0].paths) == {"scrub", "scrub_again"}
    assert set(pictures[1].paths) == {"adaprob lam=1", "adaprob lam=2"}
    (left_out,) = [line for line in pictures[1].caption if line.startswith("without projection_residual: ")]
    assert "scrub, scrub_again" in left_out


def test_ranks_need_the_columns_that_they_rank(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(folder, "ranks", "--sweep", str(folder / "tiny.yaml")) == BAD_INPUT
    assert "membership_accuracy_percent" in capsys.readouterr().err


def test_an_archive_stands_in_for_the_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(folder, "archive", "--sweep", str(folder / "tiny.yaml")) == DONE
    assert len(read_lines(folder / "out" / "tiny.jsonl")) == 14
    first = (folder / "out" / "figure3.png").read_bytes() if (folder / "out" / "figure3.png").is_file() else None
    assert command(folder, "figure3", "--sweep", str(folder / "tiny.yaml"), store="out/tiny.zip") == DONE
    assert first is None or (folder / "out" / "figure3.png").read_bytes() == first
    (folder / "metric.py").write_text("def rows(evaluation):\n    return len(evaluation.forget)\n")
    archive = str(folder / "out" / "tiny.zip")
    assert main(["rescore", str(folder / "metric.py"), "--outputs", archive, "--out", str(folder / "out")]) == DONE
    scored = pd.read_csv(folder / "out" / "rescore-rows.csv")
    assert len(scored) == 14
    assert set(scored["rows"]) == {25}
    assert command(folder, "rescore", str(folder / "metric.py")) == DONE
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "out" / "rescore-rows.csv").sort_values("key", ignore_index=True),
        scored.sort_values("key", ignore_index=True),
    )


def test_a_report_marks_holes_and_never_refuses(folder: Path) -> None:
    assert command(folder, "report") == DONE
    whole = (folder / "out" / "report.html").read_text()
    (folder / "more.yaml").write_text(SWEEP.replace("seed: [1, 2]", "seed: [1, 2, 3]"))
    assert command(folder, "report", "--sweep", str(folder / "more.yaml")) == DONE
    holed = (folder / "out" / "report.html").read_text()
    assert "evaluate-scrub-digits-allcnn-25of3-s3" in holed
    assert "evaluate-scrub-digits-allcnn-25of3-s3" not in whole
    assert command(folder, "report", store="out/tiny.jsonl") in (DONE, BAD_INPUT)


def test_the_solvers_curve_is_drawn_from_results(folder: Path) -> None:
    assert command(folder, "solvers") == DONE
    assert (folder / "out" / "solvers.png").stat().st_size > 10_000
