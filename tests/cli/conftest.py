"""A small sweep file on the digits, and the process state that `run` changes."""

from __future__ import annotations

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
