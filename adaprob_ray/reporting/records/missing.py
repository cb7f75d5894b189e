"""How missing Records are listed: a few of them, because a sweep may lack thousands."""

from __future__ import annotations

from collections.abc import Sequence

MISSING_SHOWN = 5


def first_of(titles: Sequence[str]) -> list[str]:
    """The first titles, and how many more there are.

    >>> first_of(["a", "b"])
    ['a', 'b']
    >>> first_of([str(number) for number in range(8)])
    ['0', '1', '2', '3', '4', 'and 3 more']
    """
    rest = len(titles) - MISSING_SHOWN
    return [*titles[:MISSING_SHOWN], *([f"and {rest} more"] if rest > 0 else [])]
