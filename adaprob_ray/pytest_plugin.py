"""What pytest loads of this package wherever it is installed: next to nothing, unless the contract tests are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

SUITE = "adaprob_ray.contract"


def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Add the option --method where the suite is among the arguments. A conftest.py in it would be read too late for that."""
    if any(argument.partition("::")[0].startswith(SUITE) for argument in args):
        early_config.pluginmanager.import_plugin(f"{SUITE}.plugin")
