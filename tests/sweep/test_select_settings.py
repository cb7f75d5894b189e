"""`--only` on settings of methods: which models and evaluations it selects."""

from __future__ import annotations

import pytest

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.sweep.select import select_cells
from adaprob_ray.sweep.sweep import Sweep

CELLS = Sweep.parse(
    """\
name: settings
grid: {dataset: digits, architecture: allcnn, forget: {kind: class, class: 3}, seed: 1}
methods:
  adaprob: {lam: [0.5, 1.0, 2.0]}
  scrub: {lr: [0.001, 0.01]}
metrics: [errors]
""",
    REGISTRY,
).cells


def unlearned(conditions: str) -> list[tuple[str, float]]:
    """Method and λ or learning rate of the selected unlearned models."""
    cells = [cell for cell in select_cells(CELLS, conditions).values() if cell.stage == "unlearn"]
    return [(cell.method, cell.settings.hyper["lam" if cell.method == "adaprob" else "lr"]) for cell in cells]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("lam=0.5", [("adaprob", 0.5)]),
        ("lam=1", [("adaprob", 1.0)]),
        ("lam>=1", [("adaprob", 1.0), ("adaprob", 2.0)]),
        ("lam!=2.0", [("adaprob", 0.5), ("adaprob", 1.0)]),
        ("method=scrub,lr=1e-3", [("scrub", 0.001)]),
        ("method=scrub,lr=1.0e-2,seed=1", [("scrub", 0.01)]),
        ("optimizer=sgd,lr<0.005", [("scrub", 0.001)]),
    ],
)
def test_a_setting_selects_models_and_their_evaluations(conditions: str, expected: list[tuple[str, float]]) -> None:
    assert unlearned(conditions) == expected
    evaluated = select_cells(CELLS, f"stage=evaluate,{conditions}")
    assert len([cell for cell in evaluated.values() if cell.stage == "unlearn"]) == len(expected)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ("lamb=0.5", "did you mean 'lam'"),
        ("lam<many", "compares numbers"),
        ("optimizer<3", "matches none of"),
        ("lam=0.75", "matches none of"),
    ],
)
def test_what_no_cell_has_is_refused(conditions: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        select_cells(CELLS, conditions)
