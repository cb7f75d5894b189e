"""Files that name samples by their indices: one index per line, or a JSON list."""

from __future__ import annotations

import json
from pathlib import Path

from adaprob_ray.errors import InputError


def read_indices(path: Path, where: str, expected: str = "a file of indices") -> list[int]:
    """The indices in a file.

    Args:
        path: of a text file with one index per line (empty lines and `#` comments are ignored), or, if the name ends in
            .json, of a JSON list.
        where: the name of the option, for messages.
        expected: what the option takes, for the message about a missing file.

    Raises:
        InputError: the file is missing, or has something else; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{where}: must be {expected}, got {path}, which is not there") from error
    except IsADirectoryError as error:
        raise InputError(f"{where}: {path}: must be a file of indices, got a folder") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {path}: must be a text file with an index per line, got bytes") from error
    except OSError as error:
        raise InputError(f"{where}: {path}: cannot be read: {error.strerror or error}") from error
    return _json_indices(text, path, where) if path.suffix == ".json" else _text_indices(text, path, where)


def _text_indices(text: str, path: Path, where: str) -> list[int]:
    values = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        if not (entry.isascii() and entry.removeprefix("-").isdigit()):
            raise InputError(f"{where}: {path}, line {number}: must be an index, got {entry[:40]!r}")
        values.append(int(entry))
    if not values:
        raise InputError(f"{where}: {path}: must have at least one index, got none")
    return values


def _json_indices(text: str, path: Path, where: str) -> list[int]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: {path}: must be JSON: {error}") from error
    if not isinstance(values, list) or not values:
        raise InputError(f"{where}: {path}: must be a list of at least one index, got {json.dumps(values)[:40]}")
    for position, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{where}: {path}, entry {position}: must be an index, got {json.dumps(value)[:40]}")
    return values
