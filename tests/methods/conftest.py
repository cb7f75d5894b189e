"""What the tests of methods share."""

from __future__ import annotations

from collections.abc import Iterator

import contract
import pytest
import torch
from double_precision import double_precision


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads: bit for bit needs the same number everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
