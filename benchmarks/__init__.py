"""Each performance claim as a command that prints a ratio or seconds, side by side in one run: `python -m benchmarks.NAME`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from adaprob_ray.errors import InputError


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run the `main` of a benchmark and exit with its code; bad input, such as missing data, is one line and exit code 2."""
    try:
        sys.exit(main())
    except InputError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
