"""The pages of the documents, as Markdown parses them: links, anchors, code blocks and command lines."""

from __future__ import annotations

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ("*.md", "docs/**/*.md", "cluster/*.md", "results/*.md")
PAGES = [
    path.relative_to(ROOT).as_posix()
    for pattern in PATTERNS
    for path in sorted(ROOT.glob(pattern))
    if path.relative_to(ROOT).parts[0] not in ("build", "out")
]
_PARSER = MarkdownIt("commonmark").enable("table")
# What separates the commands of one line.
_OPERATORS = re.compile(r"[;&|<>()]+")


@dataclass(frozen=True)
class Block:
    """A block of code on a page. `language` is empty for an indented block and a fence without one."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def _tokens(path: Path) -> list[Token]:
    return _PARSER.parse(path.read_text(encoding="utf-8"))


def _inline(path: Path) -> Iterator[Token]:
    for token in _tokens(path):
        yield from token.children or ()


def links(path: Path) -> list[str]:
    """Targets of links and pictures, in Markdown and in HTML."""
    targets = []
    for token in (*_tokens(path), *_inline(path)):
        targets += [str(token.attrs[name]) for name in ("href", "src", "srcset") if name in token.attrs]
        if token.type.startswith("html_"):
            targets += re.findall(r'\b(?:href|src|srcset)="([^"]+)"', token.content)
    return targets


@cache
def anchors(path: Path) -> frozenset[str]:
    """Anchors of a page's headings, as code hosts make them, and of its HTML elements with an id."""
    names, slugs = list[str](), Counter[str]()
    for token, content in itertools.pairwise(_tokens(path)):
        if token.type == "heading_open":
            words = "".join(child.content for child in content.children or () if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
            names.append(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
            slugs[slug] += 1
    ids = re.findall(r'\b(?:id|name)="([^"]+)"', path.read_text(encoding="utf-8"))
    return frozenset([*names, *ids])


def link_fault(path: Path, target: str) -> str:
    """Why a relative link of a page leads nowhere; empty if it does not, or leaves the repository by a URL."""
    if re.match(r"[a-z]+:", target):
        return ""
    name, _, anchor = target.partition("#")
    file = (path.parent / name).resolve() if name else path
    if not file.exists():
        return f"{target}: no such file"
    if anchor and (file.suffix != ".md" or anchor not in anchors(file)):
        return f"{target}: no such heading"
    return ""


def code_blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in these languages."""
    return [
        Block(page, (token.map or [0])[0] + 1, token.info.strip(), token.content)
        for page in PAGES
        for token in _tokens(ROOT / page)
        if token.type in ("fence", "code_block") and token.info.strip() in languages
    ]


def command_lines(text: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of a program in a shell example, also of calls inside a quotation."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    for line in lines:
        try:
            lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
            lexer.commenters, lexer.whitespace_split = "#", True
            words = list(lexer)
        except ValueError:  # prose, or output with an apostrophe
            continue
        yield from _calls(words, program)


def _calls(words: list[str], program: str) -> Iterator[list[str]]:
    call: list[str] | None = None
    for word in words:
        if _OPERATORS.fullmatch(word):
            if call is not None:
                yield call
            call = None
        elif call is not None:
            call.append(word)
        elif word == program or word.endswith(f"/{program}"):
            call = []
        elif f"{program} " in word:
            yield from command_lines(word, program)
    if call is not None:
        yield call


def command_fault(command: click.Command, program: str, arguments: list[str]) -> str:
    """What the command line says of its arguments; empty if it accepts them. Nothing is executed."""
    try:
        context = command.make_context(program, list(arguments))
        while isinstance(context.command, click.Group):
            name, actual, rest = context.command.resolve_command(context, context._protected_args + context.args)
            assert actual is not None
            context = actual.make_context(name, rest, parent=context)
    except click.exceptions.Exit:  # of --help
        return ""
    except (click.ClickException, ValueError) as error:
        words = error.format_message() if isinstance(error, click.ClickException) else str(error)
        return f"{program} {' '.join(arguments)}: {words}"
    return ""
