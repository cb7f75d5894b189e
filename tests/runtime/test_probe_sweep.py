"""A sweep that asks for the linear probe, in this process, on the digits, against scikit-learn on features taken by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from small_world import with_value
from tiny_sweep import TINY, cells_of, key_of, run

from adaprob_ray.catalogue import ARCHITECTURES, DATASETS
from adaprob_ray.data.batches import load_subsets
from adaprob_ray.data.split import forget_positions
from adaprob_ray.errors import InputError
from adaprob_ray.stages.probe import PROBE
from adaprob_ray.store import Store
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.store.records import read_records
from adaprob_ray.sweep.cell_settings import ForgetRequest

PROBED: dict[str, Any] = {
    **TINY,
    "train": {"recipe": "large", "epochs": 3},
    "methods": {**TINY["methods"], "bias_shift": {"shift": 30.0}},
    "metrics": [*TINY["metrics"], "probe"],
    "keep": {"unlearn": "weights"},
    "probe": {"inverse_regularization": 0.5},
}
WHOLE_CLASS = with_value(PROBED, "grid", {**PROBED["grid"], "forget": {"kind": "class", "class": 3}})
COLUMNS = ("probe_forget_error_percent", "probe_test_forget_class_error_percent", "probe_test_error_percent")


@pytest.fixture(scope="module", params=[PROBED, WHOLE_CLASS], ids=["selective", "class"])
def probed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    store = Store.open(tmp_path_factory.mktemp("probed") / "store")
    run(store, request.param)
    return store, request.param


def records(store: Store, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    keys = [key for key, cell in cells_of(document).items() if cell.stage == "evaluate"]
    return {row["label"]: row for row in read_records(store, keys)}


def by_hand(store: Store, document: dict[str, Any], label: str) -> list[float]:
    """The three columns, from stored weights, without any code of the stage."""
    cells = cells_of(document)
    parts = load_subsets(DATASETS["digits"], Path(), 1, test_pool="clean", device=torch.device("cpu"))
    model = ARCHITECTURES["allcnn"].build(classes=10, channels=1, filters=0.02)
    model.load_state_dict(load(store.read(cells[key_of(cells, "evaluate", label)].parents["model"], WEIGHTS)))
    model.eval()

    def hidden(part: Any) -> tuple[Any, Any]:
        with torch.no_grad():
            features = model.features(part.pixels.select(part.rows)).mean(dim=(2, 3))
        return features.double().numpy(), part.labels.numpy()

    (train, labels), (validation, validation_labels), (test, test_labels) = map(
        hidden, (parts.train, parts.validation, parts.test)
    )
    forget = forget_positions(labels, ForgetRequest.from_document(document["grid"]["forget"]), 1)
    retain = np.setdiff1d(np.arange(len(labels)), forget)
    unseen = ~np.isin(validation_labels, labels[retain])
    fitted, fitted_labels = (
        np.concatenate([train[retain], validation[unseen]]),
        [*labels[retain], *validation_labels[unseen]],
    )
    scaler = StandardScaler().fit(fitted)
    probe = LogisticRegression(C=0.5, max_iter=1000).fit(scaler.transform(fitted), fitted_labels)
    tested = [
        (train[forget], labels[forget]),
        (test[test_labels == 3], test_labels[test_labels == 3]),
        (test, test_labels),
    ]
    return [100 * float((probe.predict(scaler.transform(x)) != y).mean()) for x, y in tested]


@pytest.mark.slow
def test_records_hold_the_errors_of_a_regression_by_hand(probed: tuple[Store, dict[str, Any]]) -> None:
    store, document = probed
    rows = records(store, document)
    for label, row in rows.items():
        # A sample on the boundary may fall on either side, on another processor or with other blocks of a pass.
        assert [row[name] for name in COLUMNS] == pytest.approx(by_hand(store, document, label), abs=5.0)
        assert row["probe.inverse_regularization"] == 0.5
    assert len({row["probe_test_error_percent"] for row in rows.values()}) > 1


@pytest.mark.slow
def test_outputs_that_are_rewritten_leave_the_probe_as_it_was(probed: tuple[Store, dict[str, Any]]) -> None:
    rows = records(*probed)
    assert rows["bias_shift"]["forget_error_percent"] == 100
    for name in COLUMNS:
        assert rows["bias_shift"][name] == rows["original"][name]
    assert rows["original"]["probe_forget_error_percent"] < 100


def test_it_needs_no_setting_under_any_recipe() -> None:
    document = {name: value for name, value in PROBED.items() if name != "probe"}
    for recipe in ("large", "small", "pretrain"):
        cells = cells_of({**document, "train": {"recipe": recipe, "epochs": 1}})
        probes = [cell for cell in cells.values() if cell.stage == PROBE.name]
        assert {cell.settings.probe.inverse_regularization for cell in probes} == {1.0}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("keep", {"unlearn": "outputs"}, "metrics: probe needs the weights of unlearned models"),
        (
            "probe",
            {"inverse_regularization": 0},
            "probe: inverse_regularization: must be a number greater than 0, got 0",
        ),
        ("metrics", ["errors"], "probe: has no effect unless metrics lists probe"),
    ],
)
def test_bad_input_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        cells_of({**PROBED, name: value})
    assert any(message in fault for fault in caught.value.faults), caught.value.faults


def test_a_network_without_a_named_classifier_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(ARCHITECTURES["allcnn"], build=lambda **size: torch.nn.Sequential(torch.nn.Linear(2, 2)))
    monkeypatch.setitem(ARCHITECTURES, "allcnn", entry)
    with pytest.raises(InputError, match="metrics: probe: network Sequential: must have classifier"):
        cells_of({**PROBED, "methods": {}})


def test_a_model_that_another_sweep_left_without_weights_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where two runs share a store: the model was done after this run had planned, by one that keeps outputs only."""
    store = Store.open(tmp_path / "store")
    without = {key: value for key, value in PROBED.items() if key not in ("probe", "keep")}
    run(store, {**without, "metrics": TINY["metrics"], "keep": {"unlearn": "outputs"}})
    monkeypatch.setattr("adaprob_ray.runtime.planning.lacking_weights", lambda cells, done, peek: set())
    run(store, PROBED)
    assert all(row["probe_test_error_percent"] is not None for row in records(store, PROBED).values())
