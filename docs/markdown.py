"""Text and tables as Markdown."""

from __future__ import annotations

import re


def prose(text: str) -> str:
    """Running text as Markdown: special characters are escaped, except in code spans."""
    spans = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(span if span.startswith("`") else re.sub(r"([*<|])", r"\\\1", span) for span in spans)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table without its empty columns."""
    columns = [column for column in range(len(header)) if any(row[column] for row in rows)]
    lines = [[line[column] for column in columns] for line in (header, ["---"] * len(header), *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
