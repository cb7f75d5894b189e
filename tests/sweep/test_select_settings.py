"""Settings of methods in `--only` and in the titles of cells."""

from __future__ import annotations

import pytest

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.sweep.select import select_cells
from adaprob_ray.sweep.sweep import Sweep

HEADER = """\
name: settings
grid: {dataset: digits, architecture: allcnn, forget: {kind: class, class: 3}, seed: 1}
"""
CELLS = Sweep.parse(
    HEADER
    + """\
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


@pytest.mark.parametrize(
    ("settings", "varied"),
    [
        ("{method: adaprob, lam: [0.5, 2.0]}", [("lam=0.5",), ("lam=2",)]),
        ("{method: adaprob, lam: [0.5, 2], epochs: 3}", [("lam=0.5",), ("lam=2",)]),
        ("{method: adaprob, lam: [1.0, 2.0], epochs: [5], lr: [0.1]}", [("lam=1",), ("lam=2",)]),
        ("{method: adaprob, lam: [1.0], epochs: [1, 5]}", [("epochs=1",), ("epochs=5",)]),
        ("{method: adaprob, lam: 0.5}", [()]),
        ("{method: adaprob}", [()]),
    ],
)
def test_titles_say_what_differs_within_a_label(settings: str, varied: list[tuple[str, ...]]) -> None:
    cells = Sweep.parse(f"{HEADER}methods: {{mine: {settings}}}\nmetrics: [errors]\n", REGISTRY).cells.values()
    for stage, name in (("unlearn", "adaprob"), ("evaluate", "mine")):
        chosen = [cell for cell in cells if cell.stage == stage and cell.method == "adaprob"]
        assert [cell.distinguishing_settings for cell in chosen] == varied
        for cell in chosen:
            assert cell.title == "-".join(
                [stage, name, *cell.distinguishing_settings, "digits", "allcnn", "class3", "s1", cell.key[:8]]
            )
