"""What is wrong with a file, collected so that all of it is reported together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Faults:
    """Lines about what is wrong, each once, in the order in which they are noticed."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._lines = dict.fromkeys(lines)

    def add(self, *lines: str) -> None:
        self._lines.update(dict.fromkeys(lines))

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __bool__(self) -> bool:
        return bool(self._lines)
