"""The digest of a user's module: what changes it, what does not, and that it is in the keys of cells."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import packages
import pytest

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep
from adaprob_ray.user_code import source
from adaprob_ray.user_code.source import check_sources, code_tokens, source_files, source_revision, source_revisions

Write = Callable[..., str]

SOURCE = '''\
"""A docstring."""

def scaled(x):  # a comment
    """Another."""
    text = f"{x:>{4}} of" "all"
    return (x,
            text)
'''


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ('"""A docstring."""\n', "", False),
        ("Another.", "A longer one.\n\n    Of several lines.", False),
        ("  # a comment", "", False),
        ("(x,\n            text)", "(x, text)", False),
        ("def scaled(x)", "def scaled( x )", False),
        ("    ", "  ", False),
        ("of", "off", True),
        ("{4}", "{5}", True),
        ("all", "all ", True),
        ("return (x", "return (-x", True),
        ("def scaled", "async def scaled", True),
        ("return (x,", "pass\n    return (x,", True),
    ],
)
def test_code_counts_and_layout_does_not(old: str, new: str, changes: bool) -> None:
    assert old in SOURCE
    assert (code_tokens(SOURCE.replace(old, new)) != code_tokens(SOURCE)) is changes


def test_the_tokens_are_the_same_for_every_version_of_python() -> None:
    """From 3.12 on an f-string has several tokens; before, it was one."""
    assert code_tokens("x = f\"a{b!r:>{c}}\" rf'{d}'") == [
        " x",
        " =",
        'STRING f"a{b!r:>{c}}"',
        "STRING rf'{d}'",
        "NEWLINE",
    ]
    assert code_tokens('f"""a\n{b}\n\n"""\n') == []


def module_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, str]) -> set[str]:
    """Which files of a folder the digest of a module covers."""
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    covered = source_files(importlib.import_module(name))
    for other in covered:
        monkeypatch.delitem(sys.modules, other, raising=False)
    return {str(file.relative_to(tmp_path)) for file in covered.values()}


def test_it_covers_what_the_module_imports_of_its_own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "covered_a/__init__.py": "from . import start",
        "covered_a/start.py": "",
        "covered_a/mine.py": """\
            import json, covered_b
            from .inner import deep
            from .other import thing
            def f():
                import covered_a.late
        """,
        "covered_a/inner/__init__.py": "",
        "covered_a/inner/deep.py": "from ..other import thing",
        "covered_a/other.py": "thing = 1",
        "covered_a/late.py": "",
        "covered_a/unused.py": "",
        "covered_b.py": "",
    }
    covered = module_with(tmp_path, monkeypatch, "covered_a.mine", files)
    assert covered == {f"covered_a/{name}" for name in (
        "__init__.py", "start.py", "mine.py", "inner/__init__.py", "inner/deep.py", "other.py", "late.py"
    )}  # fmt: skip


def test_of_a_module_in_no_package_it_covers_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"covered_c.py": "import covered_d, torch", "covered_d.py": "", "covered_e.py": ""}
    assert module_with(tmp_path, monkeypatch, "covered_c", files) == {"covered_c.py", "covered_d.py"}


def test_a_module_without_source_has_no_digest() -> None:
    with pytest.raises(InputError, match="math: must be a Python file"):
        source_revision("math")


PRINT_SOURCES = """\
import json
from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.sweep.sweep import Sweep

def sources(cell):
    return {name: revision for name, revision in cell.revisions.items() if name.startswith("source:")}

cells = Sweep.load("own.yaml", REGISTRY).cells.values()
print(json.dumps({f"{cell.stage} {cell.label}": sources(cell) for cell in cells}))
"""


def revisions_after(folder: Path, edits: dict[str, str]) -> dict[str, dict[str, int]]:
    """`source:` entries of the keys by stage and method, as another process plans the sweep after some edits."""
    for path, text in edits.items():
        (folder / path).write_text(text, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-c", PRINT_SOURCES], cwd=folder, capture_output=True, text=True, check=True
    )
    revisions: dict[str, dict[str, int]] = json.loads(process.stdout)
    return revisions


def test_the_digests_are_in_the_keys_of_the_cells_that_use_the_module(own_package: Write, tmp_path: Path) -> None:
    name = own_package()
    before = revisions_after(tmp_path, {})
    assert set(before["train original"]) == {f"source:{name}.data", f"source:{name}.nets"}
    unlearned = {f"source:{name}.{module}" for module in ("data", "nets", "method")}
    assert set(before[f"unlearn {name}.method:Noise"]) == unlearned
    assert set(before["evaluate Noise"]) == {f"source:{name}.metric"}
    method = packages.METHOD.replace("NAME", name)
    same = revisions_after(tmp_path, {f"{name}/method.py": method.replace("Noise on the weights", "Gaussian noise")})
    assert same == before
    after = revisions_after(tmp_path, {f"{name}/scale.py": "SCALE = 2.0\n"})
    changed = {label for label in before if before[label] != after[label]}
    assert changed == {label for label in before if label.startswith("unlearn")}


def test_a_cell_that_names_no_path_has_the_key_that_it_had(own_package: Write) -> None:
    own_package()
    text = (
        "name: t\n"
        "grid: {dataset: digits, architecture: {name: allcnn, filters: 0.1}, forget: {kind: class, class: 1}, seed: 1}\n"
        "methods: {finetune: {}}\nmetrics: [errors]\n"
    )
    for cell in Sweep.parse(text, REGISTRY).cells.values():
        assert not any(name.startswith(("source:", "tensors:")) for name in cell.revisions)
        assert set(cell.settings.document()["architecture"]) == {"name", "filters"}


def test_a_cell_is_not_computed_by_another_source_than_it_was_planned_with(own_package: Write, tmp_path: Path) -> None:
    name = own_package()
    cell = next(cell for cell in Sweep.load("own.yaml", REGISTRY).cells.values() if cell.stage == "unlearn")
    config = RunConfig.create(Store.open(tmp_path / "store"), tmp_path, None)
    assert config.folders == (str(tmp_path),)
    config.load_names(REGISTRY, cell)
    edited = dataclasses.replace(config, sources={**config.sources, f"{name}.method": 3})
    with pytest.raises(InputError, match=rf"{name}\.method: must be unchanged since the run started"):
        edited.load_names(REGISTRY, cell)


def test_a_worker_with_another_source_refuses(own_package: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    name = own_package()
    cells = Sweep.load("own.yaml", REGISTRY).cells
    sources = source_revisions(f"{name}.method:Noise")
    check_sources({f"{name}.method": sources[f"source:{name}.method"], "not.loaded": 3})
    with pytest.raises(
        InputError, match=rf"{name}\.method: must be unchanged since the run started, got different source in "
    ):
        check_sources({f"{name}.method": 3})
    assert all(isinstance(cell, Cell) for cell in cells.values())
    assert source.loaded_sources().keys() == {f"{name}.{module}" for module in ("method", "metric", "nets", "data")}
