"""The contract of all methods in the catalogue. A new method is tested as soon as it is listed there.

The tests are those of `adaprob_ray.contract`, which methods of other packages are tested by.
"""

from __future__ import annotations

from unittest import mock

import numpy as np

from adaprob_ray import contract
from adaprob_ray.catalogue import METHODS
from adaprob_ray.contract.cases import Case, cases
from adaprob_ray.contract.cells import digest_of
from adaprob_ray.contract.fixtures import digests_of_another_process  # noqa: F401
from adaprob_ray.contract.test_method_declaration import *  # noqa: F403
from adaprob_ray.contract.test_method_reach import *  # noqa: F403
from adaprob_ray.contract.test_method_results import *  # noqa: F403
from adaprob_ray.contract.test_method_training import *  # noqa: F403
from adaprob_ray.data.batches import Subsets


def test_the_suite_covers_the_whole_catalogue() -> None:
    every = cases("train") + cases("unlearn")
    assert {case.method for case in every} == set(METHODS)
    assert all(Case(name) in every for name in METHODS)
    assert all(name == cls.name for name, cls in METHODS.items())


def test_retrain_takes_as_many_rows_as_the_original_or_only_retain() -> None:
    parts = contract.make_parts()
    forget, count = contract.forget_rows(parts), len(parts.train)
    for case in cases("train"):
        rows = case.build().rows(count, forget, contract.SEED)
        assert set(rows) <= set(range(count))
        if case.cls.reads_forget:
            assert set(rows).isdisjoint(forget)
            plain = "plain" in case.settings
            assert len(rows) == (count - len(forget) if plain else count)
            if not plain:
                others = [row for row in range(count) if row not in set(forget.tolist())]
                # Only the forget rows are overwritten, in place.
                assert [int(rows[row]) for row in others] == others


def test_original_and_retrain_share_start_and_order_and_the_independent_one_has_its_own() -> None:
    """Without any forget row retrain equals the original, bit for bit; retrain_independent does not."""
    nothing = np.empty(0, np.int64)
    no_forget_rows = mock.patch.object(Subsets, "request_positions", return_value=(nothing, nothing))
    with no_forget_rows:
        same = contract.weights_digest(contract.trained(Case("retrain")))
        other = contract.weights_digest(contract.trained(Case("retrain_independent")))
    assert same == digest_of(Case("original"))
    assert other != same
