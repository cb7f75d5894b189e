"""What Ray is told before it is imported, and what it may send to a cluster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adaprob_ray.runtime import ray_environment

ROOT = Path(__file__).resolve().parents[2]


def test_variables_are_set_and_what_the_user_has_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", environment := {"RAY_DEDUP_LOGS": "1"})
    ray_environment.prepare("ray://head:10001")
    assert environment == {**ray_environment.VARIABLES, "RAY_DEDUP_LOGS": "1"}
    assert environment["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"


def test_a_private_ray_gets_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = set()
    for _ in range(2):
        monkeypatch.setattr(os, "environ", environment := {})
        ray_environment.prepare(None)
        assert environment["RAY_AUTH_MODE"] == "token"
        tokens.add(environment["RAY_AUTH_TOKEN"])
    assert len(tokens) == 2


def test_ray_has_the_switch_for_uv_run() -> None:
    from ray._private import ray_constants

    assert hasattr(ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV")


def test_rayignore_excludes_large_folders_and_no_source() -> None:
    """Judged by Ray's own reader of the file. `/data/` must not match the package's folder of that name."""
    from ray._private.runtime_env.packaging import get_excludes_from_ignore_files

    (is_excluded,) = get_excludes_from_ignore_files(ROOT, include_gitignore=False)
    for folder in ("store", "data", "results", "out", ".venv", ".git", "adaprob_ray/__pycache__", "tests/.mypy_cache"):
        assert is_excluded(ROOT / folder / "file"), folder
    sources = [path for folder in ("adaprob_ray", "analysis", "sweeps") for path in (ROOT / folder).rglob("*.[py]*")]
    sources = [path for path in sources if path.suffix in (".py", ".yaml")]
    assert len(sources) > 100
    assert not [path for path in sources if is_excluded(path)]
