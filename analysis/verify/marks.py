"""Marks in Markdown pages: which file a table or a sentence is made from.

    <!-- from results/NAME.jsonl[, dataset NAME][, architecture NAME][, forget REQUEST][, labels LABEL+LABEL]: COLUMN, … -->
    | … |
    <!-- end -->

    <!-- from results/NAME.csv -->                    the table of a benchmark
    | … |
    <!-- end -->

    <!-- says results/NAME.jsonl[, dataset NAME][, …]: LABEL COLUMN seed 3 = 49; LABEL COLUMN = 1.4 ± 1.1 -->
    <!-- says results/NAME.csv[, COLUMN VALUE]…: COLUMN range = 3 to 7; COLUMN median = 1.9 -->
    A paragraph that contains these words.

A mark of a file with several tables selects one by `dataset`, `architecture` or `forget`; `labels` are the rows to show.
Several `says` may be above one paragraph; what claims are possible: sentences.py. A .csv file of `says` may also be one of
adaprob_ray/reporting/stats/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from adaprob_ray.errors import InputError

SELECTORS = ("dataset", "architecture", "forget")
LABELS = "labels"
_START = re.compile(r"<!-- (?P<kind>from|says) [^>]*>?")
_MARK = re.compile(
    r"<!-- (?P<kind>from|says) (?P<file>\S+?\.(?:jsonl|csv))(?P<where>(?:, \S+ [^\s,:]+)*)(?:: (?P<content>[^>]+?))? -->"
)
_TABLE = re.compile(r"\n((?:(?!<!-- ).)*?)<!-- end -->", re.S)  # no other mark is between a table's two
_PARAGRAPH = re.compile(r"\n+(?:<!-- says [^>]+-->\n+)*((?:(?!<!--).+(?:\n|$))+)")
_FORMS = {
    "from": "<!-- from results/NAME.jsonl[, dataset NAME][, architecture NAME][, forget REQUEST][, labels LABEL+LABEL]: "
    "COLUMN, COLUMN --> or "
    "<!-- from results/NAME.csv -->, a table, <!-- end -->",
    "says": "<!-- says results/NAME.jsonl[, dataset NAME][, architecture NAME][, forget REQUEST]: CLAIM; CLAIM --> or "
    "<!-- says results/NAME.csv[, COLUMN VALUE]: CLAIM; CLAIM -->, a paragraph",
}


@dataclass(frozen=True)
class CheckResult:
    """How much was compared, each thing that differs, and what could not be compared, in words."""

    tables: int = 0
    numbers: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Mark:
    """A mark with the table or paragraph below it.

    Attributes:
        head: The mark as it is in the page.
        kind: `from` or `says`.
        file: Relative to the repository.
        where: Conditions by name.
        content: Columns of a table, or claims of a paragraph.
        body: The table, or the paragraph in one line.
        span: Where the body is in the page.
    """

    head: str
    kind: str
    file: str
    where: Mapping[str, str]
    content: tuple[str, ...]
    body: str
    span: tuple[int, int]

    @property
    def is_of_records(self) -> bool:
        return self.file.endswith(".jsonl")

    @property
    def source(self) -> str:
        """The file with the conditions."""
        return self.file + "".join(f", {name} {value}" for name, value in self.where.items())


def parse_marks(text: str, page: str) -> list[Mark]:
    """All marks of a page. Raises InputError for one of another form, or without a table or paragraph."""
    marks = []
    for start in _START.finditer(text):
        match = _MARK.match(text, start.start())
        mark = _parsed(match, text) if match else None
        if mark is None:
            words = " ".join(start[0].split())
            raise InputError(f"{page}: mark: must be {_FORMS[start['kind']]}, got {words!r}")
        marks.append(mark)
    return marks


def _parsed(match: re.Match[str], text: str) -> Mark | None:
    kind, file = match["kind"], match["file"]
    where = dict(words.split(" ", 1) for words in match["where"].split(", ") if words)
    content = [item.strip() for item in re.split(r"[,;]" if kind == "from" else ";", match["content"] or "")]
    below = (_TABLE if kind == "from" else _PARAGRAPH).match(text, match.end())
    is_measurement = kind == "says" and file.endswith(".csv")
    folders = ("results/", "adaprob_ray/reporting/stats/") if is_measurement else ("results/",)
    if below is None or not file.startswith(folders):
        return None
    if file.endswith(".jsonl"):
        known = (*SELECTORS, LABELS) if kind == "from" else SELECTORS
        is_read = set(where) <= set(known) and all(content)
    else:
        is_read = all(content) if kind == "says" else not where and match["content"] is None
    body = below[1] if kind == "from" else " ".join(below[1].split())
    return Mark(match[0], kind, file, where, tuple(filter(None, content)), body, below.span(1)) if is_read else None


def with_bodies(text: str, bodies: Mapping[tuple[int, int], str]) -> str:
    """The page with other bodies, by their span."""
    for (start, end), body in sorted(bodies.items(), reverse=True):
        text = text[:start] + body + text[end:]
    return text
