"""The digest of a method's source: what changes it, and what is none of its business."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from adaprob_ray.methods.scrub import Scrub
from adaprob_ray.methods.scrub_rewind import ScrubRewind
from adaprob_ray.runtime import method_source
from adaprob_ray.runtime.method_source import source_digest

SOURCE = '''"""A docstring."""

from adaprob_ray.methods.finetune import Finetune


class Mine(Finetune):
    """Another one."""

    def cost(self, sizes):
        # a comment
        return super().cost(sizes)
'''


def method(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """The class of a module with this source."""
    path = folder / "mine.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mine_of_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mine_of_test", module)
    spec.loader.exec_module(module)
    cls: type = module.Mine
    return cls


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("# a comment", "# another comment", False),
        ("A docstring.", "A longer docstring.", False),
        ("super().cost(sizes)", "super().cost( sizes )", False),
        ("super().cost(sizes)", "super().cost(sizes) or None", True),
        ("def cost", "def costs", True),
    ],
)
def test_only_code_changes_it(
    old: str, new: str, changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = source_digest(method(SOURCE, tmp_path, monkeypatch))
    assert before
    assert old in SOURCE
    after = source_digest(method(SOURCE.replace(old, new), tmp_path, monkeypatch))
    assert (after != before) is changes


def test_an_edit_after_the_import_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was imported runs, whatever the file says now."""
    imported = method(SOURCE, tmp_path, monkeypatch)
    before = source_digest(imported)
    (tmp_path / "mine.py").write_text("nothing(", encoding="utf-8")
    assert source_digest(imported) == before


def test_a_method_that_derives_from_another_has_its_source_too(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = method_source.syntax_tree
    monkeypatch.setattr(method_source, "syntax_tree", lambda source: read.append(source[:40]) or real(source))
    for cls, files in ((Scrub, 1), (ScrubRewind, 2)):
        read.clear()
        source_digest.__wrapped__(cls)
        assert len(read) == files
    assert source_digest(Scrub) != source_digest(ScrubRewind)


def test_a_file_that_cannot_be_read_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = method(SOURCE, tmp_path, monkeypatch)
    (tmp_path / "mine.py").write_text("nothing(", encoding="utf-8")
    assert source_digest(imported) == ""
