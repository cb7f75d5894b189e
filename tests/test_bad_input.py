"""Bad input: exit code 2, one line for each fault that names it and says what is possible, and nothing is written."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_world import WORLD, with_value

from adaprob_ray import cli
from adaprob_ray.store import Store

GOOD: Mapping[str, Any] = {
    "name": "good",
    "grid": {
        "dataset": "digits",
        "architecture": {"name": "allcnn", "filters": 0.02},
        "forget": {"kind": "selective", "class": 3, "count": 25},
        "seed": [1, 2],
    },
    "train": {"recipe": "large", "epochs": 1},
    "methods": {"finetune": {"epochs": 1}},
    "metrics": ["errors"],
}
GOOD_CELLS = 2 * (3 + 1 + 4)

RunCommand = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """Run a command on a sweep file with this content; its exit code and the lines of its standard error."""
    monkeypatch.chdir(tmp_path)

    def run(
        sweep: Mapping[str, Any] | str, *more: str, command: str = "run", store: str = "store"
    ) -> tuple[int, list[str]]:
        text = sweep if isinstance(sweep, str) else yaml.safe_dump(dict(sweep), sort_keys=False)
        Path("sweep.yaml").write_text(text)
        before = paths_below(tmp_path)
        executor = ["--executor", "local"] if command == "run" else []
        code = cli.main([command, "sweep.yaml", *more, "--store", store, *executor])
        output = capsys.readouterr()
        assert paths_below(tmp_path) == before, "bad input leaves nothing behind"
        assert output.out == "" or code != 2
        return code, output.err.splitlines()

    return run


def paths_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def without_key(document: Mapping[str, Any], path: str) -> dict[str, Any]:
    result = copy.deepcopy(dict(document))
    *way, last = path.split(".")
    place = result
    for name in way:
        place = place[name]
    del place[last]
    return result


def test_a_valid_file_is_accepted(run_command: RunCommand) -> None:
    assert run_command(GOOD, command="plan") == (0, [])


SINGLE_FAULTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "key at the top": (with_value(GOOD, "metods", {}), ("'metods'", "did you mean 'methods'?", "precision")),
    "key of the grid": (with_value(GOOD, "grid.seeds", [1]), ("grid: ", "'seeds'", "did you mean 'seed'?")),
    "key of a data set": (
        with_value(GOOD, "grid.dataset", {"name": "digits", "testpool": "paper"}),
        ("'testpool'", "did you mean 'test_pool'?"),
    ),
    "key of a method": (
        with_value(GOOD, "methods.finetune.epoch", 3),
        ("methods.finetune", "'epoch'", "did you mean 'epochs'?"),
    ),
    "key of the recipe": (with_value(GOOD, "train.epoch", 3), ("train", "'epoch'", "did you mean 'epochs'?")),
    "seed of the recipe": (with_value(GOOD, "train.seed", 3), ("train", "'seed'", "known: batch_norm")),
    "key of resources": (
        with_value(GOOD, "resources", {"train": {"gpus": 1}}),
        ("resources.train: ", "'gpus'", "did you mean 'gpu'?"),
    ),
    "stage of resources": (with_value(GOOD, "resources", {"evalute": {}}), ("did you mean 'evaluate'?",)),
    "key of where": (
        with_value(GOOD, "methods.finetune", [{"where": {"datset": "digits"}, "with": {}}]),
        ("methods.finetune: where", "'datset'", "did you mean 'dataset'?"),
    ),
    "method": (with_value(GOOD, "methods", {"scrubb": {}}), ("unknown method 'scrubb'", "did you mean 'scrub'?")),
    "method of a label": (
        with_value(GOOD, "methods", {"mine": {"method": "magic"}}),
        ("methods.mine", "unknown method 'magic'", "known: adaprob, "),
    ),
    "method that is a list": (with_value(GOOD, "methods", {"mine": {"method": ["scrub"]}}), ("['scrub']", "known:")),
    "data set": (with_value(GOOD, "grid.dataset", "digit"), ("unknown dataset 'digit'", "did you mean 'digits'?")),
    "architecture": (with_value(GOOD, "grid.architecture", "alexnet"), ("'alexnet'", "known: allcnn, resnet18")),
    "metric": (with_value(GOOD, "metrics", ["error"]), ("unknown metric 'error'", "did you mean 'errors'?")),
    "relearning of weights that are dropped": (
        with_value(GOOD, "metrics", ["errors", "relearn"]),
        ("metrics: relearn needs the weights", "write keep: {unlearn: weights}"),
    ),
    "settings of relearning that nothing asks for": (
        with_value(GOOD, "relearn", {"lr": 0.1}),
        ("relearn: has no effect unless metrics lists relearn",),
    ),
    "key of relearning": (
        {**GOOD, "metrics": ["relearn"], "keep": {"unlearn": "weights"}, "relearn": {"epoch": 3}},
        ("relearn: unknown key 'epoch'", "did you mean 'epochs'?"),
    ),
    "metric given twice": (
        with_value(GOOD, "metrics", ["errors", "errors"]),
        ("metrics: must be at least one, each once",),
    ),
    "recipe": (with_value(GOOD, "train.recipe", "lage"), ("unknown recipe 'lage'", "did you mean 'large'?")),
    "rate read as text": (
        with_value(GOOD, "methods.finetune.lr", "1e-4"),
        ("methods.finetune.lr: must be written 0.0001 (a number) or '1e-4' (text), got 1e-4",),
    ),
    "epochs below zero": (
        with_value(GOOD, "methods.finetune.epochs", -1),
        ("epochs: must be an integer of at least 1, got -1",),
    ),
    "epochs of the recipe": (
        with_value(GOOD, "train.epochs", 0),
        ("train: epochs: must be an integer of at least 1, got 0",),
    ),
    "rate of zero": (with_value(GOOD, "methods.finetune.lr", 0), ("lr: must be a number greater than 0, got 0",)),
    "rate that is infinite": (
        with_value(GOOD, "methods.finetune.lr", float("inf")),
        ("methods.finetune.lr: must be a finite number, got inf",),
    ),
    "epochs and a half": (
        with_value(GOOD, "methods.finetune.epochs", 1.5),
        ("must be an integer of at least 1, got 1.5",),
    ),
    "list where one in it is wrong": (
        with_value(GOOD, "methods.finetune.epochs", [1, "x"]),
        ("an integer of at least 1, got 'x'",),
    ),
    "choice": (
        with_value(GOOD, "methods", {"adaprob": {"reference": "retrain"}}),
        ("reference: must be one of original, pseudo, got 'retrain'",),
    ),
    "settings that contradict": (
        with_value(GOOD, "methods", {"adaprob": {"reference": "original", "totals": "original"}}),
        ("methods.adaprob: reference, totals: must be pseudo for at least one of them, got original for both",),
    ),
    "seed given twice": (with_value(GOOD, "grid.seed", [1, 2, 1]), ("grid.seed: 1 is given more than once",)),
    "seed of zero": (with_value(GOOD, "grid.seed", [0, 1]), ("grid.seed: ", "at least 1", "got 0")),
    "seed that is no number": (with_value(GOOD, "grid.seed", "one"), ("grid.seed: ", "got 'one'")),
    "seed that is a truth": (with_value(GOOD, "grid.seed", True), ("grid.seed: ", "got True")),
    "no seed": (with_value(GOOD, "grid.seed", []), ("grid.seed: must have at least one value",)),
    "count of null": (with_value(GOOD, "grid.forget.count", None), ("count must be 1 to 117", "class 3", "got None")),
    "class out of range": (with_value(GOOD, "grid.forget.class", 10), ("class must be 0 to 9, got 10",)),
    "more to forget than there is": (
        with_value(GOOD, "grid.forget.count", 118),
        ("count must be 1 to 117", "class 3", "got 118"),
    ),
    "more repeats than can be planned": (
        with_value(GOOD, "repeats", 10**30),
        ("repeats: must be an integer of at most",),
    ),
    "epochs in exponents as text": (
        with_value(GOOD, "methods.finetune.epochs", "1e1"),
        ("methods.finetune.epochs: must be written 10 (a number)", "got 1e1"),
    ),
    "width that PyTorch cannot count": (
        with_value(GOOD, "grid.architecture.filters", 1.0e30),
        ("grid.architecture: filters: must be a number greater than 0 and of at most 100, got 1e+30",),
    ),
    "kind of request": (with_value(GOOD, "grid.forget.kind", "random"), ("{kind: class, class: C}", "'random'")),
    "class with a count": (with_value(GOOD, "grid.forget.kind", "class"), ("{kind: class, class: C}", "'count': 25")),
    "precision": (with_value(GOOD, "precision", "float16"), ("precision: ", "'float32' or 'bfloat16'", "'float16'")),
    "gpu as text": (with_value(GOOD, "resources", {"train": {"gpu": "half"}}), ("resources.train: gpu", "got 'half'")),
    "cpu of zero": (with_value(GOOD, "resources", {"train": {"cpu": 0}}), ("resources.train: cpu", "got 0")),
    "what to keep": (with_value(GOOD, "keep", {"unlearn": "all"}), ("'outputs' or 'weights'", "got 'all'")),
    "pretraining of true": (
        with_value(GOOD, "pretrain", True),
        ("pretrain: must be a mapping {name: value} or false",),
    ),
    "seed of pretraining": (with_value(GOOD, "pretrain", {"seed": 2**32}), ("pretrain: seed: ", "at most 4294967295")),
    "keep that is no mapping": (with_value(GOOD, "keep", "all"), ("keep: must be a mapping {name: value}, got 'all'",)),
    "nested settings with a key self": (
        with_value(GOOD, "methods", {"adaprob": {"source": "scrub", "scrub": {"self": 1}}}),
        ("methods.adaprob: scrub: unknown key 'self'",),
    ),
    "no name": (without_key(GOOD, "name"), ("name: is missing",)),
    "no methods": (without_key(GOOD, "methods"), ("methods: is missing",)),
    "no grid": (without_key(GOOD, "grid"), ("grid: is missing",)),
    "name that leads out of its folder": (with_value(GOOD, "name", ".."), ("name: ", "got '..'")),
    "one cell too few": (with_value(GOOD, "expect", {"cells": GOOD_CELLS - 1}), ("expect.cells: must be 16", "got 15")),
    "one cell too many": (
        with_value(GOOD, "expect", {"cells": GOOD_CELLS + 1}),
        ("expect.cells: must be 16", "got 17"),
    ),
    "settings that are a number": (
        with_value(GOOD, "methods", {"scrub": 3}),
        ("methods.scrub: must be settings", "got 3"),
    ),
    "methods that are a list": (
        with_value(GOOD, "methods", ["scrub", {"adaprob": {"lam": 1.0}}]),
        ("methods: must be a mapping {label: settings}, as {scrub: {}, adaprob: {}}, got ['scrub', {'adaprob'",),
    ),
    "methods that are a number": (with_value(GOOD, "methods", 3), ("as {scrub: {}}, got 3",)),
    "where that is no mapping": (
        with_value(GOOD, "methods.finetune", [{"where": "digits", "with": {}}]),
        ("methods.finetune: must be settings, or a list of {where: …, with: …}",),
    ),
}


@pytest.mark.parametrize("case", SINGLE_FAULTS)
def test_a_fault_is_reported_in_one_line(case: str, run_command: RunCommand) -> None:
    document, words = SINGLE_FAULTS[case]
    code, lines = run_command(document)
    assert code == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: sweep.yaml: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nname: y\n", "key given twice: ['name']"),
        ("methods: {scrub: {lr: 1.0, lr: 2.0}}\n", "key given twice: ['lr']"),
        ("name: [\n", "not YAML"),
        ("name: !!python/object:os.system {}\n", "not YAML"),
        ("grid: {seed: &s [1]}\nmore: *s\n", "aliases are not allowed"),
        ("", "a sweep file must be a mapping of keys, got NoneType"),
        ("- name\n", "a sweep file must be a mapping of keys, got list"),
        (
            "about: 2026-02-30\n",
            "about: must be written '2026-02-30' (text), got 2026-02-30, which YAML 1.1 reads as a date",
        ),
        (f"repeats: {'9' * 5000}\n", "not YAML: Exceeds the limit"),
        (f"about: {'[' * 3000}\n", "not YAML: nested too deeply"),
        (
            "name: 2020-01-01\n",
            "name: must be written '2020-01-01' (text), got 2020-01-01, which YAML 1.1 reads as a date",
        ),
        ("name: x\n5: y\n", "a key must be a word, got 5"),
    ],
)
def test_a_text_that_is_not_a_sweep_is_reported_in_one_line(text: str, words: str, run_command: RunCommand) -> None:
    code, lines = run_command(text)
    assert code == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: sweep.yaml: ")
    assert words in lines[0]


def test_a_former_key_is_taken_with_one_line_of_warning(run_command: RunCommand) -> None:
    code, lines = run_command({**GOOD, "reading": "finetune"}, command="plan")
    assert (code, lines) == (0, ["warning: sweep.yaml: reading: is deprecated, write primary_label"])


def test_all_faults_of_a_file_are_reported_together_and_expect_only_without_them(run_command: RunCommand) -> None:
    document = {
        **GOOD,
        "metods": {},
        "precision": "float16",
        "expect": {"cells": 1},
        "grid": {
            "dataset": ["digits", "digitz"],
            "architecture": "alexnet",
            "forget": [{"kind": "class", "class": 10}, {"kind": "random"}],
            "seed": [0, 1, 1],
        },
        "train": {"recipe": "large", "epochs": 0},
        "methods": {"scrub": {"lr": "1e-4", "epochs": -1, "speed": 9}, "nonsense": {}},
        "metrics": ["error", "membership"],
        "resources": {"train": {"gpu": "a"}},
    }
    code, lines = run_command(document)
    assert code == 2
    needed = ["'metods'", "'float16'", "'digitz'", "'alexnet'", "class must be", "'random'", "got 0", "1 is given more"]
    needed += ["train: epochs", "written 0.0001", "got -1", "'speed'", "'nonsense'", "'error'", "resources.train: gpu"]
    for word in needed:
        assert sum(word in line for line in lines) >= 1, (word, lines)
    assert len(lines) == len(set(lines)) == len(needed)
    assert not any("expands to" in line for line in lines)


def test_a_fault_of_a_data_set_hides_none_that_depends_on_its_name(run_command: RunCommand) -> None:
    dataset = {"name": "digits", "test_pool": "all"}
    code, lines = run_command(with_value(with_value(GOOD, "grid.dataset", dataset), "grid.forget.class", 10))
    assert code == 2
    assert len(lines) == 2
    assert "test_pool: must be one of clean, paper, got 'all'" in lines[0]
    assert "class must be 0 to 9, got 10" in lines[1]


@pytest.mark.parametrize("forget", [{"kind": "class", "class": 0}, {"kind": "selective", "class": 0, "count": 7}])
def test_a_request_that_retains_no_sample_is_refused(
    forget: dict[str, Any], run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaprob_ray.catalogue.REGISTRY", WORLD)
    document = {**GOOD, "methods": {}, "grid": {**GOOD["grid"], "dataset": "one_class", "forget": forget}}
    code, lines = run_command({**document, "train": {}})
    assert code == 2
    (line,) = lines
    assert "one_class: forgetting 7 samples leaves nothing to retain" in line


def test_all_samples_but_one_may_be_forgotten(run_command: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaprob_ray.catalogue.REGISTRY", WORLD)
    grid = {**GOOD["grid"], "dataset": "one_class", "forget": {"kind": "selective", "class": 0, "count": 6}}
    assert run_command({**GOOD, "methods": {}, "train": {}, "grid": grid}, command="plan") == (0, [])


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ("", "NAME=VALUE"),
        ("nonsense", "NAME=VALUE (also != < <= > >=), joined by commas, got 'nonsense'"),
        ("sed=1", "did you mean 'seed'?"),
        ("seed<three", "compares numbers"),
        ("method=nobody", "matches none of 16 cells"),
    ],
)
def test_invalid_conditions_are_reported(conditions: str, words: str, run_command: RunCommand) -> None:
    code, lines = run_command(GOOD, "--only", conditions)
    assert code == 2
    (line,) = lines
    assert line.startswith("error: --only: ")
    assert words in line


def test_a_missing_sweep_file_is_reported(run_command: RunCommand, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "nowhere.yaml", "--store", "store"]) == 2
    assert re.fullmatch(r"error: nowhere.yaml: cannot be read: .*No such file.*\n", capsys.readouterr().err)
    assert not Path("store").exists()


CIFAR = with_value(with_value(GOOD, "grid.dataset", "cifar10"), "pretrain", False)


def test_a_missing_data_folder_is_reported(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path / "nowhere"))
    code, lines = run_command(CIFAR)
    assert code == 2
    (line,) = lines
    assert f"cifar10: no folder {tmp_path / 'nowhere' / 'cifar-10-batches-py'}" in line
    assert "ADAPROB_DATA" in line
    assert "adaprob-ray data prepare cifar10" in line


@pytest.mark.data
def test_a_truncated_data_file_is_reported(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cifar: Path
) -> None:
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for file in (cifar / folder.name).iterdir():
        (folder / file.name).symlink_to(file)
    cut = (folder / "data_batch_3").resolve().read_bytes()[:-1]
    (folder / "data_batch_3").unlink()
    (folder / "data_batch_3").write_bytes(cut)
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path / "data"))
    code, lines = run_command(CIFAR)
    assert code == 2
    assert lines == [f"error: cifar10: missing or corrupt (md5) in {folder}: data_batch_3"]


@pytest.mark.parametrize("command", ["plan", "run", "status", "explain"])
def test_a_store_below_a_file_is_reported(command: str, run_command: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, lines = run_command(GOOD, command=command, store="file/store")
    assert code == 2
    (line,) = lines
    assert line.startswith(f"error: store {tmp_path / 'file' / 'store'}: ")
    assert "is a file, not a folder" in line


def test_a_store_with_an_unknown_scheme_is_reported(run_command: RunCommand) -> None:
    code, lines = run_command(GOOD, store="ftp://somewhere")
    assert code == 2
    (line,) = lines
    assert "must be a folder or a URI, got scheme 'ftp' (known: s3://, gs://, az://)" in line


@pytest.mark.parametrize("command", ["plan", "status", "explain"])
def test_commands_that_only_read_create_no_store(command: str, run_command: RunCommand, tmp_path: Path) -> None:
    assert run_command(GOOD, command=command)[0] == 0
    (tmp_path / "empty").mkdir()
    assert run_command(GOOD, command=command, store="empty")[0] == 0


def test_an_unknown_cell_is_reported(run_command: RunCommand) -> None:
    code, lines = run_command(GOOD, "train-orignal-digits-allcnn-s1", command="explain")
    assert code == 2
    (line,) = lines
    assert "unknown cell 'train-orignal-digits-allcnn-s1'; did you mean 'train-original-digits-allcnn-s" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "verify", "cifar11"], ["unknown data set 'cifar11'; did you mean 'cifar10'?"]),
        (
            ["data", "indices", "digits", "--seed", "0", "--class", "3"],
            ["--seed: must be an integer of at least 1"],
        ),
        (
            ["data", "indices", "digits", "--seed", "0", "--class", "10"],
            ["class must be 0 to 9, got 10", "--seed: must be"],
        ),
        (["data", "indices", "digits", "--seed", "1", "--class", "3", "--count", "118"], ["count must be 1 to 117"]),
    ],
)
def test_data_commands_refuse_invalid_arguments(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(words)
    for line, word in zip(lines, words, strict=True):
        assert line.startswith("error: ")
        assert word in line


@pytest.mark.parametrize("arguments", [[], ["rn"], ["run"], ["run", "x.yaml", "--executor", "slurm"]])
def test_unknown_commands_and_options_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "Usage: adaprob-ray" in capsys.readouterr().err


@pytest.mark.slow
def test_the_program_exits_with_2_and_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(with_value(GOOD, "methods", {"scrubb": {}})))
    command = [sys.executable, "-m", "adaprob_ray", "run", "sweep.yaml", "--store", "store"]
    path = os.pathsep.join(sys.path)
    process = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) == 1
    assert "did you mean 'scrub'?" in process.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("grid.architecture", {"name": "allcnn", "filters": 0.005}, "filters must be at least"),
        ("grid.seed", [2**33], "and at most 4294967295"),
        ("methods.floor", {"method": "finetune"}, "not 'floor'"),
        ("methods.a/b", {"method": "finetune"}, "a label must be up to 60 letters"),
    ],
)
def test_settings_that_would_fail_in_every_cell_are_refused(
    run_command: RunCommand, path: str, value: object, words: str
) -> None:
    code, lines = run_command(with_value(GOOD, path, value))
    assert code == 2
    assert any(words in line for line in lines), lines


def test_a_key_that_is_not_a_word_is_refused(run_command: RunCommand) -> None:
    code, lines = run_command("? [a]\n: 1\n? [a]\n: 2\n")
    assert code == 2
    assert "a key must be a word" in lines[0]


def test_bad_input_writes_nothing_into_an_existing_store(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path / "nowhere"))
    Store.open(tmp_path / "store")
    missing = with_value(with_value(GOOD, "grid.dataset", "cifar5"), "grid.architecture.filters", 0.1)
    code, lines = run_command(missing)
    assert code == 2
    assert "no folder" in lines[0]
