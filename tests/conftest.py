"""Fixtures that several test files share."""

from __future__ import annotations

import os
import signal
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from adaprob_ray.store import Store

# Test processes side by side share the cores: threads that wait for one another by spinning make each other slow.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))  # before torch is loaded

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


@pytest.fixture
def float64() -> Iterator[None]:
    """The test trains in float64, so that its verdict does not depend on how a processor rounds."""
    from double_precision import double_precision  # loads torch, which may not happen before OMP_NUM_THREADS is set

    with double_precision():
        yield


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 service with an empty bucket named `bucket`."""
    from moto.server import ThreadedMotoServer  # takes a second to import

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).close()
    yield url
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a test's store is: in a folder, and on S3."""
    if request.param == "folder":
        return str(tmp_path / "store")
    from store_contract import set_aws

    set_aws(monkeypatch, request.getfixturevalue("s3_endpoint"))
    return f"s3://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def store(location: str) -> Store:
    from adaprob_ray.store import Store

    return Store.open(location)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what is costly to make go to one process, those of Ray, of a method's contract or of a file; the
    groups that take longest begin, so that the processes end together."""
    slow: set[str] = set()
    groups: dict[pytest.Item, str] = {}
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        path = item.nodeid.split("::")[0]
        group = "ray" if item.get_closest_marker("ray") else getattr(case, "method", None) or path
        groups[item] = group
        item.add_marker(pytest.mark.xdist_group(group))
        if item.get_closest_marker("slow"):
            slow.add(group)
    items.sort(key=lambda item: (groups[item] != "ray", groups[item] not in slow))


@pytest.fixture
def restored_sigterm() -> Iterator[None]:
    """Restore the handler of SIGTERM, which `run` replaces. SIGINT has Python's, though a shell's background job ignores it."""
    handler, interrupt = signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, interrupt)
