"""The tests of the device work on the bench of the method tests and on the tiny sweep."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("methods", "projection", "runtime")]


@pytest.fixture(autouse=True)
def card(request: pytest.FixtureRequest) -> None:
    """Tests marked gpu need a card; without one they are skipped with the reason."""
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no GPU: torch.cuda.is_available() is False")
