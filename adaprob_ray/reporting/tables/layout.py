"""Documents of tables as text: blocks of columns that fit a width, below a heading and above notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EMPTY_CELL = "–"
GAP = 2  # blanks between columns
WIDEST_NAME = 36  # characters; a longer row name is folded
NARROWEST = 11  # characters of a column: headers of two or three words are then broken over few lines


@dataclass(frozen=True)
class Block:
    """Some columns of a table as text: a title, the header and the body, whose first entries are the names of rows."""

    title: str
    header: list[str]
    body: list[list[str]]

    @property
    def widths(self) -> list[int]:
        """The characters of each column. A header is broken between words."""
        columns = [[row[index] for row in self.body] for index in range(len(self.header))]
        names = max(map(len, [*columns[0], *self.header[0].split(" ")]))
        others = [column_width(*column) for column in zip(self.header[1:], columns[1:], strict=True)]
        return [min(names, WIDEST_NAME), *others]


@dataclass(frozen=True)
class Document:
    """A heading, blocks and notes: what is printed, and written as Markdown and LaTeX."""

    heading: str
    blocks: list[Block]
    notes: list[str]


def column_width(header: str, entries: Sequence[str]) -> int:
    return max(NARROWEST, *map(len, [*header.split(" "), *entries]))


def packed_blocks(
    title: str, names: Sequence[str], groups: Sequence[Sequence[tuple[str, Sequence[str]]]], width: int
) -> list[Block]:
    """Blocks of neighbouring groups of columns that fit into `width` characters together.

    Args:
        title: Of each block.
        names: Of the rows. One without an entry is left out, such as Retrain's difference from itself.
        groups: Columns that are never parted: the header of each, and its entries row by row.
        width: Characters, those of the names included.
    """
    room, packs = 0, list[list[tuple[str, Sequence[str]]]]()
    for group in groups:
        needed = sum(column_width(*column) + GAP for column in group)
        if not packs or room < needed:
            packs.append([])
            room = width - min(max(map(len, names), default=0), WIDEST_NAME)
        packs[-1] += group
        room -= needed
    blocks = []
    for columns in packs:
        headers, entries = zip(*columns, strict=True)
        body = [list(row) for row in zip(names, *entries, strict=True) if set(row[1:]) != {EMPTY_CELL}]
        blocks.append(Block(title, ["", *headers], body))
    return blocks
