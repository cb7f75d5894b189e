"""How the YAML of a sweep file or a search file is read: without surprises, one line for each fault.

PyYAML follows YAML 1.1, in which `no` is false, `010` is eight, `1:30` is ninety and `1e-3` is text. A scalar that is read as
something else than it looks is refused, with the spelling to use.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaprob_ray.errors import InputError

# What looks the same to a reader, in YAML 1.1, in YAML 1.2 and in JSON. All else is refused, except text.
_PLAIN_SPELLINGS = {
    "bool": re.compile("true|True|TRUE|false|False|FALSE"),
    "null": re.compile("null|Null|NULL|"),
    "int": re.compile("[-+]?(0|[1-9][0-9]*)"),
    "float": re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.IGNORECASE),
}
_THOUSANDS = re.compile("[-+]?[0-9]{1,3}(,[0-9]{3})+")
_TAG = "tag:yaml.org,2002:"
# Whole numbers beyond it are written as floats.
LARGEST_INTEGER = 1e15


def read_document_text(path: str | Path) -> str:
    """The text of a file. Raises InputError, beginning with the path, where it cannot be read or is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read: must be UTF-8 text, got other bytes: {error}") from error
    except (OSError, ValueError) as error:  # the second for a null character in the path
        raise InputError(f"{path}: cannot be read: {error}") from error


@dataclass(frozen=True)
class YamlDocument:
    """The mapping of a file, and a line for each text in it that looks like a number, as 1e-3: `values` has the number."""

    values: dict[str, Any]
    faults: tuple[str, ...]


def load_document(text: str) -> YamlDocument:
    """Read the YAML text of a sweep file or a search file.

    Raises:
        InputError: it is not YAML, not a mapping, or has a scalar that is read as another word, number or date than it looks.
    """
    try:
        document, faults = _load(text)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # PyYAML leaves the errors of long integers as they are
        message = " ".join(str(error).split())
        hint = "; indent with spaces, not with tabs" if r"character '\t'" in message else ""
        raise InputError(f"not YAML: {message}{hint}") from error
    except RecursionError:
        raise InputError("not YAML: nested too deeply") from None
    if not isinstance(document, dict):
        raise InputError(f"a sweep file must be a mapping of keys, got {type(document).__name__}")
    not_json = list(_values_outside_json(document))
    if not_json:
        raise InputError(*faults, *not_json)
    return YamlDocument(document, tuple(faults))


def _load(text: str) -> tuple[Any, list[str]]:
    """The document, in which numbers replace texts that look like them, and a line for each of these."""
    loader = _StrictLoader(text)  # a SafeLoader
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        scalars = _Scalars(loader)
        scalars.check(node)
        if scalars.other_faults:
            raise InputError(*scalars.faults)
        return loader.construct_document(node), scalars.faults
    finally:
        loader.dispose()


class _StrictLoader(yaml.SafeLoader):
    """A YAML loader that refuses aliases, tags and repeated keys, of which plain YAML would silently take the last."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "aliases are not allowed: write the value in each place", event.start_mark
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, f"tags are not allowed, got {event.tag!r}: write the value alone", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        structured = [name for name in names if not isinstance(name, (str, int, float, bool))]
        if structured:
            raise yaml.constructor.ConstructorError(
                None, None, f"a key must be a word, got {structured[0]!r}", node.start_mark
            )
        repeated = [str(name) for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"key given twice: {sorted(repeated)}", node.start_mark)
        return super().construct_mapping(node, deep)


class _Scalars:
    """Collects a line in `faults` for each scalar, key or value, that is read as something else than it looks."""

    def __init__(self, loader: _StrictLoader) -> None:
        self._loader = loader
        self.faults: list[str] = []
        self.other_faults = False  # any besides values that are texts which look like a number

    def check(self, node: yaml.Node, where: str = "") -> None:
        """Look at a node and all below it."""
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node, where)
        elif isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value, 1):
                self.check(item, f"{where}.{position}" if where else str(position))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                path = where
                if isinstance(key, yaml.ScalarNode):
                    path = f"{where}.{key.value}" if where else key.value
                    self._check_scalar(key, path, is_key=True)
                self.check(value, path)

    def _check_scalar(self, node: yaml.ScalarNode, where: str, *, is_key: bool = False) -> None:
        kind = node.tag.removeprefix(_TAG)
        if node.style is not None:  # quoted
            return
        if kind == "merge":
            self.other_faults = True
            self.faults.append(f"{where}: merge keys are not allowed: write the keys in each place, got <<")
            return
        reading = self._misleading_reading(node, kind)
        if reading is None:
            return
        meaning, spellings = reading
        quoted = "'" + node.value.replace("'", "''") + "'"
        choices = f"as a key {quoted}" if is_key else " or ".join([*spellings, f"{quoted} (text)"])
        line = f"must be written {choices}, got {node.value}, which YAML 1.1 reads as {meaning}"
        self.faults.append(f"{where}: {line}" if where else line)
        number = _number_in(node.value)
        if kind == "str" and number is not None and math.isfinite(number) and not is_key:
            # The number that is meant, so that the other faults of the file can be told too.
            node.value, node.tag = _spelled(number), _TAG + ("int" if isinstance(number, int) else "float")
        else:
            self.other_faults = True

    def _misleading_reading(self, node: yaml.ScalarNode, kind: str) -> tuple[str, list[str]] | None:
        """What YAML 1.1 reads, and how to write what may be meant; None for a scalar that is read as it looks."""
        text, number = node.value, _number_in(node.value)
        if kind == "str":
            if number is None:
                return None
            return "text", [f"{_spelled(number)} (a number)"] if math.isfinite(number) else []
        if kind not in _PLAIN_SPELLINGS:
            return {"timestamp": "a date", "value": "a default value"}.get(kind, kind), []
        value = self._loader.construct_object(node)
        underflows = kind == "float" and value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])
        if _PLAIN_SPELLINGS[kind].fullmatch(text) and not underflows:
            return None
        if kind == "bool":
            return str(value).lower(), [f"{str(value).lower()} (a truth value)"]
        if kind == "null":
            return "null", ["null (no value)"]
        numbers = dict.fromkeys(_spelled(each) for each in (number, value) if each is not None)
        return _spelled(value), [f"{' or '.join(numbers)} (a number)"]


def _number_in(text: str) -> int | float | None:
    """The number that a reader sees in a text; None for words."""
    if not any(character.isdigit() for character in text):
        return None
    if _THOUSANDS.fullmatch(text):
        return int(text.replace(",", ""))
    for convert in (int, float, lambda digits: int(digits, 0)):
        with contextlib.suppress(ValueError):
            value: int | float = convert(text)
            whole = isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_INTEGER
            return int(value) if whole else value
    return None


def _spelled(number: int | float) -> str:
    """A number as YAML 1.1, YAML 1.2 and JSON all read it.

    >>> [_spelled(number) for number in (1000, 0.001, 1e-05, 1e20)]
    ['1000', '0.001', '1.0e-05', '1.0e+20']
    """
    text = repr(number)
    return re.sub(r"^(-?[0-9]+)e", r"\1.0e", text)


def _values_outside_json(value: Any, where: str = "") -> Iterator[str]:
    """A line for each value that JSON, and so a key, cannot hold: dates, sets, NaN, infinity, keys that are not text."""
    if isinstance(value, (dict, list)):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value, 1):
            path = f"{where}.{name}" if where else str(name)
            if isinstance(value, dict) and not isinstance(name, str):
                yield f"{path}: a key must be a word, got {name!r}; put it in quotes"
            yield from _values_outside_json(item, path)
    elif not isinstance(value, (str, int, float, type(None))):
        yield f"{where}: must be text, a number, a list or a mapping, got {value!r}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where}: must be a finite number, got {value!r}"
