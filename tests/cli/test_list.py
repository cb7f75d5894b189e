"""`adaprob-ray list`: one line for each name, and the details of one."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from adaprob_ray import cli
from adaprob_ray.catalogue import ARCHITECTURES, BUILT_IN, METHODS, METRICS
from adaprob_ray.recipe import RECIPE_SUMMARIES, RECIPES
from adaprob_ray.settings import hyperparameters

NAMES: Mapping[str, list[str]] = {
    "methods": list(METHODS),
    "metrics": list(METRICS),
    "architectures": list(ARCHITECTURES),
    "recipes": list(RECIPES),
    "datasets": sorted(BUILT_IN),
}


@pytest.fixture(autouse=True)
def empty_data(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))


def text(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert cli.main(["list", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("kind", NAMES)
def test_every_name_has_a_line_with_a_summary(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = text(capsys, kind)
    names = [line.split()[0] for line in lines]
    assert (sorted(names) if kind == "datasets" else names) == NAMES[kind]
    assert all(len(line.split()) > 3 for line in lines), "a summary is a sentence"
    (document,) = text(capsys, kind, "--json")
    entries = json.loads(document)[kind]
    assert [f"{entry['name']:<{max(map(len, names))}}  {entry['summary']}" for entry in entries] == lines


@pytest.mark.parametrize("kind", NAMES)
def test_every_name_has_details(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES[kind]:
        lines = text(capsys, kind, name)
        (document,) = text(capsys, kind, name, "--json")
        entry = json.loads(document)
        assert lines[0] == f"{name}: {entry['summary']}"
        assert len(lines) > 1


@pytest.mark.parametrize("name", METHODS)
def test_a_method_shows_every_setting_with_type_default_and_range(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (document,) = text(capsys, "methods", name, "--json")
    settings = {row["name"]: row for row in json.loads(document)["settings"]}
    assert list(settings) == list(hyperparameters(METHODS[name]))
    assert all(row["type"] and row["default"] for row in settings.values())
    lines = "\n".join(text(capsys, "methods", name))
    assert all(f"    {setting} " in lines for setting in settings)


def test_the_settings_of_finetune(capsys: pytest.CaptureFixture[str]) -> None:
    summary, *facts, header, lr, momentum, epochs, batch_size = text(capsys, "methods", "finetune")
    assert summary.startswith("finetune: Finetune: continue training")
    assert facts == ["  stage: unlearn", "  revision: 1", "  needs: recipe, retain", "  settings:"]
    assert header.split() == ["name", "type", "default", "range", "unit", "help"]
    assert lr.split() == ["lr", "number", "0.01", ">", "0", "γ,", "constant"]
    assert momentum.split() == ["momentum", "number", "0", "≥", "0,", "<", "1"]
    assert epochs.split()[:5] == ["epochs", "integer", "10", "≥", "1"]
    assert batch_size.split() == ["batch_size", "integer", "128", "≥", "1", "samples"]


def test_types_are_those_of_a_sweep_file(capsys: pytest.CaptureFixture[str]) -> None:
    (document,) = text(capsys, "methods", "adaprob", "--json")
    types = {row["name"]: (row["type"], row["default"]) for row in json.loads(document)["settings"]}
    assert types["scrub"] == ("settings or null", "null")
    assert types["reference"][0] == "word"
    (document,) = text(capsys, "methods", "scrub", "--json")
    settings = {row["name"]: row for row in json.loads(document)["settings"]}
    assert settings["milestones"]["type"] == "list of integers"
    assert settings["optimizer"]["range"] == "sgd, adam"


def test_a_metric_shows_its_columns_with_units(capsys: pytest.CaptureFixture[str]) -> None:
    lines = text(capsys, "metrics", "kl_to_retrain")
    assert lines[4].split() == ["column", "unit"]
    assert [line.split() for line in lines[5:]] == [[column, "nats"] for column in METRICS["kl_to_retrain"].columns]
    assert text(capsys, "metrics", "distance")[-1].split() == ["start_distance"], "an L2 distance has no unit"


def test_a_recipe_shows_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    lines = text(capsys, "recipes", "small")
    values = {line.split()[0]: line.split()[1] for line in lines[3:]}
    assert values["lr"] == "0.001"
    assert values["batch_norm"] == "frozen"
    assert RECIPES.keys() == RECIPE_SUMMARIES.keys()


def test_a_data_set_says_whether_its_files_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert text(capsys, "datasets", "digits")[-1] == "  files: available"
    assert "  files: available" not in text(capsys, "datasets", "cifar10")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("methods", "scrubb", "unknown method 'scrubb'; did you mean 'scrub'? (known: "),
        ("datasets", "digit", "unknown data set 'digit'; did you mean 'digits'? (known: "),
        ("recipes", "smalll", "unknown recipe 'smalll'; did you mean 'small'? (known: large, pretrain, small)"),
    ],
)
def test_an_unknown_name_is_one_line(kind: str, name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", kind, name]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {message}")
    assert output.err.count("\n") == 1


def test_an_unknown_kind_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["list", "method"])
    assert stop.value.code == 2
    assert "'method' is not one of 'methods', 'metrics'" in capsys.readouterr().err
