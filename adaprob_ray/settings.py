"""Settings that a person writes: declared once as dataclass fields, checked in one place, with one line for each fault."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import types
import typing
from collections.abc import Mapping
from typing import Any

from adaprob_ray.errors import unknown_name


def hyper(
    default: Any,
    *,
    unit: str = "",
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    about: str = "",
) -> Any:
    """A dataclass field with its unit and range: low ≤ value ≤ high, above < value < below, or one of `choices`."""
    metadata = {
        "unit": unit,
        "low": low,
        "above": above,
        "high": high,
        "below": below,
        "choices": choices,
        "about": about,
    }
    return dataclasses.field(default=default, metadata=metadata)


def check(cls: type, given: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """All settings of `cls` with `given` put over its defaults, and what is wrong, one line each."""
    hints = _hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    faults = [f"{where}: {unknown_name('key', name, fields)}" for name in given if name not in fields]
    settings: dict[str, Any] = {}
    for name, field in fields.items():
        value, fault = check_value(given.get(name, field.default), hints[name], field.metadata)
        settings[name] = value
        if fault:
            faults.append(f"{where}: {name}: {fault}")
    return settings, faults


def multiplied(cls: type, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One mapping for each combination of listed values. A list is one value where the field itself is a list."""
    hints = _hints(cls)
    axes = [[(name, item) for item in _choices(value, hints.get(name))] for name, value in given.items()]
    return [dict(combination) for combination in itertools.product(*axes)]


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of nested settings under `name.inner`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= {f"{name}.{key}": v for key, v in flat(value).items()} if isinstance(value, Mapping) else {name: value}
    return found


def _choices(value: Any, kind: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    if typing.get_origin(kind) is not tuple:
        return value
    return value if value and all(isinstance(item, list) for item in value) else [value]


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def check_value(value: Any, kind: Any, limits: Mapping[str, Any]) -> tuple[Any, str]:
    """The value as its declared type, and a fault ("" if none)."""
    optional = isinstance(kind, types.UnionType) and type(None) in typing.get_args(kind)
    if optional:
        if value is None:
            return None, ""
        kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
    value, fault = _as_type(value, kind)
    if fault:
        return value, fault
    values = value if isinstance(value, tuple) else () if isinstance(value, dict) else (value,)
    return value, next((f for item in values if (f := _out_of_range(item, limits))), "")


def _as_type(value: Any, kind: Any) -> tuple[Any, str]:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            return value, f"expected settings as {{name: value}}, got {value!r}"
        settings, faults = check(typing.cast(type, kind), value, "")
        return settings, "; ".join(fault.removeprefix(": ") for fault in faults)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            return value, f"expected a list, got {value!r}"
        items = [_as_type(item, typing.get_args(kind)[0]) for item in value]
        return tuple(item for item, _ in items), next((fault for _, fault in items if fault), "")
    if kind is float and type(value) in (int, float):
        return float(value), ""
    if type(value) is kind:
        return value, ""
    return value, f"expected {_words(kind)}, got {value!r}{_spelling(value, kind)}"


def _words(kind: Any) -> str:
    return {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}.get(kind, str(kind))


def _spelling(value: Any, kind: Any) -> str:
    """YAML 1.1 reads 1e-4 as text and `no` as false: say which spelling is meant."""
    if isinstance(value, str) and kind in (int, float):
        try:
            number = float(value)
        except ValueError:
            return ""
        mantissa, _, exponent = value.lower().partition("e")
        dotted = mantissa if "." in mantissa else f"{mantissa}.0"
        spelled = f"{dotted}e{exponent if exponent[:1] in '+-' else '+' + exponent}" if exponent else f"{number:g}"
        return f", which YAML reads as text; write {spelled}"
    if isinstance(value, bool) and kind is str:
        return ", as YAML reads yes, no, on and off as true and false; put it in quotes"
    return ""


def _out_of_range(value: Any, limits: Mapping[str, Any]) -> str:
    if limits.get("choices") and value not in limits["choices"]:
        return unknown_name("choice", value, limits["choices"])
    if isinstance(value, float) and value != value:
        return "must be a number, got nan"
    rules = (
        ("low", "at least", lambda v, b: v >= b),
        ("above", "greater than", lambda v, b: v > b),
        ("high", "at most", lambda v, b: v <= b),
        ("below", "less than", lambda v, b: v < b),
    )
    for name, words, holds in rules:
        bound = limits.get(name)
        if bound is not None and not holds(value, bound):
            return f"must be {words} {bound:g}, got {value:g}"
    return ""
