"""The ranges that a search draws a setting from; `settings` offers them to those who declare one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Log:
    """A float that a search draws from [low, high], uniformly on a logarithmic scale."""

    low: float
    high: float


@dataclass(frozen=True)
class Uniform:
    """A float that a search draws from [low, high], uniformly."""

    low: float
    high: float


@dataclass(frozen=True)
class Int:
    """An integer that a search draws from low to high, both included."""

    low: int
    high: int


@dataclass(frozen=True, init=False)
class Choice:
    """One of several values, each with the same probability."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


Range = Log | Uniform | Int | Choice
