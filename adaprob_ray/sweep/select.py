"""`--only`: the cells of a sweep that match conditions such as `method=scrub,seed<3`, with all that they depend on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.sweep.cell import Cell

_CONDITION = re.compile(r"^\s*([a-z_.]+)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*$")
_NUMERIC_NAMES = ("class", "count", "seed", "repeat")
_NAMES = ("stage", "method", "label", "dataset", "architecture", "forget", "precision", *_NUMERIC_NAMES)


def _value(cell: Cell, name: str) -> Any:
    settings, forget = cell.settings, cell.forget
    if name in ("forget", "class", "count"):
        attribute = {"forget": "kind", "class": "class_index", "count": "count"}[name]
        return getattr(forget, attribute, None)
    if name in ("dataset", "architecture"):
        return getattr(settings, name).name
    return cell.stage if name == "stage" else getattr(settings, name, None)


def _holds(value: Any, operator: str, operand: str) -> bool:
    if value is None:
        return False
    if operator in ("=", "!="):
        return (str(value) == operand) is (operator == "=")
    number = float(operand)
    tests = {"<": value < number, "<=": value <= number, ">": value > number, ">=": value >= number}
    return tests[operator]


def _conditions(text: str) -> list[tuple[str, str, str]]:
    """`method=scrub,seed<3` as (name, operator, value) triples. Raises InputError."""
    conditions = []
    for condition in text.split(","):
        match = _CONDITION.match(condition)
        if match is None:
            raise InputError(f"--only: must be NAME=VALUE (also != < <= > >=), joined by commas, got {condition!r}")
        name, operator, value = match.groups()
        if name not in _NAMES:
            raise InputError(f"--only: {unknown_name('name', name, _NAMES)}")
        if operator not in ("=", "!=") and not (name in _NUMERIC_NAMES and re.fullmatch(r"-?\d+(\.\d+)?", value)):
            raise InputError(f"--only: {condition.strip()!r}: {operator} compares numbers (class, count, seed, repeat)")
        conditions.append((name, operator, value))
    return conditions


def select_cells(cells: Mapping[str, Cell], text: str) -> dict[str, Cell]:
    """The cells for which every condition of `text` holds, and all that they depend on.

    Args:
        cells: by key, parents before children.
        text: conditions such as `method=scrub,seed<3`.

    Returns:
        The selection, in the order of `cells`.

    Raises:
        InputError: for a condition that cannot be read, or if no cell matches.

    Example:
        >>> from adaprob_ray.catalogue import REGISTRY
        >>> from adaprob_ray.sweep.sweep import Sweep
        >>> cells = Sweep.load("sweeps/quickstart.yaml", REGISTRY).cells
        >>> selection = select_cells(cells, "stage=unlearn,method=scrub,seed=1,forget=class")
        >>> sorted(cell.stage for cell in selection.values())
        ['train', 'unlearn']
    """
    conditions = _conditions(text)
    selection = {key for key, cell in cells.items() if all(_holds(_value(cell, n), op, v) for n, op, v in conditions)}
    if not selection:
        raise InputError(f"--only: {text!r} matches none of {len(cells)} cells")
    return with_parents(cells, selection)


def with_parents(cells: Mapping[str, Cell], keys: Iterable[str]) -> dict[str, Cell]:
    """The cells with these keys and all that they depend on, in the order of `cells`: parents before children."""
    selection = set(keys)
    for key in reversed(list(cells)):
        if key in selection:
            selection.update(cells[key].parents.values())
    return {key: cell for key, cell in cells.items() if key in selection}
