"""The command `search` on a file with a given content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from adaprob_ray import cli

RunSearch = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run_search(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunSearch:
    """Run a command on a file with this content; its exit code and the lines of its standard error. It may write nothing."""
    monkeypatch.chdir(tmp_path)

    def run(document: Mapping[str, Any] | str, *more: str, command: str = "search") -> tuple[int, list[str]]:
        text = document if isinstance(document, str) else yaml.safe_dump(dict(document), sort_keys=False)
        Path("search.yaml").write_text(text)
        before = set(tmp_path.rglob("*"))
        executor = ["--executor", "local"] if command in ("search", "run") else []
        code = cli.main([command, "search.yaml", *more, "--store", "store", *executor])
        output = capsys.readouterr()
        assert set(tmp_path.rglob("*")) == before, "bad input leaves nothing behind"
        assert output.out == ""
        return code, output.err.splitlines()

    return run
