"""A method whose source changed: the warning of plan, run and status, and `run --rerun`, which computes its cells again."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import pytest

from adaprob_ray import cli
from adaprob_ray.catalogue import DATASETS, REGISTRY
from adaprob_ray.runtime import cell_runner, launch, method_source
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

SWEEP = """\
name: {name}
grid:
  dataset: digits
  architecture: {{name: allcnn, filters: 0.02}}
  forget: {{kind: selective, class: 3, count: 25}}
  seed: 1
train: {{recipe: large, epochs: 1}}
methods:
{labels}metrics: [errors]
"""
LABELS = "  finetune: {epochs: 1}\n  mine: {method: finetune, epochs: 2}\n"
OTHERS = "  theirs: {method: finetune, epochs: 2}\n  neggrad_plus: {epochs: 1}\n"
# The model of `mine` and `theirs` is the same cell; train: original, retrain and retrain_independent.
CELLS, OTHER_CELLS = 3 + 2 + 5, 3 + 2 + 5

pytestmark = pytest.mark.usefixtures("restored_sigterm")


def run(file: str, *options: str) -> int:
    return cli.main(["run", file, "--executor", "local", "--no-tensorboard", *options])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sweeps in one store, both done."""
    folder = tmp_path_factory.mktemp("finished")
    for name, labels in (("small", LABELS), ("other", OTHERS)):
        (folder / f"{name}.yaml").write_text(SWEEP.format(name=name, labels=labels), encoding="utf-8")
        assert run(str(folder / f"{name}.yaml"), "--store", str(folder / "store")) == 0
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("ADAPROB_STORE", str(tmp_path / "copy" / "store"))
    capsys.readouterr()
    return tmp_path / "copy"


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of Finetune is another one now."""
    digest = method_source.source_digest

    def changed_digest(method: type) -> str:
        return "changed" if method is REGISTRY.methods["finetune"] else digest(method)

    monkeypatch.setattr(method_source, "source_digest", changed_digest)


def cells(file: str) -> dict[str, Cell]:
    return dict(Sweep.load(file, REGISTRY).cells)


def attempts(file: str, folder: Path) -> dict[str, int | None]:
    """The number of the attempt that counts, by stage and the beginning of the title."""
    logs, numbers = Store.open(folder / "store").survey(), dict[str, int | None]()
    for key, cell in cells(file).items():
        name = cell.title.rpartition("-digits-")[0]
        numbers[f"{name}-{key[:8]}" if cell.stage == "unlearn" else name] = logs[key].done
    return numbers


def test_without_a_change_nothing_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "status"):
        assert cli.main([command, "small.yaml"]) == 0
    assert run("small.yaml") == 0
    output = capsys.readouterr()
    assert "has changed" not in output.out + output.err
    assert f"0 cells executed, {CELLS} of {CELLS} done" in output.out


@pytest.mark.usefixtures("changed")
def test_plan_run_and_status_warn_and_their_command_recomputes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", "small.yaml"]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: the source of method finetune has changed since 2 of its cells were computed, ")
    assert run("small.yaml") == 0
    output = capsys.readouterr()
    assert warning in output.err.splitlines()
    assert f"0 cells executed, {CELLS} of {CELLS} done" in output.out
    assert cli.main(["status", "small.yaml"]) == 0
    assert warning.removeprefix("warning: ") in capsys.readouterr().out.splitlines()
    assert cli.main(["plan", "small.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed_methods"] == {"finetune": 2}
    command = shlex.split(warning.partition("recompute with: ")[2])
    assert cli.main([*command[1:], "--executor", "local"]) == 0
    output = capsys.readouterr()
    assert f"4 cells executed, {CELLS} of {CELLS} done" in output.out, "two models and two evaluations"
    assert "has changed" not in output.err
    assert cli.main(["plan", "small.yaml"]) == 0
    assert capsys.readouterr().err == "", "the new commits have the new digest"


@pytest.mark.usefixtures("changed")
def test_commits_of_before_this_version_give_no_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cell_runner, "source_facts", lambda cell, registry: {})
        assert run("small.yaml", "--rerun", "method=finetune") == 0
    keys = [key for key, cell in cells("small.yaml").items() if cell.stage == "unlearn"]
    store = Store.open(folder / "store")
    assert all(method_source.FACT not in commit.facts for key in keys if (commit := store.commit(key)))
    capsys.readouterr()
    for command in ("plan", "status"):
        assert cli.main([command, "small.yaml"]) == 0
    output = capsys.readouterr()
    assert "has changed" not in output.out + output.err


def test_the_digest_is_a_fact_and_in_no_key(folder: Path) -> None:
    store = Store.open(folder / "store")
    for key, cell in cells("small.yaml").items():
        commit = store.commit(key)
        assert commit is not None
        digest = method_source.source_digest(REGISTRY.methods[cell.method])
        assert commit.facts.get(method_source.FACT) == (None if cell.stage == "evaluate" else digest)
        assert method_source.FACT not in json.dumps(cell.identity)


def test_a_label_means_its_models_and_their_evaluations_in_all_sweeps(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", "small.yaml", "--rerun", "label=mine"]) == 0
    planned = capsys.readouterr().out
    assert (
        "to compute again: 2 finished cells (1 unlearn, 1 evaluate)\n  1 other finished cells in this store" in planned
    )
    assert "to execute: 2 cells" in planned
    assert cli.main(["plan", "small.yaml", "--rerun", "label=mine", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (len(document["recomputed"]), len(document["recomputed_elsewhere"])) == (2, 1)
    assert set(attempts("small.yaml", folder).values()) == {1}, "plan writes nothing"

    assert run("small.yaml", "--rerun", "label=mine") == 0
    assert "2 cells executed" in capsys.readouterr().out
    numbers = attempts("small.yaml", folder)
    assert len(numbers) == CELLS
    assert sorted(name.partition("-")[0] for name, number in numbers.items() if number == 2) == ["evaluate", "unlearn"]
    assert numbers["evaluate-mine"] == 2
    assert attempts("other.yaml", folder)["evaluate-theirs"] is None, "it was computed from the old model"
    assert run("other.yaml") == 0
    assert f"1 cells executed, {OTHER_CELLS} of {OTHER_CELLS} done" in capsys.readouterr().out


def test_a_condition_on_the_stage_is_meant_literally(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("small.yaml", "--rerun", "stage=evaluate,label=mine") == 0
    assert f"1 cells executed, {CELLS} of {CELLS} done" in capsys.readouterr().out
    assert attempts("other.yaml", folder)["evaluate-theirs"] == 1


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ("label=nobody", f"'label=nobody' matches none of {CELLS} cells"),
        ("labl=mine", "unknown name 'labl'; did you mean 'label'?"),
        ("mine", "must be NAME=VALUE"),
    ],
)
def test_what_matches_nothing_or_cannot_be_read_is_one_line_and_changes_nothing(
    command: str, conditions: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, "small.yaml", "--rerun", conditions]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --rerun: {message}")
    assert set(attempts("small.yaml", folder).values()) == {1}


def test_missing_data_stop_it_before_anything_is_revoked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = dataclasses.replace(DATASETS["digits"], verify=lambda root: "digits: gone")
    monkeypatch.setitem(DATASETS, "digits", gone)
    assert run("small.yaml") == 0, "all is done: nothing reads the data"
    assert run("small.yaml", "--rerun", "label=mine") == 2
    assert capsys.readouterr().err == "error: digits: gone\n"
    assert set(attempts("small.yaml", folder).values()) == {1}


def test_an_interrupted_rerun_is_resumed_without_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise it would compute again what it had computed before the interruption."""

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launch, "run", interrupted)
        assert run("small.yaml", "--rerun", "label=mine") == 130
    command = shlex.split(capsys.readouterr().err.splitlines()[-1])
    assert command == ["adaprob-ray", "run", "small.yaml", "--executor", "local", "--no-tensorboard"]
    assert cli.main(command[1:]) == 0
    assert f"2 cells executed, {CELLS} of {CELLS} done" in capsys.readouterr().out


def test_a_failure_before_a_success_is_no_reason_to_skip_what_is_computed_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (key,) = (key for key, cell in cells("small.yaml").items() if cell.label == "mine" and cell.stage == "evaluate")
    store = Store.open(folder / "store")
    store.objects.create(f"cells/{key}/failed/0", {"class": "code", "message": "before"})
    assert run("small.yaml", "--rerun", "label=mine", "--skip-failed", "code") == 0
    assert "2 cells executed" in capsys.readouterr().out
