"""Runs some tests, in a fork of its own for each request, with changes made to the source of modules as they are imported.

Reads a line of JSON, {"changes": [[module, text, text in its place], …], "tests": [id, …]}, and answers with one, {"code":
pytest's exit code, "passed": [id, …], "failed": {id: [phase, first line of the failure]}, "output": …}, until its input ends.
What is expensive and not ours is imported once, before the forks; nothing on disk is touched.
"""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
OTHERS = (
    "torch",
    "torch.optim",
    "numpy",
    "scipy.stats",
    "scipy.optimize",
    "scipy.linalg",
    "sklearn.datasets",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "hypothesis",
    "hypothesis.strategies",
    "hypothesis.extra.numpy",
    "pydantic",
    "yaml",
    "safetensors.torch",
    "PIL.Image",
    "threadpoolctl",
    "obstore",
)


def changed(source: str, changes: Sequence[Sequence[str]]) -> str:
    """The source with each text replaced, which must stand there exactly once."""
    for _, old, new in changes:
        assert source.count(old) == 1, f"{source.count(old)} times: {old}"
        source = source.replace(old, new)
    return source


class ChangedLoader(importlib.machinery.SourceFileLoader):
    """Compiles the changed source; it neither reads nor writes bytecode."""

    changes: Sequence[Sequence[str]] = ()

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return compile(changed(Path(path).read_text(), self.changes), path, "exec")


class ChangedFinder:
    """Finds the changed modules where they are."""

    def __init__(self, changes: Sequence[Sequence[str]]) -> None:
        self.changes = changes

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        own = [change for change in self.changes if change[0] == name]
        spec = importlib.machinery.PathFinder.find_spec(name, path) if own else None
        if spec is not None:
            assert spec.origin is not None
            spec.loader = ChangedLoader(name, spec.origin)
            spec.loader.changes = own
        return spec


class Recorder:
    """Which tests passed, and of the others in which phase they first failed and with what message."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.passed and report.when == "call":
            self.passed.append(report.nodeid)
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = str(crash.message if crash else report.longrepr).splitlines()[0]
            self.failed.setdefault(report.nodeid, [report.when, message])


def run(request: dict[str, Any], answer: int) -> NoReturn:
    """The child: import with the changes, run the tests, say what came of it."""
    with tempfile.TemporaryFile("w+") as shown:
        for stream in (1, 2):
            os.dup2(shown.fileno(), stream)
        sys.meta_path.insert(0, ChangedFinder(request["changes"]))  # type: ignore[arg-type]
        recorder = Recorder()
        # pytest would load the modules itself, unchanged, to rewrite their assertions: the package is one of its plug-ins.
        code = pytest.main(["-q", "--tb=short", "--assert=plain", *request["tests"]], plugins=[recorder])
        sys.stdout.flush()
        shown.seek(0)
        result = {"code": int(code), **vars(recorder), "output": shown.read()[-3000:]}
    with open(answer, "w") as pipe:
        pipe.write(json.dumps(result))
    os._exit(0)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    for name in OTHERS:
        importlib.import_module(name)
    assert not any(name.split(".")[0] == "adaprob_ray" for name in sys.modules)
    gc.freeze()  # pytest collects garbage twice a run; what was imported here is none
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            run(json.loads(line), writing)
        os.close(writing)
        with open(reading) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        sys.stdout.write(
            (text or json.dumps({"code": -1, "passed": [], "failed": {}, "output": "the child died"})) + "\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)  # there is nothing to tidy up
