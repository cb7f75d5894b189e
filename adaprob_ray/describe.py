"""Descriptions of classes and settings as text, for `adaprob-ray list` and the pages that `make docs` writes."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from dataclasses import dataclass
from typing import Any

from adaprob_ray.settings import Hyperparameter, base_type, hyperparameters

_TYPE_NAMES = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}
_BOUND_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """One setting as text. `range` is empty where any value of the type will do."""

    name: str
    type: str
    default: str
    range: str
    unit: str
    help: str


def module_docstring(cls: type) -> str:
    """The docstring of the module that defines a class."""
    return inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")


def module_summary(cls: type) -> str:
    """The first sentence of the docstring of a class's module, without its source: what a method does, in one line."""
    paragraph = " ".join(module_docstring(cls).split("\n\n")[0].split())
    return re.split(r" \(|(?<=\w)\. |\.$", paragraph)[0]


def format_value(value: Any) -> str:
    """A value as it is written in a sweep file.

    >>> format_value(None), format_value((5, 8)), format_value(0.01), format_value(True)
    ('null', '[5, 8]', '0.01', 'true')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if value == "":
        return '""'
    if isinstance(value, tuple):
        return f"[{', '.join(map(format_value, value))}]"
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def type_name(field: Hyperparameter) -> str:
    """The type of a setting in words: `integer`, `number or auto`, `list of integers`."""
    if field.choices:
        return "word"
    kind = base_type(field.annotation)
    others = [arm for arm in typing.get_args(field.annotation) if arm is not kind]
    if typing.get_origin(kind) is tuple:
        return "list of integers"
    if typing.get_origin(kind) is dict:
        return "mapping"
    name = "settings" if dataclasses.is_dataclass(kind) else _TYPE_NAMES.get(kind, str(kind))
    words = [word for arm in others for word in typing.get_args(arm) if isinstance(word, str)]
    return " or ".join([name, *words, *(["null"] if type(None) in others else [])])


def range_text(field: Hyperparameter) -> str:
    """The values that a setting takes: its words, or its bounds."""
    if field.choices:
        return ", ".join(field.choices)
    return ", ".join(f"{sign} {field.bounds[name]:g}" for name, sign in _BOUND_SIGNS.items() if name in field.bounds)


def setting_rows(cls: type) -> list[SettingRow]:
    """One row for each field of a `settings_dataclass`, in their order.

    >>> from adaprob_ray.recipe import Recipe
    >>> row = setting_rows(Recipe)[0]
    >>> row.name, row.type, row.default, row.range, row.unit
    ('epochs', 'integer', '31', '≥ 1', 'epochs')
    """
    return [
        SettingRow(
            name=field.name,
            type=type_name(field),
            default=format_value(field.default),
            range=range_text(field),
            unit=field.unit,
            help=field.help,
        )
        for field in hyperparameters(cls).values()
    ]
