"""Cells of a sweep that match conditions such as `method=scrub,lr=0.1,seed<3`.

`--only` takes them with all that they depend on, `--rerun` with all that depends on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from adaprob_ray.describe import format_value
from adaprob_ray.errors import InputError, first_names, unknown_name
from adaprob_ray.sweep.cell import Cell

_CONDITION = re.compile(r"^\s*([a-z_.]+)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*$")
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?")
_NUMERIC_NAMES = ("class", "count", "seed", "repeat")
_NAMES = ("stage", "method", "label", "dataset", "architecture", "forget", "precision", *_NUMERIC_NAMES)


def _value(cell: Cell, name: str) -> Any:
    """The value that a condition on `name` compares with; a forget request goes by its kind and by its name in Records."""
    settings, forget = cell.settings, cell.forget
    if name == "forget":
        return None if forget is None else (forget.kind, str(forget))
    if name in ("class", "count"):
        return getattr(forget, {"class": "class_index", "count": "count"}[name], None)
    if name == "dataset":
        return str(settings.dataset)
    if name == "architecture":
        architecture = settings.architecture
        return architecture.name if architecture.arguments is None else (architecture.name, architecture.title)
    if name == "stage":
        return cell.stage
    return getattr(settings, name, None) if name in _NAMES else getattr(settings, "hyper", {}).get(name)


def _holds(value: Any, operator: str, operand: str) -> bool:
    if value is None:
        return False
    if isinstance(value, tuple):
        return (operand in value) is (operator == "=")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and _NUMBER.fullmatch(operand)
    if operator in ("=", "!="):
        is_equal = value == float(operand) if is_number else format_value(value) == operand
        return is_equal is (operator == "=")
    if not is_number:
        return False
    number = float(operand)
    tests = {"<": value < number, "<=": value <= number, ">": value > number, ">=": value >= number}
    return tests[operator]


def _conditions(text: str, settings: Iterable[str], option: str) -> list[tuple[str, str, str]]:
    """`method=scrub,seed<3` as (name, operator, value) triples; `settings` are the methods'. Raises InputError."""
    numeric_names, names = {*_NUMERIC_NAMES, *settings}, {*_NAMES, *settings}
    conditions = []
    for condition in text.split(","):
        match = _CONDITION.match(condition)
        if match is None:
            raise InputError(f"{option}: must be NAME=VALUE (also != < <= > >=), joined by commas, got {condition!r}")
        name, operator, value = match.groups()
        if name not in names:
            raise InputError(f"{option}: {unknown_name('name', name, names)}")
        if operator not in ("=", "!=") and not (name in numeric_names and _NUMBER.fullmatch(value)):
            numbers = "class, count, seed, repeat, settings of methods"
            raise InputError(f"{option}: {condition.strip()!r}: {operator} compares numbers ({numbers})")
        conditions.append((name, operator, value))
    return conditions


def select_cells(cells: Mapping[str, Cell], text: str) -> dict[str, Cell]:
    """The cells for which every condition of `text` holds, and all that they depend on.

    Args:
        cells: by key, parents before children.
        text: conditions such as `method=scrub,lr=0.1,seed<3`, also on any setting of a method. Numbers are compared as numbers.

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
    selection, _ = _matching(cells, text, "--only")
    return with_parents(cells, selection)


def select_to_recompute(cells: Mapping[str, Cell], text: str) -> dict[str, Cell]:
    """The cells that `--rerun` computes again: those for which every condition holds, and all that depends on them.

    If an evaluation matches, its model is selected too: `label=mine` selects the models of that label. A condition on the
    stage selects only cells of that stage.

    Args:
        cells: by key, parents before children.
        text: conditions as of `select_cells`.

    Returns:
        The selection, in the order of `cells`.

    Raises:
        InputError: for a condition that cannot be read, or if no cell matches.

    Example:
        >>> from adaprob_ray.catalogue import REGISTRY
        >>> from adaprob_ray.sweep.sweep import Sweep
        >>> cells = Sweep.load("sweeps/quickstart.yaml", REGISTRY).cells
        >>> selection = select_to_recompute(cells, "label=scrub,seed=1,forget=class")
        >>> sorted(cell.stage for cell in selection.values())
        ['evaluate', 'unlearn']
    """
    selection, conditions = _matching(cells, text, "--rerun")
    if not any(name == "stage" for name, _, _ in conditions):
        selection |= {cells[key].parents["model"] for key in selection if "model" in cells[key].parents}
    for key, cell in cells.items():
        if selection & set(cell.parents.values()):
            selection.add(key)
    return {key: cell for key, cell in cells.items() if key in selection}


def _matching(cells: Mapping[str, Cell], text: str, option: str) -> tuple[set[str], list[tuple[str, str, str]]]:
    """Keys of the cells for which every condition holds, and the conditions. Raises InputError if there is no such cell."""
    settings = {name for cell in cells.values() for name in getattr(cell.settings, "hyper", {})}
    conditions = _conditions(text, settings, option)
    selection = {key for key, cell in cells.items() if all(_holds(_value(cell, n), op, v) for n, op, v in conditions)}
    if not selection:
        raise InputError(f"{option}: {text!r} matches none of {len(cells)} cells{_known(cells, conditions)}")
    return selection, conditions


def _known(cells: Mapping[str, Cell], conditions: Iterable[tuple[str, str, str]]) -> str:
    """The values that the first condition without any match could have had."""
    for name, operator, operand in conditions:
        values = [value for cell in cells.values() if (value := _value(cell, name)) is not None]
        if operator == "=" and not any(_holds(value, operator, operand) for value in values):
            each = (part for value in values for part in (value if isinstance(value, tuple) else (value,)))
            known = list(dict.fromkeys(map(format_value, each)))
            return f" ({name}: {first_names(known)})"
    return ""


def conditions_for(wanted: Iterable[Cell], cells: Iterable[Cell]) -> str:
    """Conditions, for `--only`, that hold for all `wanted` cells and for as few others of their stage as their values allow.

    Args:
        wanted: some of `cells`, of one stage.
        cells: what is selected from.

    Returns:
        Conditions joined by commas; empty if nothing tells the wanted cells from the others.

    Example:
        >>> from adaprob_ray.catalogue import REGISTRY
        >>> from adaprob_ray.sweep.sweep import Sweep
        >>> cells = Sweep.load("sweeps/quickstart.yaml", REGISTRY).cells.values()
        >>> evaluations = [cell for cell in cells if cell.stage == "evaluate"]
        >>> conditions_for([cell for cell in evaluations if cell.label == "scrub" and cell.settings.seed > 1], cells)
        'label=scrub,seed>=2'
    """
    chosen = list(wanted)
    stages = {cell.stage for cell in chosen}
    left = [cell for cell in cells if cell.stage in stages]
    conditions: list[tuple[str, str, str]] = []

    def narrow(*condition: str) -> None:
        nonlocal left
        name, operator, operand = condition
        matching = [cell for cell in left if _holds(_value(cell, name), operator, operand)]
        if "," not in operand and len(matching) < len(left) and set(chosen) <= set(matching):
            conditions.append((name, operator, operand))
            left = matching

    settings = sorted({name for cell in chosen for name in getattr(cell.settings, "hyper", {})} - {*_NAMES})
    for name in ("label", *_NAMES, *settings) if chosen else ():
        values = [_value(cell, name) for cell in chosen]
        first = values[0]
        narrow(name, "=", format_value(first[-1] if isinstance(first, tuple) else first))
        if name in ("seed", "repeat") and None not in values:
            narrow(name, ">=", str(min(values)))
            narrow(name, "<=", str(max(values)))
    return ",".join("".join(condition) for condition in conditions)


def with_parents(cells: Mapping[str, Cell], keys: Iterable[str]) -> dict[str, Cell]:
    """The cells with these keys and all that they depend on, in the order of `cells`: parents before children."""
    selection = set(keys)
    for key in reversed(list(cells)):
        if key in selection:
            selection.update(cells[key].parents.values())
    return {key: cell for key, cell in cells.items() if key in selection}
