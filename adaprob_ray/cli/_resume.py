"""The command that resumes one that was interrupted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

# In the meta of a click context: an option of the command that has had its effect, and is not given when the command resumes.
RESUME_WITHOUT = "adaprob_ray.resume_without"


def resume_command(program: str, arguments: Sequence[str], context: click.Context | None) -> str:
    """The same command, without an option that has had its effect.

    >>> context = click.Context(click.Command("run"))
    >>> context.meta[RESUME_WITHOUT] = "--rerun"
    >>> resume_command("adaprob-ray", ["run", "x.yaml", "--rerun", "label=mine"], context)
    'adaprob-ray run x.yaml'
    """
    option = None if context is None else context.meta.get(RESUME_WITHOUT)
    words: list[str] = []
    skip = False
    for word in arguments:
        if skip or (option is not None and word.startswith(f"{option}=")):
            skip = False
        elif option is not None and word == option:
            skip = True
        else:
            words.append(word)
    return shlex.join([program, *words])
