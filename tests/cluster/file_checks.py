"""Faults that a file in cluster/ of any kind may have, as lines of text; no line if there is none."""

from __future__ import annotations

import configparser
import contextlib
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import click
import yaml
from ray.scripts import scripts as ray_commands

CHECKOUT = Path(__file__).resolve().parents[2]
CLUSTER = CHECKOUT / "cluster"
SCREEN_LINES = 66


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


VARIABLES = names(
    "ADAPROB_DATA ADAPROB_STORE AWS_REGION RAY_AUTH_MODE RAY_HEAD_IP RAY_TMPDIR RAY_USAGE_STATS_ENABLED "
    "RAY_API_SERVER_ADDRESS RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT RAY_enable_autoscaler_v2 SLURM_JOB_ID "
    "SLURM_JOB_NUM_NODES SLURM_CPUS_PER_TASK SKYPILOT_NODE_RANK"
)
SECRETS = (
    r"AKIA[0-9A-Z]{16}",
    r"PRIVATE KEY",
    r"AIza[0-9A-Za-z_-]{35}",
    r"\b[0-9a-f]{32,}\b",
    r"RAY_AUTH_TOKEN=",
    r"(?i)(secret|password|access_key)\w*\s*[:=]\s*\S",
)


class UniqueKeys(yaml.SafeLoader):
    """A loader that refuses a key written twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.YAMLError(f"written twice: {', '.join(repeated)}")
        return super().construct_mapping(node, deep)


@cache
def ray_version() -> str:
    """The version of Ray that setup.cfg pins."""
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    (version,) = re.findall(r"^ray\[default,tune\]==(\S+)$", setup["options"]["install_requires"], re.MULTILINE)
    return str(version)


def text_faults(text: str) -> Iterator[str]:
    """What no file may contain, whatever its kind."""
    for pattern in SECRETS:
        if re.search(pattern, text):
            yield f"looks like a secret: {pattern}"
    for word in ("nightly", "dev0", ":latest", "0.0.0.0"):
        if word in text:
            yield f"must not contain {word}"
    for version in re.findall(r"\b2\.\d+\.\d+\b", text):
        if version != ray_version():
            yield f"must name Ray {ray_version()}, as setup.cfg does, got {version}"
    for variable in sorted(set(re.findall(r"\b(?:ADAPROB|RAY|SLURM|SKYPILOT)_\w+", text)) - VARIABLES):
        yield f"unknown environment variable {variable}"


def screen_faults(text: str) -> Iterator[str]:
    """Whether a file can be read in one screen."""
    lines = text.splitlines()
    if len(lines) > SCREEN_LINES:
        yield f"has {len(lines)} lines, more than {SCREEN_LINES}"
    yield from (f"line {number}: longer than 128" for number, line in enumerate(lines, 1) if len(line) > 128)


def unknown_keys(mapping: Mapping[str, Any], known: frozenset[str], place: str) -> Iterator[str]:
    for key in sorted(mapping.keys() - known):
        yield f"{place}.{key}: unknown"


@cache
def bash_faults(script: str) -> tuple[str, ...]:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    return (f"bash: {done.stderr.strip()}",) if done.returncode else ()


def options_of(command: str) -> dict[str, str | None]:
    """The options of a command line in this file's style, --name=value or --name. $(...) counts as one word."""
    words = re.sub(r"\$\([^)]*\)", "$(…)", command).split()
    pairs = (word.partition("=") for word in words if word.startswith("--"))
    return {name: value if equals else None for name, equals, value in pairs}


def ray_start_options() -> frozenset[str]:
    options = (option for parameter in ray_commands.start.params for option in parameter.opts)
    return frozenset(option.removeprefix("--") for option in options)


def command_line_faults(text: str) -> Iterator[str]:
    """Unknown commands and options of `ray` and `adaprob-ray` in a text, wherever they are called in it."""
    from adaprob_ray.cli import commands

    programs: dict[str, click.Command] = {"ray": ray_commands.cli, "adaprob-ray": commands}
    plain = re.sub(r"\$\([^)]*\)", "$(…)", text)
    for match in re.finditer(r"(?<![\w.~\[-])(adaprob-ray|ray)(?= +[a-z-])(?=([^\n`&|;>]*))", plain):
        yield from _call_faults(programs[match[1]], match[1], _words(match[2].removeprefix(match[1])))


def _words(arguments: str) -> list[str]:
    """The words of a command line. One that began inside a quotation ends with it."""
    words = arguments.split("  #")[0]
    with contextlib.suppress(ValueError):
        return shlex.split(words)
    return words.replace('"', " ").split("'")[0].split()


def _call_faults(command: click.Command, name: str, words: list[str]) -> Iterator[str]:
    context = click.Context(command)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0] not in command.list_commands(context):
            yield f"{name}: has no command {words[0]}"
            return
        actual = command.get_command(context, words[0])
        assert actual is not None
        command, name, words = actual, f"{name} {words[0]}", words[1:]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word == "--":
            return
        if word.startswith("-") and word.partition("=")[0] not in options | {"--help"} and name != "ray symmetric-run":
            yield f"{name}: has no option {word}"
