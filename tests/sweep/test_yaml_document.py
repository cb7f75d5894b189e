"""YAML without surprises: a scalar that is read as something else than it looks is refused, wherever it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from adaprob_ray import cli
from adaprob_ray.errors import InputError
from adaprob_ray.sweep.yaml_document import load_document

# What is written, what YAML 1.1 reads, and a spelling that the message must name.
MISLEADING: dict[str, tuple[str, str]] = {
    "no": ("false", "false (a truth value) or 'no' (text)"),
    "YES": ("true", "true (a truth value) or 'YES' (text)"),
    "Off": ("false", "false (a truth value) or 'Off' (text)"),
    "on": ("true", "true (a truth value) or 'on' (text)"),
    "~": ("null", "null (no value) or '~' (text)"),
    "017": ("15", "17 or 15 (a number) or '017' (text)"),
    "-0_7": ("-7", "-7 (a number) or '-0_7' (text)"),
    "0x1F": ("31", "31 (a number) or '0x1F' (text)"),
    "0b101": ("5", "5 (a number)"),
    "12_000": ("12000", "12000 (a number)"),
    "1_2.5": ("12.5", "12.5 (a number)"),
    "2:45": ("165", "165 (a number) or '2:45' (text)"),
    "23:59:59": ("86399", "86399 (a number)"),
    "1:30.5": ("90.5", "90.5 (a number)"),
    "5e-4": ("text", "0.0005 (a number) or '5e-4' (text)"),
    "3E8": ("text", "300000000 (a number)"),
    "2.5e3": ("text", "2500 (a number)"),
    "1e-30": ("text", "1.0e-30 (a number)"),
    "+.5": ("text", "0.5 (a number)"),
    "09": ("text", "9 (a number)"),
    "0o17": ("text", "15 (a number)"),
    "1e999": ("text", "'1e999' (text)"),
    "٣": ("text", "3 (a number)"),
    "1.0e-999": ("0.0", "'1.0e-999' (text)"),
    "1999-12-31": ("a date", "'1999-12-31' (text)"),
    "2026-02-31": ("a date", "'2026-02-31' (text)"),
    "2026-11-28T10:00:00Z": ("a date", "'2026-11-28T10:00:00Z' (text)"),
    "=": ("a default value", "'=' (text)"),
}
PLACES = {"a": "{a: %s}", "b.c.2": "{b: {c: [1, %s]}}", "d.1.e": "d:\n- e: %s\n", "f": "f: %s  # a comment\n"}


def faults_of(text: str) -> tuple[str, ...]:
    try:
        return load_document(text).faults
    except InputError as error:
        return error.faults


@pytest.mark.parametrize("scalar", MISLEADING)
def test_a_misleading_scalar_is_named_with_its_spelling_wherever_it_stands(scalar: str) -> None:
    meaning, spelling = MISLEADING[scalar]
    for where, template in PLACES.items():
        (fault,) = faults_of(template % scalar)
        assert fault.startswith(f"{where}: must be written ")
        assert spelling in fault
        assert fault.endswith(f", got {scalar}, which YAML 1.1 reads as {meaning}")


@pytest.mark.parametrize("scalar", MISLEADING)
def test_a_spelling_that_a_message_names_is_accepted(scalar: str) -> None:
    """In quotes it is the text, and each number that is named is that number for YAML 1.1 and for Python."""
    assert load_document(f"a: '{scalar}'").values == {"a": scalar}
    for number in re.findall(r"([-+.0-9e]+) (?:or|\(a number)", MISLEADING[scalar][1]):
        assert load_document(f"a: {number}").values == {"a": float(number)}
        assert not faults_of(f"a: {number}")


@pytest.mark.parametrize("key", ["no", "On", "010", "1e3", "2026-01-02", "~", "1_0", "0x3"])
def test_a_misleading_key_must_be_quoted(key: str) -> None:
    for where, template in {key: "{%s: 1}", f"grid.{key}": "grid: {%s: {b: 2}}"}.items():
        (fault,) = faults_of(template % key)
        assert fault.startswith(f"{where}: must be written as a key '{key}', got {key}, which YAML 1.1 reads as ")
    assert load_document(f"'{key}': 1").values == {key: 1}


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("0.25", 0.25),
        (".5", 0.5),
        ("1.", 1.0),
        ("1.0e-3", 1.0e-3),
        ("2.5E+2", 250.0),
        ("y", "y"),
        ("none", "none"),
        ("allcnn", "allcnn"),
        ("v1.2.3", "v1.2.3"),
        ("25of3", "25of3"),
        ("1/3", "1/3"),
        ("3 classes", "3 classes"),
        ("12:60", "12:60"),
        ("nan", "nan"),
        ('"1e-3"', "1e-3"),
        ("'on'", "on"),
        ("|-\n  no", "no"),
    ],
)
def test_what_is_read_as_it_looks_is_accepted(scalar: str, value: Any) -> None:
    document = load_document(f"a: {scalar}\n")
    assert (document.values, document.faults) == ({"a": value}, ())
    assert type(document.values["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a:\n\tb: 1\n", "indent with spaces, not with tabs"),
        ("<<: {a: 1}\nb: 2\n", "merge keys are not allowed"),
        ("a: !!int '010'\n", "tags are not allowed"),
        ("a: !!binary aGk=\n", "tags are not allowed"),
        ("a: !Custom {b: 1}\n", "tags are not allowed"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
    ],
)
def test_what_yaml_offers_besides_values_is_refused(text: str, words: str) -> None:
    (fault,) = faults_of(text)
    assert words in fault


def test_every_misleading_scalar_of_a_file_is_named() -> None:
    faults = faults_of("a: no\nb: [010, 1e3]\nc: {on: 1:20}\n")
    assert [fault.partition(": ")[0] for fault in faults] == ["a", "b.1", "b.2", "c.on", "c.on"]


def test_other_faults_are_told_beside_a_text_that_looks_like_a_number() -> None:
    document = load_document("a: 1e-3\n")
    assert document.values == {"a": 0.001}
    assert len(document.faults) == 1


@pytest.mark.parametrize("command", ["plan", "search"])
def test_a_command_names_the_file_and_the_place(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("name: x\ngrid: {dataset: digits, seed: [1, 1:30]}\nsearch: {trials: 1}\n", encoding="utf-8")
    assert cli.main([command, str(path), "--store", str(tmp_path / "store")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: grid.seed.2: must be written 90 (a number) or '1:30' (text), got 1:30")


def test_a_file_in_another_encoding_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.yaml"
    for content in ("name: x\nabout: f\u00fcnf\n".encode("latin-1"), "name: x\n".encode("utf-16")):
        path.write_bytes(content)
        assert cli.main(["plan", str(path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {path}: cannot be read: must be UTF-8 text, got other bytes: ")
    path.write_bytes(b"\xef\xbb\xbfname: x\nno: 1\n")
    assert cli.main(["plan", str(path)]) == 2
    assert "must be written as a key 'no'" in capsys.readouterr().err
