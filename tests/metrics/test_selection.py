"""What a validation rule may know of a model: against values by hand, and without test rows and retrained models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metric_world import CLASSES, FORGET_CLASS, ROWS, make_evaluation, make_outputs
from scipy.special import softmax
from search_world import SEARCH, study_of
from sklearn.metrics import roc_auc_score
from small_world import with_value

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import Diverged
from adaprob_ray.metrics.membership import losses
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.metrics.selection import SELECTION, confidence_percent, selection, selection_columns
from adaprob_ray.stages.base import StageContext
from adaprob_ray.store.names import OUTPUTS
from adaprob_ray.sweep.cell import Cell


def wrong_percent(outputs: Outputs, subset: str, rows: Any = slice(None)) -> float:
    return 100 * float(np.mean(outputs.logits[subset][rows].argmax(1) != outputs.labels[subset][rows]))


def test_every_column_by_hand() -> None:
    evaluation = make_evaluation()
    model, original, forget = evaluation.model, evaluation.original, evaluation.forget
    of_class = model.labels["validation"] == FORGET_CLASS
    member, other = (
        losses(model.logits[name][rows], model.labels[name][rows])
        for name, rows in (("train", forget), ("validation", of_class))
    )
    auc = roc_auc_score([1] * len(member) + [0] * len(other), -np.concatenate([member, other]))
    confidence = {
        name: 100 * softmax(model.logits[name].astype(float), axis=1)[:, FORGET_CLASS]
        for name in ("train", "validation")
    }
    expected = {
        "validation_auc_percent": 100 * auc,
        "forget_class_confidence_percent": confidence["train"][forget].mean(),
        "validation_forget_class_confidence_percent": confidence["validation"][of_class].mean(),
        "validation_other_classes_error_percent": wrong_percent(model, "validation", ~of_class),
        "original_validation_error_percent": wrong_percent(original, "validation"),
        "original_validation_forget_class_error_percent": wrong_percent(original, "validation", of_class),
        "original_validation_other_classes_error_percent": wrong_percent(original, "validation", ~of_class),
        "original_retain_error_percent": wrong_percent(original, "train", evaluation.retain),
    }
    columns = selection(evaluation)
    assert set(columns) == set(SELECTION.columns)
    assert columns == {name: pytest.approx(value, abs=1e-9) for name, value in expected.items()}


def test_rows_like_held_out_ones_have_an_auc_of_a_half() -> None:
    outputs = make_outputs(3)
    rows = outputs.labels["train"] == FORGET_CLASS
    alike = replace(
        outputs,
        logits={**outputs.logits, "validation": outputs.logits["train"]},
        labels={**outputs.labels, "validation": outputs.labels["train"]},
    )
    columns = selection_columns(
        alike, alike, forget=np.flatnonzero(rows), retain=np.flatnonzero(~rows), forget_class=FORGET_CLASS
    )
    assert columns["validation_auc_percent"] == pytest.approx(50.0)


def test_without_validation_rows_of_the_class_there_is_no_value() -> None:
    outputs = make_outputs(3)
    labels = np.where(outputs.labels["validation"] == FORGET_CLASS, 0, outputs.labels["validation"])
    bare = replace(outputs, labels={**outputs.labels, "validation": labels})
    forget = np.flatnonzero(outputs.labels["train"] == FORGET_CLASS)
    columns = selection_columns(bare, bare, forget=forget, retain=np.arange(5), forget_class=FORGET_CLASS)
    missing = {name for name, value in columns.items() if value is None}
    assert missing == {
        "validation_auc_percent",
        "validation_forget_class_confidence_percent",
        "original_validation_forget_class_error_percent",
    }
    assert confidence_percent(np.zeros((0, CLASSES), np.float32), 0) is None


# -- the stage ---------------------------------------------------------------------------------------------------------------


class Written:
    """Outputs by key, and which keys were read."""

    def __init__(self, outputs: dict[str, Outputs]) -> None:
        self.outputs, self.reads = outputs, list[tuple[str, str]]()

    def read(self, key: str, name: str) -> bytes:
        self.reads.append((key, name))
        return self.outputs[key].to_bytes()

    def cell(self, key: str) -> None:
        raise AssertionError("no other cell is read")

    commit = cell


def select_cell() -> Cell:
    study = study_of(with_value(with_value(SEARCH, "search.rule", "validation"), "grid.forget", FORGET))
    cells = study.cells_of(study.ask([]))
    return cells.cells[cells.seeds[0].scored]


FORGET = {"kind": "selective", "class": FORGET_CLASS, "count": 7}


def facts_of(cell: Cell, model: Outputs, original: Outputs) -> tuple[dict[str, Any], Written]:
    store = Written({cell.parents["model"]: model, cell.parents["original"]: original})
    context = StageContext(
        store=store,
        registry=REGISTRY,
        data_root=Path("nowhere"),
        device=torch.device("cpu"),
        report=lambda step, **scalars: None,
    )
    output = REGISTRY.stages["select"].run(cell, context)
    assert output.files == {}
    return output.facts, store


def test_select_has_no_retrained_model_among_its_parents() -> None:
    cell = select_cell()
    assert cell.stage == "select"
    assert set(cell.parents) == {"model", "original"}


def test_select_reads_outputs_of_two_models_and_no_test_row() -> None:
    cell = select_cell()
    model, original = make_outputs(5), make_outputs(6)
    facts, store = facts_of(cell, model, original)
    assert sorted(store.reads) == sorted((key, OUTPUTS) for key in cell.parents.values())

    def without_test(outputs: Outputs) -> Outputs:
        nothing = np.full((ROWS["test"], CLASSES), np.nan, np.float32)
        unlike = np.zeros_like(outputs.labels["test"])
        return Outputs(logits={**outputs.logits, "test": nothing}, labels={**outputs.labels, "test": unlike})

    assert facts_of(cell, without_test(model), without_test(original))[0] == facts
    assert not any(name.startswith("test") or "retrain" in name for name in facts)
    assert len(facts) == 3 + len(SELECTION.columns)


def test_select_agrees_with_the_metric_selection_and_with_errors() -> None:
    from adaprob_ray.data.split import forget_positions, retain_positions

    cell = select_cell()
    model, original = make_outputs(5), make_outputs(6)
    facts, _ = facts_of(cell, model, original)
    labels = model.labels["train"]
    forget = forget_positions(labels, cell.settings.forget, cell.settings.seed)  # type: ignore[attr-defined]
    retain = retain_positions(len(labels), forget)
    assert len(forget) == 7
    columns = selection_columns(model, original, forget=forget, retain=retain, forget_class=FORGET_CLASS)
    assert {name: facts[name] for name in columns} == columns
    assert facts["forget_error_percent"] == wrong_percent(model, "train", forget)
    assert facts["retain_error_percent"] == wrong_percent(model, "train", retain)
    assert facts["validation_error_percent"] == wrong_percent(model, "validation")


def test_outputs_that_are_not_finite_are_a_divergence() -> None:
    cell, model = select_cell(), make_outputs(5)
    bad = Outputs(logits={**model.logits, "train": np.full_like(model.logits["train"], np.nan)}, labels=model.labels)
    with pytest.raises(Diverged):
        facts_of(cell, bad, make_outputs(6))
