"""Exit codes 0, 1, 2 and 130, and what each command prints for them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adaprob_ray import cli
from adaprob_ray.catalogue import DATASETS
from adaprob_ray.errors import Failure, StoreError
from adaprob_ray.runtime import launch
from adaprob_ray.runtime.launch import RunResult
from adaprob_ray.runtime.tensorboard_driver import TensorBoardOptions
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome
from adaprob_ray.sweep.plan import Plan

CELLS = 8  # 3 trained, 1 unlearned, 4 evaluated


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A location at which there is no store yet, which ADAPROB_STORE names."""
    monkeypatch.setenv("ADAPROB_STORE", str(tmp_path / "a store"))
    return str(tmp_path / "a store")


def run_with(monkeypatch: pytest.MonkeyPatch, failing: str, *reasons: str) -> dict[str, Any]:
    """Replace the execution of cells: those of stage `failing` fail. The keyword arguments of the call that follows."""
    call: dict[str, Any] = {}

    def execute(cells: Mapping[str, Cell], store: Store, **options: Any) -> RunResult:
        call.update(options)
        plan = Plan(cells)
        while ready := plan.ready():
            plan.started(ready[0])
            message = "RuntimeError: no"
            failure = Failure(failure_class="code", message=message) if ready[0].stage == failing else None
            plan.finished(ready[0], Outcome(status="failed" if failure else "done", failure=failure))
        return RunResult(plan, Path(store.location) / "tensorboard" / options["sweep"], tuple(reasons))

    monkeypatch.setattr(launch, "run", execute)
    return call


def test_plan_counts_cells_and_bytes_and_writes_nothing(
    sweep_file: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", sweep_file]) == 0
    first, *stages, size, hours = capsys.readouterr().out.splitlines()
    assert first == f"small: {CELLS} cells in {store}"
    assert [line.split() for line in stages] == [
        ["train", "3", "3", "ready"],
        ["evaluate", "4", "4", "waiting"],
        ["unlearn", "1", "1", "waiting"],
        ["evaluated,", "with", "settings", "other", "than", "the", "defaults:"],
        ["original", "0", "of", "1", "done"],
        ["retrain", "0", "of", "1", "done"],
        ["retrain_independent", "0", "of", "1", "done"],
        ["finetune", "epochs=1", "0", "of", "1", "done"],
    ]
    assert size.startswith(f"to execute: {CELLS} cells, about ")
    assert size.endswith(" kB to write")
    assert hours == "expected time: not known, because no comparable cell in this store is done yet"
    assert not Path(store).exists()


def test_plan_shows_labels_with_the_settings_that_are_given_or_vary(
    sweep_file: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(sweep_file)
    labels = "{mine: {method: adaprob, lam: [0.5, 1.0], epochs: 1}, finetune: {lr: [0.01, 0.02, 0.03]}}"
    path.write_text(path.read_text().replace("\n  finetune: {epochs: 1}", f" {labels}"))
    assert cli.main(["plan", sweep_file]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[8:13] == [
        "mine (adaprob) lam=0.5, epochs=1 0 of 1 done",
        "mine (adaprob) lam=1, epochs=1 0 of 1 done",
        "finetune lr=0.01 0 of 1 done",
        "finetune lr=0.02 0 of 1 done",
        "finetune lr=0.03 0 of 1 done",
    ]
    path.write_text(path.read_text().replace("0.03]", f"{', '.join(str(lr / 100) for lr in range(3, 43))}]"))
    assert cli.main(["plan", sweep_file]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  and 17 more" in lines, "of 3 trained models, 2 of adaprob and 42 of finetune 30 are listed"
    assert max(map(len, lines)) < 100


def test_plan_names_data_that_are_missing_and_expects_the_time_that_such_cells_took(
    sweep_file: str,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored_sigterm: None,
) -> None:
    digits = DATASETS["digits"]
    assert cli.main(["run", sweep_file, "--executor", "local", "--no-tensorboard"]) == 0
    path = Path(sweep_file)
    path.write_text(path.read_text().replace("seed: 1", "seed: [1, 2]"))
    capsys.readouterr()
    monkeypatch.setitem(DATASETS, "digits", replace(digits, verify=lambda root: "digits: not there; run X"))
    assert cli.main(["plan", sweep_file]) == 0
    *_, hours, missing = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"expected time: about .+ (s|min|h), one cell after another \(measured on cpu .*, float32, 1 thread\)", hours
    )
    assert missing == "missing data: digits: not there; run X"
    assert cli.main(["plan", sweep_file, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["data_faults"] == ["digits: not there; run X"]
    assert document["expected_hours"] > 0
    path.write_text(path.read_text().replace("seed: [1, 2]", "seed: 1"))
    assert cli.main(["plan", sweep_file]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("to execute: 0 cells"), "nothing reads the data, and nothing takes time"


def test_plan_as_json(sweep_file: str, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", sweep_file, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() == {
        *("sweep", "counts", "bytes_to_write", "cells", "skipped"),
        *("expected_hours", "data_faults", "changed_methods"),
    }
    assert (document["expected_hours"], document["data_faults"], document["changed_methods"]) == (None, [], {})
    assert document["counts"].keys() == {"done", "running", "leased", "ready", "waiting", "failed", "blocked"}
    assert [cell.keys() for cell in document["cells"]] == [{"key", "title", "stage", "state"}] * CELLS


def test_plan_simulates_a_run_on_a_cluster(sweep_file: str, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was timed: 5 s are assumed for each of the four evaluations, three of which start when the training is done."""
    assert cli.main(["plan", sweep_file, "--cluster", "cpus=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    lines = lines[lines.index(next(line for line in lines if line.startswith("to execute: "))) + 1 :]
    assert lines[0] == f"simulated on 2 CPU cores: {CELLS} cells"
    assert [line.split("  ")[1] for line in lines[1:6]] == [
        "makespan",
        "critical path",
        "core-hours",
        "idle share",
        "by stage",
    ]
    assert "evaluate 20.0 s" in lines[5]
    assert lines[6].startswith(
        "  no cell in the store was timed: 1e+12 multiply-adds per second are assumed: the idle share"
    )
    assert not Path(store).exists()


def test_plan_simulates_a_run_as_json(sweep_file: str, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(sweep_file)
    path.write_text(path.read_text() + "resources: {train: {gpu: 1}, unlearn: {gpu: auto}}\n")
    assert cli.main(["plan", sweep_file, "--cluster", "gpus=2,memory=80,cpus=4", "--json"]) == 0
    simulation = json.loads(capsys.readouterr().out)["simulation"]
    assert (simulation["gpus"], simulation["cpus"], simulation["cells"]) == (2, 4, CELLS)
    assert simulation["evidence"] == {"assumed": CELLS}
    assert simulation["speeds_of"] == []
    assert simulation["makespan_hours"] >= simulation["critical_path_hours"] > 5 / 3600
    assert 0 < simulation["idle_share"] < 1
    assert simulation["hours_by_stage"]["evaluate"] == pytest.approx(20 / 3600)
    gpu_hours = simulation["hours_by_stage"]["train"] + simulation["hours_by_stage"]["unlearn"]
    assert simulation["busy_hours"] == pytest.approx(gpu_hours)


def test_a_cluster_that_holds_no_cell_or_cannot_be_read_is_bad_input(
    sweep_file: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", "no file", "--cluster", "gpus=8,mem=80"]) == 2, "before the sweep is read"
    assert (
        capsys.readouterr().err
        == "error: --cluster: unknown key 'mem'; did you mean 'memory'? (known: cpus, gpus, memory)\n"
    )
    path = Path(sweep_file)
    path.write_text(path.read_text() + "resources: {train: {cpu: 3}}\n")
    assert cli.main(["plan", sweep_file, "--cluster", "cpus=2"]) == 2
    fault = "error: --cluster: must hold a cell of stage train, which asks for 3 CPU, got 2 CPU cores\n"
    assert capsys.readouterr().err == fault


def test_the_option_store_overrides_the_environment(
    sweep_file: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", sweep_file, "--store", "here"]) == 0
    assert capsys.readouterr().out.startswith(f"small: 0 of {CELLS} cells done in here\n")


def test_only_selects_cells_and_their_parents(sweep_file: str, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", sweep_file, "--json", "--only", "stage=unlearn"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() >= {"sweep", "cells", "counts", "failures", "skipped"}
    assert document["cells"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["SWEEP", "unlearn-finetune", "--store", "none", "--only", "seed=1"],
        ["SWEEP", "--store", "none", "unlearn-finetune", "--only", "seed=1"],
        ["SWEEP", "--store", "none", "--only", "seed=1", "unlearn-finetune"],
        ["--store", "none", "SWEEP", "--only", "seed=1", "unlearn-finetune"],
    ],
)
def test_explain_takes_its_cell_before_between_and_after_options(
    arguments: list[str], sweep_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [sweep_file if word == "SWEEP" else word for word in arguments]
    assert cli.main(["explain", *arguments]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("unlearn-finetune-digits-allcnn-25of3-s1-")
    assert "waiting for train-original-" in first
    assert second.startswith("  key ")


def test_explain_without_a_cell_explains_each_that_is_not_done(
    sweep_file: str, store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["explain", sweep_file]) == 0
    assert len(capsys.readouterr().out.splitlines()) == CELLS
    monkeypatch.setattr(Plan, "state", lambda plan, key: "done")
    assert cli.main(["explain", sweep_file]) == 0
    assert capsys.readouterr().out == "all cells are done\n"


def test_every_command_names_the_labels_whose_method_declines(
    sweep_file: str,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored_sigterm: None,
) -> None:
    path = Path(sweep_file)
    path.write_text(
        path.read_text().replace("finetune: {epochs: 1}", "ntk: {}").replace("epochs: 1", "weight_decay: 0.0")
    )
    run_with(monkeypatch, "")
    for arguments in (["plan"], ["status"], ["explain"], ["run", "--executor", "local"]):
        assert cli.main([*arguments, sweep_file]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.startswith("skipped: ntk on digits, allcnn, 25of3: ")], arguments
    for command in ("plan", "status"):
        assert cli.main([command, sweep_file, "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["skipped"]) == 1


def test_run_says_where_the_results_are_and_which_cells_were_recomputed(
    sweep_file: str,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored_sigterm: None,
) -> None:
    call = run_with(monkeypatch, "", "train-original-x: a file is missing")
    Path(store, "tensorboard", "small").mkdir(parents=True)  # a folder that could not be written is not printed
    assert cli.main(["run", sweep_file, "--executor", "local", "--address", "head:6379"]) == 0
    assert (call["sweep"], call["executor"], call["address"]) == ("small", "local", "head:6379")
    output = capsys.readouterr()
    assert output.err == ""
    recomputed, counts, records, tensorboard = output.out.splitlines()
    assert recomputed == "recomputed: train-original-x: a file is missing"
    assert counts == f"{CELLS} cells executed, {CELLS} of {CELLS} done"
    assert records.startswith(f"records:     {store} ")
    command = shlex.join(["adaprob-ray", "compare", sweep_file, "--store", store])
    assert command in records, "a location with a space is quoted"
    folder = f"{store}/tensorboard/small"
    command = shlex.join(["tensorboard", "--logdir", folder, "--host", "localhost", "--reload_multifile=true"])
    assert tensorboard == f"tensorboard: {folder}  (to see curves: {command})"
    assert call["tensorboard"] == TensorBoardOptions()
    assert len(call["sweep_cells"]) == CELLS


def test_run_can_do_without_tensorboard_or_a_part_of_it(
    sweep_file: str,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored_sigterm: None,
) -> None:
    call = run_with(monkeypatch, "")
    assert cli.main(["run", sweep_file, "--executor", "local", "--no-tensorboard"]) == 0
    assert call["tensorboard"] == TensorBoardOptions(enabled=False)
    assert "tensorboard" not in capsys.readouterr().out
    assert cli.main(["run", sweep_file, "--executor", "local", "--no-epoch-metrics", "--tsne"]) == 0
    assert call["tensorboard"] == TensorBoardOptions(epoch_metrics=False, tsne=True)
    assert cli.main(["run", sweep_file, "--executor", "local", "--only", "seed=1,method=original"]) == 0
    assert len(call["sweep_cells"]) == CELLS, "runs are named as in the whole sweep"


def test_run_exits_with_1_and_names_each_cell_that_failed_or_is_blocked(
    sweep_file: str,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored_sigterm: None,
) -> None:
    run_with(monkeypatch, "unlearn")
    assert cli.main(["run", sweep_file, "--executor", "local"]) == 1
    output = capsys.readouterr()
    assert f"6 cells executed, 6 of {CELLS} done" in output.out
    failed, traceback, blocked = output.err.splitlines()
    title = failed.split(": ")[1]
    assert failed == f"failed: {title}: code: RuntimeError: no"
    assert title.startswith("unlearn-finetune-")
    assert blocked.startswith("blocked: evaluate-finetune-")
    assert blocked.endswith(f": by {title}")
    program, *explain = shlex.split(traceback.removeprefix("  traceback: "))
    assert program == "adaprob-ray"
    assert cli.main(explain) == 0, "the command works as it is printed"
    assert capsys.readouterr().out.startswith(title)


def test_a_store_that_cannot_be_read_exits_with_1(
    sweep_file: str, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(location: str, *, create: bool = True) -> Store:
        raise StoreError("store s3://bucket: connection refused")

    monkeypatch.setattr(Store, "open", refuse)
    assert cli.main(["status", sweep_file]) == 1
    assert capsys.readouterr().err == "error: store s3://bucket: connection refused\n"


def test_an_interrupted_run_exits_with_130_and_prints_the_command_that_resumes_it(
    sweep_file: str,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored_sigterm: None,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "run", interrupt)
    arguments = ["run", sweep_file, "--executor", "local", "--only", "method=finetune,seed<3"]
    assert cli.main(arguments) == 130
    *_, message, command = capsys.readouterr().err.splitlines()
    assert message == "Interrupted. Completed cells are saved. Resume with:"
    assert shlex.split(command) == ["adaprob-ray", *arguments]


@pytest.mark.parametrize("arguments", [["--help"], pytest.param(["status", "SWEEP"], marks=pytest.mark.slow)])
def test_a_closed_pipe_exits_with_0_and_without_a_word(arguments: list[str], sweep_file: str, store: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "adaprob_ray", *(sweep_file if word == "SWEEP" else word for word in arguments)]
    process = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, "")


def test_indices_that_cannot_be_written_are_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "indices", "digits", "--seed", "1", "--class", "3", "--out"]
    assert cli.main([*arguments, str(tmp_path / "missing" / "indices.json")]) == 2
    assert capsys.readouterr().err.startswith("error: --out: cannot be written: ")
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, str(tmp_path)])
    assert stop.value.code == 2


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_unknown_failure_class_is_bad_input_before_anything_starts(
    command: str, sweep_file: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, sweep_file, "--skip-failed", "diverged,nan"]) == 2
    known = "known: code, diverged, timeout, storage, permission, preempted, out_of_memory"
    assert capsys.readouterr().err == f"error: --skip-failed: must be failure classes, got 'nan' ({known})\n"
    assert not Path(store).exists()
