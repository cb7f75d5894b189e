"""Blocks that are not the same in every iteration are refused by name; those that are the same have the same checksum.

Axes: N rows, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from problems import logits
from torch import Tensor

from adaprob_ray.errors import InputError
from adaprob_ray.projection import project
from adaprob_ray.projection.block_checksum import COLUMNS, block_checksum

ROWS, CLASSES, BLOCK = 60, 4, 20
TOTALS = [24.0, 18.0, 12.0, 6.0]
Change = Callable[[Tensor], Tensor]


class ChangingBlocks:
    """Blocks that are as they were in the first `same` iterations (the first reads only the first block), then changed."""

    def __init__(self, change: Change, same: int = 2) -> None:
        self.matrix, self.change, self.iterations_left = logits(ROWS, CLASSES), change, same

    def __iter__(self) -> Iterator[Tensor]:
        self.iterations_left -= 1
        matrix = self.matrix if self.iterations_left >= 0 else self.change(self.matrix.clone())
        yield from matrix.split(BLOCK)


def reverse(matrix: Tensor) -> Tensor:
    return matrix.flip(0)


def swap_blocks(matrix: Tensor) -> Tensor:
    return torch.cat([matrix[BLOCK:], matrix[:BLOCK]])


def swap_two_rows_of_the_last_block(matrix: Tensor) -> Tensor:
    matrix[[ROWS - 1, ROWS - 2]] = matrix[[ROWS - 2, ROWS - 1]]
    return matrix


def change_the_last_bit_of_an_entry(matrix: Tensor) -> Tensor:
    matrix[33, 2] = torch.nextafter(matrix[33, 2], torch.tensor(torch.inf, dtype=matrix.dtype))
    return matrix


def put_minus_infinity_into_an_entry(matrix: Tensor) -> Tensor:
    matrix[7, 1] = -torch.inf
    return matrix


def swap_classes(matrix: Tensor) -> Tensor:
    return matrix.flip(1)


@pytest.mark.parametrize("solver", ["newton", "scaling", "dual_ascent"])
@pytest.mark.parametrize(
    ("change", "block"),
    [
        (reverse, 0),
        (swap_blocks, 0),
        (swap_two_rows_of_the_last_block, 2),
        (change_the_last_bit_of_an_entry, 1),
        (put_minus_infinity_into_an_entry, 0),
        (swap_classes, 0),
    ],
)
def test_changed_rows_are_named(change: Change, block: int, solver: str) -> None:
    rows = f"rows {block * BLOCK} to {block * BLOCK + BLOCK - 1}"
    with pytest.raises(InputError, match=f"got other values or another order in block {block}, {rows}; turn shuffling"):
        project(ChangingBlocks(change), torch.ones(ROWS), TOTALS, solver=solver)


def test_targets_of_blocks_that_changed_later_are_refused() -> None:
    blocks = ChangingBlocks(reverse, same=10_000)
    solution = project(blocks, torch.ones(ROWS), TOTALS)
    assert solution.status == "converged"
    assert sum(len(block) for block in solution.targets) == ROWS
    blocks.iterations_left = 0
    with pytest.raises(InputError, match="the same rows in the same order"):
        list(solution.targets)


def test_other_blocks_of_the_same_number_of_rows_are_refused() -> None:
    class Regrouped(ChangingBlocks):
        def __iter__(self) -> Iterator[Tensor]:
            self.iterations_left -= 1
            yield from self.matrix.split(BLOCK if self.iterations_left >= 0 else 15)

    with pytest.raises(InputError, match="got 20 rows in block 0 at first and 15 later"):
        project(Regrouped(reverse), torch.ones(ROWS), TOTALS)


def test_blocks_that_are_exhausted_after_the_first_pass_are_refused() -> None:
    class Exhausted(ChangingBlocks):
        def __iter__(self) -> Iterator[Tensor]:
            self.iterations_left -= 1
            yield from self.matrix.split(BLOCK) if self.iterations_left >= 0 else ()

    with pytest.raises(InputError, match="got 60 rows at first and 0 later; an iterator can be read only once"):
        project(Exhausted(reverse), torch.ones(ROWS), TOTALS)


def test_another_dtype_in_a_later_pass_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"must have 4 classes, torch.float64 and cpu like block 0, got 4, torch.float32"
    ):
        project(ChangingBlocks(Tensor.float), torch.ones(ROWS), TOTALS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1),
        (3, 1),
        (7, 3),
        (130, 5),
        (2000, 3),
        (2 * COLUMNS - 1, 1),
        (4 * COLUMNS - 1, 1),
        (COLUMNS, 1),
        (COLUMNS, 7),
    ],
)
def test_the_checksum_is_that_of_the_bits_wherever_they_lie(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    block = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = block_checksum(block)
    shifted = torch.cat([block.new_zeros(1), block.view(-1)])[1:].view(shape)
    strided = block.repeat_interleave(2, 1)[:, ::2]
    assert block_checksum(shifted) == block_checksum(strided) == block_checksum(block.clone()) == expected
    for entry in ((0, 0), (shape[0] - 1, shape[1] - 1)):
        changed = block.clone()
        changed[entry] += 1
        assert block_checksum(changed) != expected
    if shape[0] > 1:
        assert block_checksum(block.roll(1, 0)) != expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("values", [(0.0, -torch.inf), (-1.0, -2.0), (0.0, -0.0)])
def test_orders_of_values_that_differ_in_few_bits_have_different_checksums(
    dtype: torch.dtype, values: tuple[float, float]
) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 10
    ordered = torch.tensor(values, dtype=dtype)[1 - torch.nn.functional.one_hot(labels)]
    blocks = [ordered[torch.randperm(40, generator=generator)] for _ in range(2000)]
    different = {block.view(torch.uint8).numpy().tobytes() for block in blocks}
    assert len({block_checksum(block) for block in blocks}) == len(different)
