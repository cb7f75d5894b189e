"""What the tests of methods share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from double_precision import double_precision

from adaprob_ray import contract
from adaprob_ray.contract.fixtures import one_thread

__all__ = ["one_thread"]

for name in ("declaration", "reach", "results", "training"):  # test_contract.py imports them
    pytest.register_assert_rewrite(f"adaprob_ray.contract.test_method_{name}")


@pytest.fixture(scope="module", autouse=True)
def float64_bench(request: pytest.FixtureRequest) -> Iterator[None]:
    """The bench computes in float64, so that no verdict hangs on how a processor rounds.

    Not under the contract suite: its laws are about bits and types, which hold in float32 whatever the weights are.
    """
    if request.path.name == "test_contract.py":
        yield
        return
    contract.clear_caches()
    with double_precision():
        yield
    contract.clear_caches()
