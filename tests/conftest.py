"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# One machine is fast, another is busy: no property of ours is about seconds, and every run tries the same examples.
settings.register_profile(
    "laws", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("laws")


@pytest.fixture(scope="session")
def cifar() -> Path:
    """The folder that holds CIFAR-10 and CIFAR-100 in torchvision's layout; without one the test is skipped."""
    root = Path(os.environ.get("ADAPROB_DATA", "./data")).expanduser().absolute()
    for folder in ("cifar-10-batches-py", "cifar-100-python"):
        if not (root / folder).is_dir():
            pytest.skip(f"no {folder} under ADAPROB_DATA ({root})")
    return root
