"""Garbage collections while trials are asked for."""

from __future__ import annotations

import gc

import pytest

from adaprob_ray.search.gc_pauses import no_gc_pauses


def test_objects_that_exist_are_left_out_until_the_block_ends() -> None:
    existing = [[number] for number in range(1000)]
    with no_gc_pauses():
        visited = {id(item) for item in gc.get_objects()}  # what a full collection would visit
        assert not visited & {id(item) for item in existing}
    assert {id(item) for item in gc.get_objects()} >= {id(item) for item in existing}


def test_an_error_in_the_block_does_not_leave_them_out() -> None:
    def be_interrupted() -> None:
        with no_gc_pauses():
            assert gc.get_freeze_count() > 0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    assert gc.get_freeze_count() == 0
