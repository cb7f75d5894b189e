"""`adaprob-ray init`: files to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from adaprob_ray import cli
from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.sweep.schema import sweep_file_model
from adaprob_ray.sweep.sweep import Sweep


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPROB_STORE", str(tmp_path / "store"))
    return tmp_path


def test_the_sweep_file_plans_and_each_comment_that_counts_cells_is_right(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", "sweep", "mine.yaml"]) == 0
    message = capsys.readouterr().out
    assert message == "mine.yaml: written; next: adaprob-ray plan mine.yaml\n"
    assert cli.main(shlex.split(message.partition("adaprob-ray ")[2])) == 0
    cells = Sweep.load("mine.yaml", REGISTRY).cells
    assert f"to execute: {len(cells)} cells" in capsys.readouterr().out
    assert f"expect: {{cells: {len(cells)}}}" in Path("mine.yaml").read_text(encoding="utf-8")


def test_the_sweep_file_has_every_key_and_those_in_comments_parse_too(folder: Path) -> None:
    assert cli.main(["init", "sweep", "mine.yaml"]) == 0
    lines = Path("mine.yaml").read_text(encoding="utf-8").splitlines()
    fields = sweep_file_model(REGISTRY.metric_stages).model_fields
    keys = {line.removeprefix("# ").partition(":")[0]: line.removeprefix("# ") for line in lines if ":" in line}
    assert fields.keys() <= keys.keys()
    commented = [line for name in fields for line in lines if line.startswith(f"# {name}: ")]
    assert len(commented) == len(fields) - 5, "name, grid, train, methods and metrics are in use"
    for line in commented:
        needed = ["metrics: [errors, relearn]", "keep: {unlearn: weights}"] if line.startswith("# relearn: ") else []
        dropped = tuple(text.partition(":")[0] for text in needed)
        given = [text for text in lines if not text.startswith(dropped)] if dropped else lines
        text = "\n".join([*given, *needed, line.removeprefix("# ")])
        assert Sweep.parse(text, REGISTRY).cells, line


def test_the_sweep_is_small(folder: Path) -> None:
    assert cli.main(["init", "sweep", "mine.yaml"]) == 0
    sweep = Sweep.load("mine.yaml", REGISTRY)
    trainings = [cell for cell in sweep.cells.values() if cell.stage == "train"]
    assert len(trainings) == 3 * 2
    assert all(cell.settings.recipe.epochs <= 10 for cell in trainings)  # type: ignore[attr-defined]
    assert sum(REGISTRY.parameter_count(cell.settings) < 10_000 for cell in trainings) == len(trainings)


@pytest.mark.parametrize(
    ("file", "name"),
    [("my sweep.yaml", "my_sweep"), ("-.yaml", "sweep"), ("1.5.yaml", "1.5"), ("no.yaml", "no"), ("1e-3.yaml", "1e-3")],
)
def test_the_name_of_the_sweep_is_that_of_the_file(file: str, name: str, folder: Path) -> None:
    assert cli.main(["init", "sweep", "--", file]) == 0
    document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    assert document["name"] == name
    assert Sweep.load(file, REGISTRY).name == name


def test_a_file_that_exists_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("precious")
    assert cli.main(["init", "sweep", "mine.yaml"]) == 2
    assert capsys.readouterr().err == "error: mine.yaml: must be a new file, got one that exists\n"
    assert Path("mine.yaml").read_text() == "precious"


def test_a_file_that_cannot_be_written_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", "sweep", "missing/mine.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: missing/mine.yaml: cannot be written: ")
    assert not Path("missing").exists()
