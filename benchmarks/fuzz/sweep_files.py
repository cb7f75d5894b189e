"""Mutated sweep and search files: bytes, lines, values and keys are changed at random."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from adaprob_ray.cli._exit_codes import BAD_INPUT
from benchmarks.fuzz.command import differs, paths_below, run_as_process, run_in_process

# Larger files of `sweeps/` make plans of thousands of cells, which takes seconds and shows nothing new.
MAX_FILE_BYTES = 3500

# Spellings that YAML, JSON, Python or a numerical method reads in a way of its own.
SCALARS = (
    *("", "~", "null", "[]", "{}", "[[]]", "{a: {b: 1}}", "yes", "No", "on", "true", "0", "-1", "1", "-0.0", "1e400"),
    *("1e-400", ".nan", ".inf", "-.inf", "1e3", "1.0e3", "010", "0x1F", "0b1", "1_000", "12:30:45", "2026-11-28"),
    *("2026-11-28T10:00:00Z", "10000000000000000000000", "1" * 5000, "!!python/object:os.system {}", "!!binary aGk="),
    *(
        "!!set {a, b}",
        "!unknown 1",
        "&a [*a]",
        "*a",
        "<<: {a: 1}",
        "|",
        ">-",
        "'",
        '"',
        "? a",
        "- 1",
        "%YAML 9.9",
        "---",
    ),
    *(
        "...",
        "\t",
        "a: b: c",
        "@x",
        "`x`",
        "{",
        "]",
        "\u00fc\u4e2d\U0001f600",
        "\u202e",
        "\ufeff",
        "a" * 3000,
        "../../x",
        "/",
    ),
    *("1000000000", "[1, 1]", "[0]", "[1, [2]]", "{log: [1, 2]}", "{choice: []}", "0.1", "1.5", "100.0", "nan", "inf"),
)
BYTES = (
    b"\x00",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\r",
    b"\t",
    b"\x1b[2J",
    b"\x7f",
    b"\xef\xbb\xbf",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
)

Mutation = Callable[[random.Random, bytes], bytes]


def _flip_byte(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _insert_bytes(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(BYTES) + data[at:]


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _other_encoding(rng: random.Random, data: bytes) -> bytes:
    return data.decode(errors="replace").encode(
        rng.choice(("utf-16", "utf-32", "utf-8-sig", "cp1252")), errors="replace"
    )


def _mutate_lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(to, lines[at])
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case 3:
            lines[at] = rng.choice((b" ", b"   ", b"\t")) + lines[at]
        case _:
            lines[at] = lines[at].lstrip()
    return b"\n".join(lines)


def _replace_scalar_text(rng: random.Random, data: bytes) -> bytes:
    """Replace what follows a colon, in the text, so that any spelling is possible."""
    lines = data.split(b"\n")
    places = [number for number, line in enumerate(lines) if b": " in line and not line.startswith(b"#")]
    if not places:
        return data
    at = rng.choice(places)
    name, _, _ = lines[at].partition(b": ")
    lines[at] = name + b": " + rng.choice(SCALARS).encode()
    return b"\n".join(lines)


def _containers(document: Any) -> list[dict[Any, Any] | list[Any]]:
    """Every mapping and list that is not empty, once each: with aliases, a list may contain itself."""
    containers: dict[int, dict[Any, Any] | list[Any]] = {}
    values = [document]  # a stack, because a mutation may have nested them deeper than Python may call functions
    while values:
        value = values.pop()
        if isinstance(value, (dict, list)) and value and id(value) not in containers:
            containers[id(value)] = value
            values += value.values() if isinstance(value, dict) else value
    return list(containers.values())


def _any_value(rng: random.Random, document: Any) -> Any:
    if rng.random() < 0.3:
        with suppress(RecursionError):
            return copy.deepcopy(rng.choice(_containers(document)))
    try:
        return yaml.safe_load(rng.choice(SCALARS))
    except (yaml.YAMLError, ValueError):
        return rng.choice((None, -1, 0, 2**70, 1e308, "", "x", [], {}, True))


def _misspelt(rng: random.Random, word: str) -> str:
    at = rng.randrange(len(word) + 1)
    return rng.choice((word[:at] + word[at + 1 :], word[:at] + "x" + word[at:], word.upper(), word + " ", word[::-1]))


def _mutate_document(rng: random.Random, data: bytes) -> bytes:
    """Change one place of the parsed file: a key is deleted, renamed, added or gets another value; or a list does."""
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError):
        return data
    places = _containers(document)
    if not places:
        return data
    place = rng.choice(places)
    if isinstance(place, dict):
        name = rng.choice(list(place))
        match rng.randrange(4):
            case 0:
                del place[name]
            case 1:
                place[_misspelt(rng, str(name))] = place.pop(name)
            case 2:
                place[name] = _any_value(rng, document)
            case _:
                place[rng.choice(("x", "seed", "lr", "method", "where", "with", "name", "1"))] = _any_value(
                    rng, document
                )
    else:
        at = rng.randrange(len(place))
        match rng.randrange(3):
            case 0:
                del place[at]
            case 1:
                place[at] = _any_value(rng, document)
            case _:
                place += [copy.deepcopy(place[at])] * rng.choice((1, 50))
    try:
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8", errors="surrogatepass")
    except RecursionError:
        return data


def _nest(rng: random.Random, data: bytes) -> bytes:
    depth = rng.choice((30, 300, 3000, 30000))
    opening, closing = rng.choice((("[", "]"), ("{a: ", "}")))
    return data + f"\nabout: {opening * depth}1{closing * depth}\n".encode()


def _widen(rng: random.Random, data: bytes) -> bytes:
    """A long list, or a mapping of many keys."""
    count = rng.choice((100, 10_000, 50_000))
    if rng.random() < 0.5:
        return data + f"\nmetrics: [{', '.join(['errors'] * count)}]\n".encode()
    return data + b"\nresources: {" + b", ".join(b"k%d: 1" % number for number in range(count)) + b"}\n"


MUTATIONS: tuple[tuple[int, Mutation], ...] = (
    (4, _flip_byte),
    (4, _insert_bytes),
    (2, _truncate),
    (2, _other_encoding),
    (8, _mutate_lines),
    (25, _replace_scalar_text),
    (50, _mutate_document),
    (1, _nest),
    (1, _widen),
)


def base_files(folder: Path) -> list[bytes]:
    """The files that are mutated, in the order of their names."""
    files = [path.read_bytes() for path in sorted(folder.glob("*.yaml"))]
    return [data for data in files if len(data) <= MAX_FILE_BYTES]


def mutated(seed: int, number: int, files: list[bytes]) -> bytes:
    """The file of this number: one to three mutations of a file of `files`."""
    rng = random.Random(f"sweep {seed} {number}")
    data = rng.choice(files)
    weights, mutations = zip(*MUTATIONS, strict=True)
    for mutation in rng.choices(mutations, weights, k=rng.choice((1, 1, 2, 3))):
        if data:
            data = mutation(rng, data)
    return data


def check(data: bytes, folder: Path, empty_store: str, *, as_process: bool) -> list[str]:
    """The faults that a file causes.

    A sweep file is planned, a search file shown. One that is refused is given to the command that would execute it, which
    must refuse it too. A valid one is not executed: it may take hours.

    Args:
        data: The file.
        folder: An empty folder for it.
        empty_store: A store without cells; `search --show` needs one.
        as_process: Whether to give it to a process of its own as well.
    """
    file, store = str(folder / "sweep.yaml"), str(folder / "store")
    Path(file).write_bytes(data)
    before = paths_below(folder)
    reading, executing = ["plan", file, "--store", store], ["run", file, "--store", store, "--executor", "local"]
    results = [run_in_process(*reading)]
    if "search files" in results[0].err:
        reading, executing[0] = ["search", file, "--show", "--store", empty_store], "search"
        results.append(run_in_process(*reading))
    faults: list[str] = []
    if results[-1].code == BAD_INPUT:
        refused = run_in_process(*executing)
        results.append(refused)
        if refused.code != BAD_INPUT:
            faults.append(f"{refused.arguments[0]}: exit code {refused.code} for a file that `{reading[0]}` refuses")
        if written := paths_below(folder) - before:
            faults.append(f"bad input, yet written: {sorted(written)[:5]}")
    for result in results:
        faults += result.faults()
    if as_process:
        other = run_as_process(*results[0].arguments, cwd=folder)
        faults += [*other.faults(), *differs(results[0], other)]
    return faults
