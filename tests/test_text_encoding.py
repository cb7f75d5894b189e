"""All text is read and written as UTF-8, whatever the locale: each call that could take the locale's encoding names its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("adaprob_ray", "analysis", "benchmarks", "docs")
# Of each function that opens text: the position of its argument `encoding`.
ENCODING_POSITION = {"read_text": 0, "write_text": 1, "TextIOWrapper": 1}
TEMPORARY = ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile")
PROCESSES = ("run", "Popen", "check_output", "check_call", "call")
MODE = re.compile("[rwaxbt+]{1,3}")


def opens_text_of_the_locale(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the locale."""
    function = call.func
    is_attribute = isinstance(function, ast.Attribute)
    name = function.attr if is_attribute else getattr(function, "id", "")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords or None in keywords:
        return False
    if name in PROCESSES:
        return any(
            isinstance(keywords.get(word), ast.Constant) and keywords[word].value is True
            for word in ("text", "universal_newlines")
        )
    if name in ("open", "fdopen") or name in TEMPORARY:
        position = 1 if name == "fdopen" or (name == "open" and not is_attribute) else 0
        mode = keywords.get("mode", call.args[position] if len(call.args) > position else None)
        if name in TEMPORARY and mode is None:
            return False  # binary by default
        literal = mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else None
        if is_attribute and name == "open" and mode is not None and (literal is None or not MODE.fullmatch(literal)):
            return False  # Image.open(path), Store.open(location), archive.open("member")
        return literal is None or "b" not in literal
    return name in ENCODING_POSITION and len(call.args) <= ENCODING_POSITION[name]


def calls_at_fault(source: str) -> Iterator[int]:
    """The lines of such calls."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and opens_text_of_the_locale(node):
            yield node.lineno


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_text_depends_on_the_locale(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    assert not [
        f"{path.relative_to(ROOT)}:{line}"
        for path in paths
        for line in calls_at_fault(path.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(
    ("source", "is_at_fault"),
    [
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("open(path, mode='a', newline='')", True),
        ("open(path, 'rb')", False),
        ("open(path, encoding='utf-8')", False),
        ("path.open()", True),
        ("path.open('x')", True),
        ("path.open('wb')", False),
        ("Image.open(path)", False),
        ("Store.open(location, create=False)", False),
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.read_text(errors='replace')", True),
        ("path.write_text(text)", True),
        ("path.write_text(text, encoding='utf-8')", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command)", False),
        ("subprocess.Popen(command, universal_newlines=True)", True),
        ("tempfile.NamedTemporaryFile('w')", True),
        ("tempfile.NamedTemporaryFile()", False),
        ("io.TextIOWrapper(stream)", True),
        ("os.fdopen(3, 'w')", True),
        ("os.fdopen(3, 'wb', buffering=0)", False),
    ],
)
def test_the_check_knows_what_takes_the_encoding_of_the_locale(source: str, is_at_fault: bool) -> None:
    assert bool(list(calls_at_fault(source))) == is_at_fault
