"""What compare and figures show of a part of a sweep, and of a sweep of methods other than the paper's."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest

from adaprob_ray import cli
from adaprob_ray.reporting.figures import ablation, curves

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow  # each loads torch and Matplotlib
REFERENCES = {"original", "retrain", "retrain_independent"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the Records of the quickstart as the store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPROB_STORE", str(ROOT / "results/quickstart.jsonl"))
    return tmp_path


QUICKSTART = str(ROOT / "sweeps/quickstart.yaml")


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_comparison_of_some_cells_keeps_the_references_and_leaves_the_file_of_the_whole_sweep(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", QUICKSTART]) == 0
    whole = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    capsys.readouterr()
    assert cli.main(["compare", QUICKSTART, "--only", "method=scrub,forget=class"]) == 0
    printed = capsys.readouterr().out
    assert "selection: method=scrub,forget=class" in printed
    assert "written: out/compare-quickstart-selection.md" in printed
    assert {name: (folder / "out" / name).read_bytes() for name in whole} == whole
    selection = rows("out/compare-quickstart-selection.csv")
    assert {line["label"] for line in selection} == {*REFERENCES, "scrub", "noise floor", "chance level"}
    of_whole = [line for line in rows("out/compare-quickstart.csv") if line["label"] in {*REFERENCES, "scrub"}]
    assert [line for line in selection if line["label"] in {*REFERENCES, "scrub"}] == [
        line for line in of_whole if line["forget"] == "class5"
    ]
    markdown = (folder / "out/compare-quickstart-selection.md").read_text(encoding="utf-8")
    assert "method=scrub,forget=class" in markdown
    assert "**difference from retrain, same seed**" in markdown


def test_the_references_of_a_selection_are_of_its_seeds(folder: Path) -> None:
    assert cli.main(["compare", QUICKSTART, "--only", "label=scrub,seed<3"]) == 0
    markdown = (folder / "out/compare-quickstart-selection.md").read_text(encoding="utf-8")
    assert "n = 2 seeds (1, 2)" in markdown


def test_a_missing_reference_is_computed_by_the_command_that_is_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (ROOT / "results/quickstart.jsonl").read_text(encoding="utf-8").splitlines()
    remaining = [line for line in lines if json.loads(line)["label"] != "retrain"]
    (folder / "some.jsonl").write_text("\n".join(remaining) + "\n", encoding="utf-8")
    monkeypatch.setenv("ADAPROB_STORE", "some.jsonl")
    assert cli.main(["compare", QUICKSTART, "--only", "method=scrub"]) == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("error: 6 of 24 Records are missing")
    command = shlex.split(first.partition("compute them with:  ")[2])
    assert command[command.index("--only") + 1] == "label=retrain"


def test_figures_of_a_selection_keep_retrain(folder: Path) -> None:
    for name in ("trade_off", "ranks", "cost"):
        assert cli.main(["figure", name, QUICKSTART, "--only", "method=scrub"]) == 0
        assert (folder / "out" / f"{name}.png").is_file()


# -- another sweep than the paper's ------------------------------------------------------------------------------------

FINETUNE = """
name: finetune
grid: {dataset: digits, architecture: {name: allcnn, filters: 0.02}, forget: {kind: selective, class: 3, count: 25}, seed: 1}
train: {recipe: large, epochs: 1}
methods: {finetune: {epochs: 1, lr: [0.01, 0.02]}}
metrics: [errors]
"""


@pytest.fixture(scope="module")
def finetune(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune")
    (folder / "finetune.yaml").write_text(FINETUNE, encoding="utf-8")
    run = ["run", str(folder / "finetune.yaml"), "--store", str(folder / "store"), "--executor", "local"]
    assert cli.main(run) == 0
    return folder


@pytest.mark.parametrize(
    ("options", "picture"),
    [
        (("ablation", "--over", "lr"), "ablation.png"),
        (("ablation", "--over", "method.lr"), "ablation.png"),
        (("curves",), "curves-loss.png"),
        (("ranks",), "ranks.png"),
        (("embedding",), "embedding.png"),
    ],
)
def test_a_figure_needs_no_metric_or_method_of_the_paper(
    finetune: Path, tmp_path: Path, options: tuple[str, ...], picture: str
) -> None:
    arguments = [str(finetune / "finetune.yaml"), "--store", str(finetune / "store"), "--out", str(tmp_path)]
    assert cli.main(["figure", options[0], *arguments, *options[1:]]) == 0
    assert (tmp_path / picture).stat().st_size > 5_000


def test_a_setting_that_no_method_has_is_named_with_the_closest(
    finetune: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(finetune / "finetune.yaml"), "--store", str(finetune / "store"), "--out", str(tmp_path)]
    assert cli.main(["figure", "ablation", *arguments, "--over", "epoch"]) == 2
    assert "error: --over: unknown setting 'epoch'; did you mean 'epochs'?" in capsys.readouterr().err


def test_the_default_columns_are_those_that_the_curves_have(finetune: Path) -> None:
    from adaprob_ray.reporting.records.load import all_records

    records = all_records(str(finetune / "store"))
    drawn = ablation.compute_ablation(records, "lr")
    assert [column.name for column in drawn.columns] == ["retain_error_percent", "forget_error_percent"]


def test_the_default_scalar_is_the_loss_where_as_many_models_have_it() -> None:
    assert curves.default_scalar([{"a": [], "loss": []}, {"a": [], "loss": []}]) == "loss"
    assert curves.default_scalar([{"a": [], "loss": []}, {"a": []}]) == "a"
