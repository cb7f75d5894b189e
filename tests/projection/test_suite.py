"""The benchmark's instances, in both readings: each is solved to 1e-9 of the rows in at most 30 passes."""

from __future__ import annotations

import pytest
import torch

from adaprob_ray.projection import project
from benchmarks.projection_suite import Instance, instances, lbfgs

ALL_INSTANCES = [instance for reading in ("eq1", "restore") for instance in instances(reading)]
FEW_CLASSES = [instance for instance in ALL_INSTANCES if instance.classes <= 100]
# Of the instances with a thousand classes one is enough: each takes seconds.
MANY_CLASSES = [
    instance for instance in ALL_INSTANCES if instance.classes > 100 and (instance.margin, instance.lam) == (20.0, 4.0)
]


@pytest.mark.slow
@pytest.mark.parametrize("instance", FEW_CLASSES + MANY_CLASSES, ids=lambda instance: instance.name)
def test_every_instance_is_solved_in_few_passes(instance: Instance) -> None:
    log_r_NK, weights_N, totals_K = instance.make()
    solution = project(log_r_NK, weights_N, totals_K)
    assert solution.status == "converged", solution.message
    assert solution.passes <= 30
    assert not solution.targets.isnan().any()
    assert float((solution.targets.sum(0) - totals_K).abs().max()) <= 1.01e-9 * instance.rows
    assert float((solution.targets.sum(1) - 1).abs().max()) < 1e-12


@pytest.mark.parametrize("instance", FEW_CLASSES[:4], ids=lambda instance: instance.name)
def test_lbfgs_converges_in_at_least_as_many_passes(instance: Instance) -> None:
    """The benchmark's L-BFGS counts its passes as `project` does."""
    inputs = instance.make()
    run = lbfgs(inputs, 1e-9, 60.0)
    assert run.converged
    assert run.residual <= 1e-9
    assert run.passes is not None
    assert project(*inputs).passes <= run.passes


def test_an_instance_has_the_rows_weights_and_totals_of_its_name() -> None:
    instance = Instance(40, 4, 5, "class", 8.0, 2.0)
    log_r_NK, weights_N, totals_K = instance.make()
    assert instance.name == "40x4, 5 class, margin 8, λ 2"
    assert torch.equal((weights_N == 1).nonzero().squeeze(1), torch.arange(1, 20, 4))
    assert set(weights_N.tolist()) == {1.0, 2.0}
    assert float(totals_K.sum()) == pytest.approx(40)
    pseudo_NK = log_r_NK.exp()
    pseudo_NK[1:20:4] = 0.25
    torch.testing.assert_close(totals_K, pseudo_NK.sum(0))
    reference_NK, _, restored_K = Instance(40, 4, 5, "class", 8.0, 2.0, "restore").make()
    torch.testing.assert_close(restored_K, log_r_NK.exp().sum(0))
    torch.testing.assert_close(reference_NK.exp(), pseudo_NK)
