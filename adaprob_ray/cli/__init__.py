"""The command line: a click group, and the conversion of errors to exit codes. No other package prints.

A command imports what it needs when it runs, so that `--help`, usage errors and shell completion are immediate and `plan`
never loads Ray. To add a command or a group of commands, write its module and add a line to COMMANDS.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from click.shell_completion import shell_complete

from adaprob_ray import __version__
from adaprob_ray.cli._exit_codes import BAD_INPUT, DONE, FAILED, INTERRUPTED
from adaprob_ray.cli._group import CommandGroup
from adaprob_ray.cli._resume import resume_command
from adaprob_ray.errors import AdaprobError, InputError, StoreWarning
from adaprob_ray.streams import make_streams_lasting

__all__ = ["commands", "main"]

PROGRAM = "adaprob-ray"
COMPLETION_VARIABLE = "_ADAPROB_RAY_COMPLETE"

COMMANDS = {
    "init": "adaprob_ray.cli.init",
    "plan": "adaprob_ray.cli.plan",
    "run": "adaprob_ray.cli.run",
    "search": "adaprob_ray.cli.search",
    "status": "adaprob_ray.cli.status",
    "explain": "adaprob_ray.cli.explain",
    "compare": "adaprob_ray.cli.compare",
    "figure": "adaprob_ray.cli.figure",
    "report": "adaprob_ray.cli.report",
    "unlearn": "adaprob_ray.cli.unlearn",
    "audit": "adaprob_ray.cli.audit",
    "list": "adaprob_ray.cli.list_entries:list_entries",
    "doctor": "adaprob_ray.cli.doctor",
    "store": "adaprob_ray.cli.store",
    "data": "adaprob_ray.cli.data",
}


@click.group(cls=CommandGroup, modules=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Machine unlearning sweeps: AdaProb and the baselines.

    \b
    Environment variables:
      ADAPROB_DATA   folder of the data sets (default: ./data)
      ADAPROB_STORE  default of --store

    \b
    Exit codes:
      0    all done
      1    some cells failed or are blocked, the storage failed three times in a row, a record differs (audit),
           or nothing was unlearned (unlearn)
      2    bad input, or a check of the doctor failed
      3    cells run or could run (status --exit-code)
      130  interrupted

    \b
    Completion in bash (zsh and fish likewise):
      eval "$(_ADAPROB_RAY_COMPLETE=bash_source adaprob-ray)"
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: command line without the program name; `sys.argv[1:]` if None.

    Returns:
        The exit code.

    Raises:
        SystemExit: the command line itself is wrong; click has printed the usage and the error.
    """
    make_streams_lasting()
    command_line = list(sys.argv[1:] if arguments is None else arguments)
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        return shell_complete(commands, {}, PROGRAM, COMPLETION_VARIABLE, instruction)
    context: click.Context | None = None
    try:
        with _echoed_warnings(), commands.make_context(PROGRAM, list(command_line)) as context:
            code: int | None = commands.invoke(context)
    except click.exceptions.Exit as stop:  # of --help and --version
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except InputError as error:
        for fault in error.faults:
            click.echo(f"error: {fault}", err=True)
        return BAD_INPUT
    except AdaprobError as error:
        click.echo(f"error: {error}", err=True)
        return FAILED
    except KeyboardInterrupt:
        command = resume_command(PROGRAM, command_line, context)
        click.echo(f"\nInterrupted. Completed cells are saved. Resume with:\n  {command}", err=True)
        return INTERRUPTED
    return DONE if code is None else code


@contextmanager
def _echoed_warnings() -> Iterator[None]:
    """Print what is said about a store as one line, once; other warnings as Python does."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", StoreWarning)
        show, lines = warnings.showwarning, set[str]()

        def echo(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if not issubclass(category, StoreWarning):
                show(message, category, *place, **options)
            elif str(message) not in lines:
                lines.add(str(message))
                click.echo(f"warning: {message}", err=True)

        warnings.showwarning = echo
        yield
