"""Commands over made-up Records of our own sweep files: complete, with holes, from a file, and what they refuse."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd
import pytest
from synthetic_records import of_cells

from adaprob_ray.reporting.records.archive import record_lines
from adaprob_ray.reporting.records.load import load_sweep
from adaprob_ray.sweep.sweep import Sweep
from analysis import registry as shared
from analysis.__main__ import BAD_INPUT, DONE, main
from analysis.paper.values import paper_values
from analysis.paper.verdicts import VERDICTS
from analysis.registry import ARTEFACTS

pytestmark = pytest.mark.slow  # plans every sweep of the paper

PAPER = [name for name, artefact in ARTEFACTS.items() if artefact.columns and artefact.table]


@pytest.fixture(scope="module")
def sweeps() -> dict[str, Sweep]:
    names = {sweep for artefact in ARTEFACTS.values() for sweep in artefact.sweeps}
    return {name: load_sweep(shared.SWEEPS / f"{name}.yaml") for name in names}


def records_of(name: str, sweeps: dict[str, Sweep], **how: tuple[str, ...]) -> pd.DataFrame:
    """Of all sweeps of an artefact; a cell that two of them share has one Record."""
    frames = [of_cells(sweeps[sweep], ARTEFACTS[name].columns, **how) for sweep in ARTEFACTS[name].sweeps]
    return pd.concat(frames, ignore_index=True).drop_duplicates("key")


def stored(records: pd.DataFrame, folder: Path) -> str:
    path = folder / "records.jsonl"
    path.write_text(record_lines(records))
    return str(path)


@pytest.mark.parametrize("name", PAPER)
def test_a_table_of_the_paper_is_made_of_complete_records(
    name: str, sweeps: dict[str, Sweep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    assert main([name, "--store", stored(records_of(name, sweeps), tmp_path), "--out", str(out)]) == DONE
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.csv", f"{name}.md", f"{name}.tex"]
    lines = list(csv.DictReader((out / f"{name}.csv").open()))
    entries = paper_values(ARTEFACTS[name].table)
    judged = {(line["paper_dataset"], line["architecture"], line["metric"], float(line["paper"])) for line in lines}
    for entry in entries:
        assert (entry.paper_dataset, entry.architecture, entry.column, entry.value) in judged, entry
    methods = {method for sweep in ARTEFACTS[name].sweeps for method in _methods(sweeps[sweep])}
    assert {entry.method for entry in entries} <= methods
    assert {line["verdict"] for line in lines} <= set(VERDICTS)
    shown = capsys.readouterr().out
    assert "not measured" not in shown
    assert all(head in shown for head in ("paper", "ours", "verdict"))
    labels = {line["label"] for line in lines}
    assert labels <= {label for sweep in ARTEFACTS[name].sweeps for label in sweeps[sweep].file.methods}
    assert {line["label"] for line in lines if line["label"].startswith("adaprob")}


@pytest.mark.parametrize("name", [*PAPER, "claims", "figure2", "figure4", "ablation_lambda", "ranks"])
def test_a_hole_is_refused_and_named_with_the_command_that_fills_it(
    name: str, sweeps: dict[str, Sweep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = records_of(name, sweeps, without=("retrain_independent",))
    assert main([name, "--store", stored(records, tmp_path), "--out", str(tmp_path / "out")]) == BAD_INPUT
    assert not (tmp_path / "out").exists()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: missing: evaluate-retrain_independent-" in captured.err
    for sweep in ARTEFACTS[name].sweeps:
        assert f"adaprob-ray run sweeps/{sweep}.yaml --store ./store" in captured.err


def test_a_store_that_is_not_there_misses_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "none")
    assert main(["table5", "--store", store]) == BAD_INPUT
    assert f"adaprob-ray run sweeps/table5.yaml --store {store}" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_empty_adaprob_store_is_the_default_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPROB_STORE", "")
    assert main(["table5"]) == BAD_INPUT
    (command,) = (line for line in capsys.readouterr().err.splitlines() if "compute them with:" in line)
    assert command.endswith("sweeps/table5.yaml --store ./store")


def test_partial_marks_what_is_missing(
    sweeps: dict[str, Sweep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = stored(records_of("table2", sweeps, without=("scrub_notebook-cifar10",)), tmp_path)
    assert main(["table2", "--store", store, "--out", str(tmp_path), "--partial"]) == DONE
    shown, text = capsys.readouterr().out, (tmp_path / "table2.md").read_text()
    for words in (
        "Records are missing",
        "evaluate-scrub_notebook-cifar10",
        "not measured: scrub test_error_percent 17.01",
    ):
        assert words in shown.replace("\n", " ")
        assert words in text


def test_a_part_is_asked_for_with_conditions(sweeps: dict[str, Sweep], tmp_path: Path) -> None:
    store = stored(records_of("table2", sweeps, without=("cifar10",)), tmp_path)
    command = ["table2", "--store", store, "--out", str(tmp_path)]
    assert main(command) == BAD_INPUT
    assert main([*command, "--only", "dataset=faces10"]) == DONE
    assert {line["dataset"] for line in csv.DictReader((tmp_path / "table2.csv").open())} == {"faces10"}


def _methods(sweep: Sweep) -> set[str]:
    return {cell.settings.method for cell in sweep.cells.values() if cell.stage == "evaluate"}


def test_a_file_that_holds_no_records_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.jsonl").write_text("{broken\n")
    assert main(["table5", "--store", str(tmp_path / "x.jsonl")]) == BAD_INPUT
    assert "x.jsonl: cannot be read as Records" in capsys.readouterr().err
    (tmp_path / "x.jsonl").write_text('{"key": "a"}\n{"label": "scrub"}\n')
    assert main(["table5", "--store", str(tmp_path / "x.jsonl")]) == BAD_INPUT
    assert "x.jsonl: line 2: must be a Record" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["table6", "table7"])
def test_recipes_need_no_records(name: str, tmp_path: Path) -> None:
    assert main([name, "--store", str(tmp_path / "none"), "--out", str(tmp_path)]) == DONE
    assert (tmp_path / f"{name}.tex").is_file()


def test_every_artefact_has_its_sweep_files() -> None:
    assert all(
        (shared.SWEEPS / f"{sweep}.yaml").is_file() for artefact in ARTEFACTS.values() for sweep in artefact.sweeps
    )
    wanted = {f"table{n}" for n in range(1, 8)} | {"cifar100", "figure2", "figure3", "figure4", "claims", "report"}
    assert wanted <= set(ARTEFACTS)


def test_archives_in_results_are_read_as_stores_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of the page of results over them, and a table; an archive that is none is named."""
    page = (shared.ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    in_page = [command.split() for command in re.findall(r"`python -m analysis ([^`]+)`", page)]
    commands = [command for command in in_page if any(word.startswith("results/") for word in command)]
    assert commands
    monkeypatch.chdir(shared.ROOT)
    table = ["trade_off", "--sweep", "sweeps/cifar5_allcnn.yaml", "--store", "results/cifar5_allcnn.zip"]
    for at, command in enumerate([*commands, table]):
        assert main([*command, "--out", str(tmp_path / str(at))]) == DONE
        assert list((tmp_path / str(at)).iterdir())
    assert main([*table[:-1], str(tmp_path / "none.zip")]) == BAD_INPUT
    assert "none.zip: cannot be read as Records" in capsys.readouterr().err
    assert main(["figure2", "--sweep", "sweeps/cifar5.yaml", "--store", "results/cifar5.jsonl"]) == BAD_INPUT
    assert "results/cifar5.jsonl: must be a store or an archive with Outputs" in capsys.readouterr().err


def test_a_report_of_a_part_needs_no_other_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shared.ROOT)
    command = ["report", "--sweep", "sweeps/cifar5.yaml", "--store", "results/cifar5.jsonl", "--out", str(tmp_path)]
    for options in ([], ["--only", "label=scrub"], ["--only", "label=scrub", "--partial"]):
        assert main([*command, *options]) == DONE
        assert ("adaprob" in (tmp_path / "report.html").read_text(encoding="utf-8")) == (not options)
