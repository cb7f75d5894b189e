"""Every citation of docs/protocol.md and docs/design.md names a section that is there.

Code and pages cite them as `protocol §5.8` or `DESIGN §9`, several as `protocol §1.2, §1.6`, and the numbered differences of
the protocol's section 9 as `protocol §9, 22 and 23`. `paper §5.2` is a section of the paper itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("adaprob_ray", "analysis", "benchmarks", "cluster", "docs", "sweeps", "tests")
ENDINGS = (".py", ".md", ".yaml", ".cfg", ".toml", ".csv", ".j2", ".sh")
PAGES = {"protocol": ROOT / "docs" / "protocol.md", "design": ROOT / "docs" / "design.md"}
SECTIONS_OF_PAPER = {
    "1", "2", "3", "4", "4.1", "4.1.1", "4.2", "4.2.1", "4.2.2", "4.3", "5", "5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "6",
}  # fmt: skip

NUMBER = r"\d+(?:\.\d+)*"
CITATION = re.compile(
    rf"\b(?P<page>protocol|design|paper)(?:\.md)?,? (?P<chain>(?:§|section ){NUMBER}"
    rf"(?:(?:[,;]| and|, and|, items)? (?:§{NUMBER}|\d+\b))*)",
    re.IGNORECASE,
)
Citation = tuple[str, str, str]  # page, section, number of a difference or ""


def files() -> list[Path]:
    found = [path for name in FOLDERS for path in (ROOT / name).rglob("*") if path.suffix in ENDINGS]
    found += [path for path in ROOT.iterdir() if path.suffix in ENDINGS]
    return sorted(path for path in found if path != Path(__file__).resolve())


def one_line(text: str) -> str:
    """Without line ends, and without the signs of comments: a citation may be broken between two lines."""
    return re.sub(r"\s*\n\s*(?:# )?", " ", text)


def citations(text: str) -> Iterator[Citation]:
    """Every section cited in a text, with the numbers of differences that follow it."""
    for match in CITATION.finditer(one_line(text)):
        page, section = match["page"].lower(), ""
        for sign, number in re.findall(rf"(§|section )?({NUMBER})", match["chain"]):
            if sign:
                section = number
                yield page, section, ""
            else:
                yield page, section, number


def parts(page: Path) -> set[tuple[str, str]]:
    """(section, "") for each numbered heading of a page, and (section, number) for the first cell of a table's lines."""
    found, section = set(), ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if heading := re.match(rf"##+ ({NUMBER})\.? \S", line):
            section = heading[1]
            found.add((section, ""))
        elif item := re.match(r"\| (\d+) \|", line):
            found.add((section.partition(".")[0], item[1]))
    return found


PARTS = {name: parts(page) for name, page in PAGES.items()} | {
    "paper": {(section, "") for section in SECTIONS_OF_PAPER}
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as in protocol §5.8.", [("protocol", "5.8", "")]),
        ("(protocol §6.4, DESIGN §9)", [("protocol", "6.4", ""), ("design", "9", "")]),
        ("protocol §1.2, §1.6", [("protocol", "1.2", ""), ("protocol", "1.6", "")]),
        ("the\n    # Protocol\n    # §9, items 22 and 23: what", [("protocol", "9", n) for n in ("", "22", "23")]),
        ("protocol §9, 25 and 32; §6.4", [*(("protocol", "9", n) for n in ("", "25", "32")), ("protocol", "6.4", "")]),
        ("(protocol section 0): CIFAR-5", [("protocol", "0", "")]),
        ("of every experiment (paper §5.2)", [("paper", "5.2", "")]),
        ("the protocol, and 5 sections", []),
    ],
)
def test_a_citation_is_read_as_it_is_meant(text: str, expected: list[Citation]) -> None:
    assert list(citations(text)) == expected


def test_every_citation_names_a_section_that_is_there() -> None:
    cited = {path: list(citations(path.read_text(encoding="utf-8"))) for path in files()}
    missing = [
        f"{path.relative_to(ROOT)}: {page} §{section}{f', {number}' if number else ''}"
        for path, found in cited.items()
        for page, section, number in found
        if (section, number) not in PARTS[page]
    ]
    assert missing == []
    assert sum(map(len, cited.values())) > 90
    assert {page for found in cited.values() for page, _, _ in found} == {"protocol", "design", "paper"}


def test_every_section_sign_says_of_which_page_it_is() -> None:
    """On the two pages themselves a sign alone is a section of the same page."""
    unnamed = []
    for path in files():
        text = one_line(path.read_text(encoding="utf-8"))
        if path in PAGES.values():
            name = next(name for name, page in PAGES.items() if page == path)
            sections = re.findall(rf"§({NUMBER})", CITATION.sub("", text))
            unnamed += [f"{path.name}: §{section}" for section in sections if (section, "") not in PARTS[name]]
        elif path.suffix in (".py", ".yaml"):
            rest = CITATION.sub("", text)
            unnamed += [f"{path.relative_to(ROOT)}: §{found}" for found in re.findall(rf"§({NUMBER})", rest)]
    assert unnamed == []


def test_sections_are_numbered_without_gaps() -> None:
    """A section that is taken out leaves citations of the later ones wrong."""
    for name in PAGES:
        sections = [section for section, number in PARTS[name] if not number]
        for prefix in {section.rpartition(".")[0] for section in sections}:
            inside = sorted(int(s.rpartition(".")[2]) for s in sections if s.rpartition(".")[0] == prefix)
            first = 0 if name == "protocol" and not prefix else 1
            assert inside == list(range(first, first + len(inside))), (name, prefix)
    assert {number for section, number in PARTS["protocol"] if section == "9" and number} == {
        str(n) for n in range(1, 41)
    }


LINK = re.compile(r"\]\(([\w.-]+\.md|)#([\w-]+)\)")


@pytest.mark.parametrize("path", PAGES.values(), ids=lambda path: path.name)
def test_links_of_the_two_pages_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert targets
    assert [target for target in targets if not (path.parent / target).exists()] == []
    for file, anchor in LINK.findall(text):
        headings = re.findall(r"^#+ (.*)$", (path.parent / (file or path.name)).read_text(encoding="utf-8"), re.M)
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor
