"""What a builder returns: documents to print and the paths of the files it wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from adaprob_ray.reporting.records.load import first_of
from adaprob_ray.reporting.tables.layout import Document
from adaprob_ray.reporting.tables.render import terminal
from adaprob_ray.sweep.cell import Cell

PIPE_WIDTH = 120  # characters, where the output is no terminal


@dataclass(frozen=True)
class Output:
    """Documents to print, then plain text, then the paths of files that were written."""

    documents: Sequence[Document] = ()
    paths: Sequence[Path] = ()
    text: str = ""


def show(output: Output) -> None:
    """Print it to standard output."""
    console = _console()
    if output.documents:
        console.print(terminal(output.documents))
    if output.text:
        console.print(output.text, markup=False, soft_wrap=True)
    if output.paths:
        console.print("written: " + ", ".join(map(str, output.paths)), soft_wrap=True, markup=False)


def terminal_width() -> int:
    """Characters of a line on standard output."""
    return _console().width


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def missing_document(missing: Sequence[Cell]) -> list[Document]:
    """The cells without a Record, for a table or figure that is written anyway."""
    if not missing:
        return []
    titles = first_of([cell.title for cell in missing])
    return [Document(f"partial: {len(missing)} Records are missing", [], titles)]
