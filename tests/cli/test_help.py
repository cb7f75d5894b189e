"""Help texts, the version, and the suggestions for misspelled commands and options."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from adaprob_ray import __version__, cli
from adaprob_ray.cli._group import CommandGroup

SWEEP_PARAMETERS = ["SWEEP", "--store", "--only"]
FIGURE_PARAMETERS = ["SWEEP...", "--store", "--out", "--only", "--partial"]
FIGURES = {
    "trade_off": [],
    "cost": [],
    "ranks": ["--columns"],
    "time_bars": ["--warm-up"],
    "ablation": ["--over", "--columns"],
    "embedding": ["--subset [test|forget]", "--methods"],
    "curves": ["--scalar"],
}
INPUTS = [
    *("--model", "--model-args", "--weights", "--data", "--mean", "--std", "--forget", "--retain", "--validation"),
    *("--size", "--reference"),
]
PARAMETERS = {
    "": [
        "--version",
        "init",
        "plan",
        "run",
        "search",
        "status",
        "explain",
        "compare",
        "figure",
        "report",
        "unlearn",
        "audit",
        "list",
        "doctor",
        "store",
        "data",
        "ADAPROB_DATA",
        "ADAPROB_STORE",
    ],
    "init": ["sweep", "method"],
    "init sweep": ["FILE"],
    "init method": ["NAME"],
    "plan": [*SWEEP_PARAMETERS, "--cluster", "--rerun", "--skip-failed", "--json"],
    "run": [
        *(*SWEEP_PARAMETERS, "--executor [ray|local]", "--address", "--rerun", "--skip-failed"),
        *("--no-tensorboard", "--tsne"),
    ],
    "search": [
        *("SEARCH", "--store", "--executor [ray|local]", "--address"),
        *("--show", "--verify", "--freeze", "--trial", "--export", "--no-tensorboard", "--tsne", "--json"),
    ],
    "status": [*SWEEP_PARAMETERS, "--watch", "--interval", "--exit-code", "--json"],
    "explain": [*SWEEP_PARAMETERS, "[CELL]", "--descendants KEY | DATASET:ROW", "--json"],
    "compare": ["SWEEP", "--store", "--out", "--only", "--partial", "--metrics"],
    "report": ["[SWEEP...]", "--store", "--out", "--only"],
    "unlearn": [
        *(*INPUTS, "--method", "--set", "--tune", "--batch-norm [frozen|train|recompute]", "--max-drop"),
        *("--precision [float32|bfloat16]", "--device", "--seed", "--out"),
    ],
    "audit": ["DIR", *INPUTS, "--device"],
    "figure": list(FIGURES),
    **{f"figure {name}": [*FIGURE_PARAMETERS, *options] for name, options in FIGURES.items()},
    "list": ["{methods|metrics|architectures|recipes|datasets}", "[NAME]", "--json"],
    "doctor": ["[SWEEP]", "--address", "--store", "--only", "--json"],
    "store": ["init", "gc", "copy", "verify"],
    "store init": ["--store", "--group"],
    "store gc": ["--keep SWEEP...", "--store", "--yes", "--grace", "--json"],
    "store copy": ["FROM", "TO", "--only", "--sweep", "--json"],
    "store verify": ["--store", "--revoke", "--json"],
    "data": ["list", "prepare", "verify", "indices"],
    "data list": [],
    "data prepare": ["DATASET...", "--size"],
    "data verify": ["DATASET..."],
    "data indices": ["DATASET", "--seed", "--class", "--count", "--test-pool [clean|paper]", "--out"],
}


KNOWN_COMMANDS = (
    "(known: audit, compare, data, doctor, explain, figure, init, list, plan, report, run, search, status, store, "
    "unlearn)"
)


def command_names(group: click.Group, prefix: str = "") -> Iterator[str]:
    yield prefix.strip()
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from command_names(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}".strip()


def test_every_command_is_covered_here() -> None:
    assert set(command_names(cli.commands)) == PARAMETERS.keys()


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", PARAMETERS)
def test_help_names_every_parameter(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command.split(), option]) == 0
    output = capsys.readouterr().out
    assert output.startswith(" ".join(["Usage: adaprob-ray", *command.split()]))
    for parameter in [*PARAMETERS[command], "-h, --help"]:
        assert parameter in output


@pytest.mark.parametrize("command", ["", "init", "data", "store", "figure"])
def test_no_summary_in_a_list_of_commands_is_cut_off(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([*command.split(), "--help"])
    summaries = capsys.readouterr().out.partition("Commands:")[2].partition("\n\n")[0].splitlines()[1:]
    assert summaries
    assert all(summary.endswith(".") and "..." not in summary for summary in summaries)


def test_help_shows_the_default_store_and_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["plan", "--help"])
    assert "[env var: ADAPROB_STORE; default: ./store]" in " ".join(capsys.readouterr().out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"adaprob-ray {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["rn"],
            f"unknown command 'rn'; did you mean 'run'? {KNOWN_COMMANDS}",
        ),
        (
            ["nonsense"],
            f"unknown command 'nonsense' {KNOWN_COMMANDS}",
        ),
        (["figure", "ranking"], "unknown command 'ranking'; did you mean 'ranks'?"),
        (["compare"], "Missing argument 'SWEEP'"),
        (["data", "prepre"], "unknown command 'prepre'; did you mean 'prepare'?"),
        (["run", "x.yaml", "--adress", "a"], "--address"),
        (["plan", "x.yaml", "--jsn"], "--json"),
        (["run", "x.yaml", "--executor", "slurm"], "'slurm' is not one of 'ray', 'local'"),
        (["plan"], "Missing argument 'SWEEP'"),
        (["data", "verify"], "Missing argument 'DATASET...'"),
        (["data", "indices", "digits"], "Missing option '--seed'"),
        (["data", "indices", "digits", "--seed", "one", "--class", "3"], "'one' is not a valid integer"),
        (["explain", "x.yaml", "cell", "other"], "unexpected extra argument (other)"),
        (["explain"], "Missing argument 'SWEEP'"),
        (["explain", "x.yaml", "--json"], "--json needs --descendants"),
        (["explain", "x.yaml", "--descendants", "ab12"], "takes neither SWEEP nor --only"),
        (["store", "gc"], "Missing option '--keep'"),
        (["unlearn", "--model", "net.py:make"], "Missing option '--data'"),
        (["audit"], "Missing argument 'DIR'"),
        (["store", "copy", "store"], "Missing argument 'TO'"),
    ],
)
def test_a_usage_error_exits_with_2_and_says_what_is_possible(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    usage, *_, error = output.err.splitlines()
    assert usage.startswith("Usage: adaprob-ray")
    assert error.startswith("Error: ")
    assert message in error


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_a_group_without_a_command_prints_its_help_and_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Commands:" in output.err


def test_the_module_of_a_command_is_imported_when_the_command_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import click\n\n\n@click.command()\ndef greet() -> None:\n    click.echo('hello')\n"
    (tmp_path / "lazy_commands.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    group = CommandGroup(name="test", modules={"greet": "lazy_commands"})
    context = click.Context(group)
    assert group.list_commands(context) == ["greet"]
    assert group.get_command(context, "other") is None
    assert "lazy_commands" not in sys.modules
    command = group.get_command(context, "greet")
    assert command is not None
    assert command.name == "greet"
    monkeypatch.delitem(sys.modules, "lazy_commands")
