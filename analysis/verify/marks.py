"""What a check of pages has found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Checked:
    """How much was compared, each thing that differs, and what could not be compared, in words."""

    tables: int
    numbers: int
    faults: list[str]
    notes: list[str] = field(default_factory=list)
