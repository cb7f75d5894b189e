"""Rewrite golden.json after a revision was bumped: `python tests/golden/regenerate.py`.

With `--new`, after a method or a variant was added: only cells that the file lacks are written, with the machine that they were
computed on, and all others stay as they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), *(str(TESTS / name) for name in ("golden", "methods", "isa"))]

import golden_cells  # noqa: E402


def rounded(entry: dict) -> dict:
    """Nine digits: far more than the tolerances, and no noise in a diff."""
    numbers = {
        precision: {name: float(f"{value:.9g}") for name, value in entry[precision].items()}
        for precision in golden_cells.PRECISIONS
    }
    return {**entry, **numbers}


if __name__ == "__main__":
    golden = {name: rounded(entry) for name, entry in golden_cells.compute().items()}
    document = {"made_with": golden_cells.made_with(), "cells": golden}
    if sys.argv[1:] == ["--new"]:
        stored = golden_cells.stored()
        added = {
            name: {**entry, "made_with": golden_cells.made_with()}
            for name, entry in golden.items()
            if name not in stored
        }
        document = {"made_with": golden_cells.stored_with(), "cells": {**stored, **added}}
    golden_cells.FILE.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{golden_cells.FILE}: {len(golden)} cells\n")
