"""`adaprob-ray init`: files to begin with."""

from __future__ import annotations

import ast
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from adaprob_ray import catalogue, cli
from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.cli._init_method import NewMethod
from adaprob_ray.errors import InputError
from adaprob_ray.sweep.schema import sweep_file_model
from adaprob_ray.sweep.sweep import Sweep

ROOT = Path(catalogue.__file__).resolve().parents[1]
# Not my_method, which a user of this checkout may have written.
METHOD, METHOD_TEST = "adaprob_ray/methods/untaken_name.py", "tests/methods/test_untaken_name.py"


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
    network = REGISTRY.architectures["allcnn"].build(classes=10, channels=1, filters=0.06)
    torch.save(network.state_dict(), "net.pt")
    for line in commented:
        stage = line.removeprefix("# ").partition(":")[0]
        needed = []
        if stage in REGISTRY.metric_stages:
            needed = [f"metrics: [errors, {stage}]", "keep: {unlearn: weights}"]
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


# -- a method ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which `init method untaken_name` was run, by its own package."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("adaprob_ray", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    output = in_checkout(copy, "-m", "adaprob_ray", "init", "method", "untaken_name")
    assert output.splitlines()[:3] == [
        f"{METHOD}: written",
        f"{METHOD_TEST}: written",
        "adaprob_ray/catalogue.py: UntakenName added to METHODS",
    ]
    (copy / "output").write_text(output, encoding="utf-8")
    return copy


def in_checkout(folder: Path, *arguments: str) -> str:
    """Standard output of a Python command in a copy, which must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.mark.slow
def test_the_method_passes_its_own_tests_and_the_contract_by_the_command_that_is_printed(written: Path) -> None:
    (line,) = (line for line in (written / "output").read_text(encoding="utf-8").splitlines() if "pytest" in line)
    program, *arguments = shlex.split(line)
    assert program == "python"
    summary = in_checkout(written, *arguments, "-q").splitlines()[-1]
    assert " passed" in summary
    assert int(summary.split()[0]) > 30
    assert "failed" not in summary


def test_the_method_and_its_test_are_clean_and_the_catalogue_stays_sorted(written: Path) -> None:
    files = [METHOD, METHOD_TEST, "adaprob_ray/catalogue.py"]
    in_checkout(written, "-m", "ruff", "check", *files)
    in_checkout(written, "-m", "ruff", "format", "--check", *files)
    here = (ROOT / "adaprob_ray/catalogue.py").read_text(encoding="utf-8").splitlines()
    there = (written / "adaprob_ray/catalogue.py").read_text(encoding="utf-8").splitlines()
    added = ["from adaprob_ray.methods.untaken_name import UntakenName", "        UntakenName,"]
    assert [line for line in there if line not in here] == added
    assert [line for line in there if line in here] == here


def test_the_page_on_methods_is_made_by_the_command_that_is_printed(written: Path) -> None:
    assert "make docs" in (written / "output").read_text(encoding="utf-8")
    in_checkout(written, "-m", "docs.generate")
    assert "\n## untaken_name\n" in (written / "docs/methods.md").read_text(encoding="utf-8")


def test_every_declared_field_has_a_comment(written: Path) -> None:
    source = (written / METHOD).read_text(encoding="utf-8")
    (cls,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    lines = source.splitlines()
    for node in cls.body:
        if isinstance(node, ast.Assign):
            assert lines[node.lineno - 2].lstrip().startswith("#"), lines[node.lineno - 1]
    assert {"name", "needs", "revision", "tested_settings"} == {
        target.id for node in cls.body if isinstance(node, ast.Assign) for target in node.targets
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-method", "NAME: must be at most 32 lower-case letters, digits and _, the first a letter, got 'my-method'"),
        ("MyMethod", "NAME: must be at most 32 lower-case letters"),
        ("", "NAME: must be at most 32 lower-case letters"),
        ("../evil", "NAME: must be at most 32 lower-case letters"),
        ("a" * 33, "NAME: must be at most 32 lower-case letters"),
        ("class", "NAME: must not be a keyword of Python, got 'class'"),
        ("none", "NAME: must not be a keyword of Python, got 'none'"),
        ("no", "NAME: must be text in YAML, because sweep files name methods, got 'no'"),
        ("scrub", "NAME: must be a new name, got 'scrub', which is a method of the catalogue"),
        ("split", "NAME: must differ from what the module uses itself (Split), got 'split'"),
        ("dataset", "NAME: must differ from what the module uses itself (Dataset), got 'dataset'"),
        ("base", "adaprob_ray/methods/base.py: must be a new file, got one that exists"),
        ("contract", "tests/methods/test_contract.py: must be a new file, got one that exists"),
        ("searcher", "tests/runtime/test_searcher.py: must be a new file, got one that exists"),
    ],
)
def test_names_that_cannot_be_a_method_are_one_line(
    name: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT / "docs")
    before = (ROOT / "adaprob_ray/catalogue.py").read_text(encoding="utf-8")
    assert cli.main(["init", "method", "--", name]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith(f"error: {reason}")
    assert (ROOT / "adaprob_ray/catalogue.py").read_text(encoding="utf-8") == before


def test_outside_a_checkout_and_in_another_one_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["init", "method", "mine"]) == 2
    assert capsys.readouterr().err.startswith("error: folder: must be a checkout of adaprob-ray, because ")
    (folder / "adaprob_ray").mkdir()
    (folder / "tests").mkdir()
    (folder / "adaprob_ray/catalogue.py").touch()
    monkeypatch.chdir(folder / "tests")
    assert cli.main(["init", "method", "mine"]) == 2
    assert f"must be the checkout that adaprob-ray runs from ({ROOT}), got {folder};" in capsys.readouterr().err
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["catalogue.py"]


def test_a_catalogue_of_another_form_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "adaprob_ray").mkdir()
    (tmp_path / "adaprob_ray/catalogue.py").write_text("METHODS = {}\n", encoding="utf-8")
    with pytest.raises(InputError, match="must have `for method in"):
        NewMethod(name="mine", root=tmp_path).catalogue()


# -- a method in a package of one's own ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_method_in_a_package_passes_its_tests_and_the_contract_and_is_planned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", "method", "--package", "untaken_package.methods", "untaken_name"]) == 0
    output = capsys.readouterr().out
    assert output.splitlines()[:4] == [
        "untaken_package/__init__.py: written",
        "untaken_package/methods/__init__.py: written",
        "untaken_package/methods/untaken_name.py: written",
        "tests/test_untaken_name.py: written",
    ]
    own, contract_suite = (shlex.split(line) for line in output.splitlines() if "pytest " in line and "python" in line)
    options = ["-q", "-p", "adaprob_ray.pytest_plugin", "-p", "no:cacheprovider"]
    for command in (own, [*contract_suite, "-m", "not slow"]):
        summary = run_in(folder, *command[1:], *options).splitlines()[-1]
        assert " passed" in summary
        assert "failed" not in summary
    assert cli.main(["init", "sweep", "mine.yaml"]) == 0
    path = "untaken_package.methods.untaken_name:UntakenName"
    assert f"`{path}: {{}}` under methods" in output
    text = Path("mine.yaml").read_text(encoding="utf-8").replace("\nmethods:\n", f"\nmethods:\n  {path}: {{}}\n")
    Path("mine.yaml").write_text(text, encoding="utf-8")
    assert f"UntakenName ({path})" in run_in(folder, "-m", "adaprob_ray", "plan", "mine.yaml")


def run_in(folder: Path, *arguments: str) -> str:
    """Standard output of a Python command in a folder, with this checkout on the path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_no_file_of_the_package_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("untaken_package").mkdir()
    Path("untaken_package/__init__.py").write_text("precious", encoding="utf-8")
    assert cli.main(["init", "method", "--package", "untaken_package", "mine"]) == 0
    assert Path("untaken_package/__init__.py").read_text(encoding="utf-8") == "precious"
    before = Path("untaken_package/mine.py").read_text(encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["init", "method", "--package", "untaken_package", "mine"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: untaken_package/mine.py: must be a new file, got one that exists",
        "error: tests/test_mine.py: must be a new file, got one that exists",
    ]
    assert Path("untaken_package/mine.py").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("package", "name", "reason"),
    [
        ("torch", "mine", "--package: must be a package of this folder, got 'torch', which is installed elsewhere"),
        ("1a", "mine", "--package: must be the name of a package, such as my_package, got '1a'"),
        ("a..b", "mine", "--package: must be the name of a package, such as my_package, got 'a..b'"),
        ("class", "mine", "--package: must be the name of a package, such as my_package, got 'class'"),
        ("untaken_package", "scrub", "NAME: must be a new name, got 'scrub', which is a method of the catalogue"),
        ("untaken_package", "My", "NAME: must be at most 32 lower-case letters"),
    ],
)
def test_names_that_cannot_be_of_a_package(
    package: str, name: str, reason: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", "method", "--package", package, "--", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {reason}")
    assert not list(folder.rglob("*.py"))
