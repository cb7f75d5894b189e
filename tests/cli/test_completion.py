"""Shell completion: commands, options, choices, sweep files and data sets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from adaprob_ray import cli
from adaprob_ray.catalogue import BUILT_IN


def complete(*words: str) -> list[CompletionItem]:
    """Completions of the last word."""
    *arguments, incomplete = words
    return ShellComplete(cli.commands, {}, "adaprob-ray", "_ADAPROB_RAY_COMPLETE").get_completions(
        arguments, incomplete
    )


def values(*words: str) -> list[str]:
    return [item.value for item in complete(*words)]


def test_commands() -> None:
    reading = ["status", "explain", "compare", "figure", "report"]
    assert values("") == [
        "init",
        "plan",
        "run",
        "search",
        *reading,
        "unlearn",
        "audit",
        "list",
        "doctor",
        "store",
        "data",
    ]
    assert values("st") == ["status", "store"]
    assert values("data", "") == ["list", "prepare", "verify", "indices"]
    assert values("figure", "") == ["trade_off", "cost", "ranks", "time_bars", "ablation", "embedding", "curves"]
    assert complete("")[0].help, "shells show the summary of each command"


def test_options() -> None:
    assert values("run", "--") == [
        *(
            "--store",
            "--only",
            "--executor",
            "--address",
            "--cpus",
            "--gpus",
            "--rerun",
            "--skip-failed",
            "--tensorboard",
            "--no-tensorboard",
        ),
        *("--epoch-metrics", "--no-epoch-metrics", "--tsne", "--help"),
    ]
    assert values("data", "indices", "digits", "--c") == ["--class", "--count"]


def test_choices() -> None:
    assert values("run", "x.yaml", "--executor", "") == ["ray", "local"]
    assert values("data", "indices", "digits", "--test-pool", "p") == ["paper"]


@pytest.mark.parametrize("command", ["plan", "run", "search", "status", "explain", "compare", "report"])
def test_sweep_files_and_folders(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "ab.yaml", "a.txt", "sweeps/c.yaml", "sweeps/d.csv", "a[1]/e.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert values(command, "") == ["a.yaml", "ab.yaml", "a[1]/", "sweeps/"]
    assert values(command, "ab") == ["ab.yaml"]
    assert values(command, "--store", "elsewhere", "sweeps/") == ["sweeps/c.yaml"]
    assert values(command, "a[1]/") == ["a[1]/e.yaml"], "brackets of a name are not a pattern"
    (folder,) = complete(command, "sw")
    assert (folder.value, folder.type) == ("sw", "dir"), (
        "the shell completes folders itself, without a space after them"
    )


@pytest.mark.parametrize("command", ["prepare", "verify", "indices"])
def test_data_sets(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    assert set(values("data", command, "")) == BUILT_IN
    assert values("data", command, "cifar") == ["cifar5", "cifar10", "cifar100"]


@pytest.mark.parametrize("command", ["prepare", "verify"])
def test_more_than_one_data_set(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    assert values("data", command, "cifar10", "dig") == ["digits"]


def test_an_unreadable_manifest_does_not_break_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "pets.json").write_text("{")
    assert cli.main(["data", "list"]) == 2
    capsys.readouterr()
    assert values("data", "verify", "") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "incomplete", "names"),
    [("methods", "scrub", ["scrub", "scrub_rewind"]), ("recipes", "", ["pretrain", "small", "large"])],
)
def test_names_of_the_catalogue(kind: str, incomplete: str, names: list[str]) -> None:
    assert values("list", "m") == ["methods", "metrics"]
    assert values("list", kind, incomplete) == names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell(shell: str) -> None:
    environment = {**os.environ, "_ADAPROB_RAY_COMPLETE": f"{shell}_source"}
    command = [sys.executable, "-m", "adaprob_ray"]
    script = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert f"_ADAPROB_RAY_COMPLETE={shell}_complete" in script
    assert "adaprob-ray" in script


def test_main_answers_the_shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_ADAPROB_RAY_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "adaprob-ray exp")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert cli.main([]) == 0
    assert capsys.readouterr().out == "plain,explain\n"
