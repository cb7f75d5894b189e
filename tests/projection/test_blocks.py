"""A reference in blocks has the same solution as in one tensor, and its targets are blocks.

Axes: N rows, K classes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import INF, forgetting, instance, logits, solve
from torch import Tensor

from adaprob_ray.errors import InputError
from adaprob_ray.projection import RowBlocks, chunks, project, subsample, validation


class CountingBlocks:
    """Blocks that count how often they are read."""

    def __init__(self, matrix: Tensor, rows: int) -> None:
        self.matrix, self.rows, self.read = matrix, rows, 0

    def __iter__(self):
        self.read += 1
        yield from self.matrix.split(self.rows)


@pytest.mark.parametrize("solver", ["newton", "scaling", "dual_ascent"])
@pytest.mark.parametrize("rows", [1, 5, 12, 100])
def test_blocks_give_the_solution_of_the_tensor(rows, solver):
    log_r_NK, weights_N, totals_K = instance()
    limits = {"solver": solver, "tolerance": 1e-12, "max_iterations": 3000}
    reference = project(log_r_NK, weights_N, totals_K, **limits)
    blocks = project(log_r_NK.split(rows), weights_N, totals_K, **limits)
    blocks_BK = list(blocks.targets)
    assert [len(block_BK) for block_BK in blocks_BK] == [len(block_BK) for block_BK in log_r_NK.split(rows)]
    assert (torch.cat(blocks_BK) - reference.targets).abs().max() < 1e-12
    assert (blocks.multipliers - reference.multipliers).abs().max() < 1e-10
    assert blocks.passes - reference.passes in (
        (0, 1) if solver == "newton" else (0,)
    )  # the targets of a tensor are written in the last pass
    assert torch.equal(torch.cat(list(blocks.targets)), torch.cat(blocks_BK))  # the targets can be iterated again


def test_zero_totals_and_infinite_entries_in_blocks():
    log_r_NK, weights_N, _ = instance()
    log_r_NK[:4, 0] = -INF
    totals_K = torch.tensor([3.0, 0.0, 5.0, 4.0])
    reference = solve(log_r_NK, weights_N, totals_K).targets
    blocks_BK = torch.cat(list(project(log_r_NK.split(5), weights_N, totals_K, tolerance=1e-13).targets))
    assert (blocks_BK - reference).abs().max() < 1e-12
    assert (blocks_BK[:, 1] == 0).all()


def test_infeasible_totals_in_blocks():
    log_r_NK, weights_N, _ = instance()
    log_r_NK[2:, 0] = -INF
    solution = project(log_r_NK.split(5), weights_N, [3.0] * 4)
    assert solution.status == "infeasible"
    assert (torch.cat(list(solution.targets)) - log_r_NK.softmax(1)).abs().max() < 1e-15


def test_a_memory_mapped_file_of_float16_logits(tmp_path):
    """Large enough that Newton's method starts on a sample, which is then drawn from the file."""
    log_r_NK, weights_N, totals_K = forgetting(9000, 6, torch.arange(1, 9000, 6), margin=12.0, lam=2.0)
    half = log_r_NK.half()
    half.numpy().tofile(tmp_path / "logits")
    file = np.memmap(tmp_path / "logits", dtype=np.float16, mode="r", shape=(9000, 6))
    totals_K = totals_K * (9000 / totals_K.sum())
    mapped = project(RowBlocks(file, rows=700), weights_N, totals_K)
    reference = project(half, weights_N, totals_K)
    blocks_BK = list(mapped.targets)
    assert mapped.status == reference.status == "converged"
    assert {block_BK.dtype for block_BK in blocks_BK} == {torch.float16} == {reference.targets.dtype}
    assert (
        torch.cat(blocks_BK).double() - reference.targets.double()
    ).abs().max() < 1e-3  # half a unit of float16 at 1
    assert (mapped.multipliers - reference.multipliers).abs().max() < 1e-5
    sums_K = torch.cat(blocks_BK).double().sum(0)
    assert (sums_K - totals_K).abs().max() < 9000 * 1e-9 + 9000 * 2**-11


def test_passes_count_every_reading():
    """Blocks are read once to validate them and once for each α. Solution.passes adds one for the targets."""
    blocks = CountingBlocks(instance(200)[0], 32)
    _, weights_N, totals_K = instance(200)
    solution = project(blocks, weights_N, totals_K)
    assert blocks.read == len(solution.trajectory) + 1  # and one of the first block to open the source
    assert solution.passes == len(solution.trajectory) + 1
    list(solution.targets)
    assert blocks.read == len(solution.trajectory) + 2


def test_a_sample_counts_by_its_rows(monkeypatch):
    monkeypatch.setattr(subsample, "MIN_SAMPLE_ROWS", 100)
    inputs = forgetting(4000, 5, torch.arange(1, 4000, 5), margin=20.0, lam=4.0)
    solution = project(*inputs)
    assert solution.status == "converged"
    whole_passes = len(solution.trajectory)  # the last of them also wrote the targets
    assert whole_passes < solution.passes <= whole_passes + 6  # some 20 passes over at most 266 of 4,000 rows


class OneShot:
    """An iterable whose iterator is always the same one."""

    def __init__(self, blocks: list[Tensor]) -> None:
        self.blocks = iter(blocks)

    def __iter__(self):
        return self.blocks


def test_invalid_blocks_are_rejected_by_name():
    log_r_NK, weights_N, totals_K = instance()
    good = list(log_r_NK.split(5))
    cases = {
        "got list_iterator, which can be iterated only once": iter(good),
        "got OneShot, which can be iterated only once": OneShot(good),
        "got ndarray of shape [2, 2] <U1": [np.array([["a", "b"]] * 2)],
        "got list, which yields no block": [],
        "block 1 of log_reference: must have 4 classes": [good[0], good[1][:, :3], good[2]],
        "block 2 of log_reference: must have 4 classes, torch.float64": [good[0], good[1], good[2].float()],
        "block 0 of log_reference: must be a torch tensor": ["rows"],
        "block 1 of log_reference: must be a torch tensor": [good[0], None, good[2]],
        "for each row, shape [10], got shape [12]": good[:2],
        "use torch.from_numpy or RowBlocks": log_r_NK.numpy(),
    }
    for words, inputs in cases.items():
        with pytest.raises(InputError) as caught:
            project(inputs, weights_N, totals_K)
        assert words in str(caught.value)
    with pytest.raises(InputError, match=r"block 1 .* at least one of each"):
        project([good[0], torch.zeros(0, 4).double()], weights_N, totals_K)
    with pytest.raises(InputError, match=r"NaN or \+inf in row 7 \(5 such rows\)"):
        project([log_r_NK[:7], torch.full((5, 4), float("nan"), dtype=torch.float64)], weights_N, totals_K)


@pytest.mark.parametrize("later", [10, 14])
def test_a_changed_number_of_rows_is_rejected(later):
    more_NK, weights_N, totals_K = logits(14, 4), *instance()[1:]

    class ChangingBlocks:
        def __init__(self) -> None:
            self.read = 0

        def __iter__(self):
            self.read += 1
            yield from more_NK[: 12 if self.read <= 2 else later].split(5)

    with pytest.raises(InputError, match=f"the same rows in every iteration, got 12 rows at first and {later} later"):
        project(ChangingBlocks(), weights_N, totals_K)


def test_row_blocks_take_arrays_and_tensors_and_reject_the_rest():
    big_endian = RowBlocks(np.arange(6.0).reshape(3, 2).astype(">f4"), rows=np.int64(2))
    assert torch.equal(torch.cat(list(big_endian)), torch.arange(6.0).reshape(3, 2))
    with pytest.raises(InputError, match=r"array: must be .* of shape \[rows, classes\], got ndarray of shape \[3\]"):
        RowBlocks(np.zeros(3))
    with pytest.raises(InputError, match="rows: must be an integer of at least 1, got 0"):
        RowBlocks(np.zeros((3, 2)), rows=0)
    assert [block.shape for block in RowBlocks(np.zeros((5, 2)), rows=2)] == [(2, 2), (2, 2), (1, 2)]
    assert [len(block) for block in RowBlocks(torch.zeros(5, 2), rows=3)] == [3, 2]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("dropped", [False, True])
def test_cached_targets_are_used_only_for_their_own_alpha(monkeypatch, dtype, dropped):
    monkeypatch.setitem(chunks.CHUNK_ENTRIES, "cpu", 20)  # 5 rows per chunk
    log_r_NK, weights_N, totals_K = instance()
    if dropped:
        totals_K = torch.cat([torch.zeros(1), totals_K[1:] * (totals_K.sum() / totals_K[1:].sum())])
    problem = validation.validate(log_r_NK.to(dtype), weights_N, totals_K)[0]
    first_C, second_C = (0.1 * np.random.default_rng(seed).normal(size=problem.classes) for seed in (0, 1))
    expected = [problem.targets(alpha_C).clone() for alpha_C in (first_C, second_C)]
    plain = problem.dual(first_C)
    caching = problem.dual(first_C, cache_targets=True)
    assert caching.value == plain.value
    assert (caching.gradient_C == plain.gradient_C).all()
    rows = problem.work.rows
    assert torch.equal(problem.targets(first_C), expected[0])
    assert problem.work.rows == rows  # no further pass
    # Targets cached at another α, and targets cached a second time.
    for cached_alphas in [(first_C,), (first_C, second_C)]:
        for alpha_C in cached_alphas:
            problem.dual(alpha_C, cache_targets=True)
        assert torch.equal(problem.targets(second_C), expected[1])


def test_a_sample_caches_no_targets():
    inputs = forgetting(8000, 10, torch.arange(1, 8000, 10), margin=8.0, lam=1.0)
    problem, start, _ = validation.validate(*inputs)
    sample, _ = subsample.draw_sample(problem, start)
    sample.dual(np.zeros(10), cache_targets=True)
    assert problem.targets(np.zeros(10)).shape == (8000, 10)
