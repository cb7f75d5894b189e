"""Golden cells are run on the bench of the method tests."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("golden", "methods", "isa")]
