"""The notebook runs from its first cell to its last, and its results are those that its text describes."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "unlearn.ipynb"


def executed(cells: list[str]) -> tuple[dict[str, Any], list[Any]]:
    """The names that the cells define, and the value of each cell that ends in an expression."""
    names: dict[str, Any] = {}
    values = []
    for number, source in enumerate(cells):
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            values.append(eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names))
    return names, values


@pytest.mark.slow
def test_the_notebook_runs() -> None:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(cell.get("outputs", []) == [] for cell in document["cells"]), "no output is kept that nobody ran"
    names, values = executed(cells)
    assert not names["model"].training
    table = values[1]
    assert table.loc["test_other_classes_error_percent", "unlearned"] < 15
    assert table.loc["forget_error_percent", "unlearned"] >= table.loc["forget_error_percent", "original"]
    assert values[-1] == ["record.html", "record.json", "salt.json", "weights.safetensors"]
