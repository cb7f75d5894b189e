"""A small sweep file on the digits, and the process state that `run` changes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

SWEEP = """\
name: small
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.02}
  forget: {kind: selective, class: 3, count: 25}
  seed: 1
train: {recipe: large, epochs: 1}
methods:
  finetune: {epochs: 1}
metrics: [errors]
"""


@pytest.fixture
def sweep_file(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    return str(path)


@pytest.fixture
def restored_sigterm() -> Iterator[None]:
    """Restore the handler of SIGTERM, which `run` replaces. SIGINT has Python's, though a shell's background job ignores it."""
    handler, interrupt = signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, interrupt)
