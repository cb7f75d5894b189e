"""The digest of a user's module, which is part of the key of every cell that uses it.

It covers the module and, of its own package, all modules that it imports, directly or through others; of a module that is
in no package, those in the same folder. Comments, docstrings, blank lines and spaces do not count. It does not cover other
packages, nor modules that are imported by a name that is computed, nor files of another kind.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import io
import sys
import sysconfig
import token
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from adaprob_ray.errors import InputError

# Hexadecimal digits of a revision: 48 bits, which every reader of JSON takes for an integer without rounding.
REVISION_LENGTH = 12
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))
# Names of tokens without a meaning, and of the pieces in which Python from 3.12 on reads an f-string.
_LAYOUT = (tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER)
_STARTS, _ENDS = (
    tuple(getattr(token, f"{kind}STRING_{place}") for kind in "FT" if hasattr(token, f"{kind}STRING_{place}"))
    for place in ("START", "END")
)


def is_path(name: object) -> bool:
    """Whether a name of a sweep file is a path, as `package.module:name`, and no name of the catalogue.

    >>> is_path("my_package.mine:MyMethod"), is_path("scrub")
    (True, False)
    """
    return isinstance(name, str) and ":" in name


def module_of(path: str) -> str:
    """`my_package.mine` of `my_package.mine:MyMethod`."""
    return path.rpartition(":")[0]


class OwnFiles(NamedTuple):
    """Where a package's own modules are: below `base`; `top` is the package's name, empty for modules in no package."""

    base: Path
    top: str

    @classmethod
    def of(cls, module: ModuleType, file: Path) -> OwnFiles | None:
        """Those of a module; None for an installed one in no package, which shares its folder with other packages."""
        depth = module.__name__.count(".") + (file.name == "__init__.py")
        if depth:
            return cls(file.parents[depth], module.__name__.partition(".")[0])
        return None if any(file.is_relative_to(folder) for folder in _INSTALLED) else cls(file.parent, "")

    def find(self, name: str) -> Path | None:
        """The file of a module, None for one of another package."""
        first = name.partition(".")[0]
        if first == "adaprob_ray" or (self.top and first != self.top):
            return None
        place = self.base.joinpath(*name.split("."))
        return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def source_files(module: ModuleType) -> dict[str, Path]:
    """The files that the digest covers, by the name of their module. Raises InputError if the module has no source."""
    file = Path(getattr(module, "__file__", None) or "")
    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"{module.__name__}: must be a Python file, got {getattr(module, '__file__', None)}")
    files, own = {module.__name__: file}, OwnFiles.of(module, file.resolve())
    pending = [] if own is None else [module.__name__]
    while pending and own is not None:
        name = pending.pop()
        for imported in (*_parents(name), *_imported_names(name, files[name])):
            path = None if imported in files else own.find(imported)
            if path is not None:
                files[imported] = path
                pending.append(imported)
    return files


def _parents(name: str) -> list[str]:
    """The packages that a module is in: importing it runs their `__init__.py`."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _imported_names(name: str, file: Path) -> Iterator[str]:
    """The modules that the statements of a file import; of `from a import b` both a and a.b, as b may be a module."""
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from (alias.name, *_parents(alias.name))
        elif isinstance(node, ast.ImportFrom):
            outer = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*outer, *([node.module] if node.module else [])])
            if start:
                yield from (start, *_parents(start), *(f"{start}.{alias.name}" for alias in node.names))
            else:
                yield from (alias.name for alias in node.names)


def code_tokens(source: str) -> list[str]:
    """What a file says, without comments, docstrings and layout. It is the same for every version of Python.

    >>> code_tokens('def f( x ):  # a comment\\n    "A docstring."\\n    return x') == code_tokens('def f(x):\\n  return x')
    True
    """
    lines, texts, depth, start = source.splitlines(keepends=True), list[str](), 0, (0, 0)
    for item in tokenize.generate_tokens(io.StringIO(source).readline):
        if item.type in _STARTS:
            start = start if depth else item.start
            depth += 1
        elif item.type in _ENDS:
            depth -= 1
            if not depth:
                texts.append(_between(lines, start, item.end))
        elif not depth and item.type not in _LAYOUT:
            name = tokenize.tok_name[item.type]
            is_layout = item.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            texts.append(name if is_layout else f"{'STRING' if item.type == tokenize.STRING else ''} {item.string}")
    return _without_docstrings(texts)


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text from one position (line from 1, column) to another, as Python 3.11 has it in one token."""
    if start[0] == end[0]:
        return f"STRING {lines[start[0] - 1][start[1] : end[1]]}"
    first, *middle = lines[start[0] - 1 : end[0] - 1]
    return f"STRING {first[start[1] :]}{''.join(middle)}{lines[end[0] - 1][: end[1]]}"


def _without_docstrings(texts: list[str]) -> list[str]:
    """Leave out each string that is a statement of its own."""
    ends = ("NEWLINE", "INDENT", "DEDENT")
    starts = [place for place, text in enumerate(texts) if text.startswith("STRING ")]
    starts = [place for place in starts if place == 0 or texts[place - 1] in ends]
    alone = {place for place in starts if texts[place + 1 : place + 2] == ["NEWLINE"]}
    return [text for place, text in enumerate(texts) if place not in alone and place - 1 not in alone]


@functools.cache
def source_revision(module_name: str) -> int:
    """The digest of an imported module as an integer.

    The first call in a process decides, because an edit of a file does not change what was imported.

    Raises:
        InputError: a file of the package cannot be read as Python.
    """
    digest = hashlib.sha256()
    for name, file in sorted(source_files(importlib.import_module(module_name)).items()):
        try:
            with tokenize.open(file) as stream:
                tokens = code_tokens(stream.read())
        except (OSError, SyntaxError, ValueError, tokenize.TokenError) as error:
            raise InputError(f"{file}: must be Python source, got {type(error).__name__}: {error}") from error
        digest.update("\0".join([name, *tokens, "\0"]).encode())
    return int(digest.hexdigest()[:REVISION_LENGTH], 16)


_loaded: dict[str, int] = {}


def register_source(path: str) -> None:
    """Register the digest of the module that a path names, as it was imported. Raises InputError."""
    _loaded[module_of(path)] = source_revision(module_of(path))


def loaded_sources() -> Mapping[str, int]:
    """The digests of all modules that paths of this process name."""
    return dict(_loaded)


def shippable_files() -> list[str]:
    """The folders of packages and the files of modules that a cluster's nodes cannot have, because they are not installed."""
    paths: dict[str, None] = {}
    for name in _loaded:
        module = sys.modules[name]
        file = Path(str(module.__file__)).resolve()
        if any(file.is_relative_to(folder) for folder in _INSTALLED):
            continue
        own = OwnFiles.of(module, file)
        top = [str(own.base / own.top)] if own is not None and own.top else map(str, source_files(module).values())
        paths.update(dict.fromkeys(top))
    return list(paths)


def check_sources(expected: Mapping[str, int]) -> None:
    """Raises InputError for a module whose digest in this process is another one than where the cells were planned."""
    faults = [
        f"{name}: must be unchanged since the run started, got different source in {source_files(sys.modules[name])[name]}; "
        "run the sweep again after an edit, and have the same files on every node"
        for name, revision in expected.items()
        if name in _loaded and _loaded[name] != revision
    ]
    if faults:
        raise InputError(*faults)


def source_revisions(*names: str) -> dict[str, int]:
    """The entries of a key for those of `names` that are paths to modules, which must have been loaded."""
    modules = {module_of(name) for name in names if is_path(name)}
    return {f"source:{module}": _loaded[module] for module in sorted(modules) if module in _loaded}
