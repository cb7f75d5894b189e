"""A plug-in of pytest: the option --method of the contract tests, and their fixtures. `pytest_plugin` loads it for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaprob_ray.contract.cases import choose
from adaprob_ray.contract.fixtures import digests_of_another_process, one_thread
from adaprob_ray.errors import InputError
from adaprob_ray.user_code.folders import look_in

__all__ = ["digests_of_another_process", "one_thread"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --method."""
    help = "Test this method, by name or as package.module:Class, in place of all of the catalogue; repeatable."
    parser.addoption("--method", action="append", default=[], metavar="NAME", help=help)


def pytest_configure(config: pytest.Config) -> None:
    """Load the methods before the tests are collected."""
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    look_in(Path.cwd())
    try:
        choose(config.getoption("--method"))
    except InputError as error:
        raise pytest.UsageError(*(f"--method: {fault}" for fault in error.faults)) from error
