"""Rewrite golden.json: `python tests/golden/regenerate.py`, after a revision was bumped or a method added."""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "methods"), str(HERE.parents[1])]

import golden_cells  # noqa: E402


def rounded(entry: dict) -> dict:
    """Nine digits: far more than the tolerance, and no noise in a diff."""
    return {**entry, "numbers": {name: float(f"{value:.9g}") for name, value in entry["numbers"].items()}}


if __name__ == "__main__":
    golden = {name: rounded(entry) for name, entry in golden_cells.compute().items()}
    document = {"made_with": golden_cells.made_with(), "cells": golden}
    golden_cells.FILE.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{golden_cells.FILE}: {len(golden)} cells\n")
