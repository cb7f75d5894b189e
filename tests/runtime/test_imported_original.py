"""A sweep whose original comes from a file, in this process, on the digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load, save_file
from tiny_sweep import TINY
from torch import nn

from adaprob_ray import cli, load_records
from adaprob_ray.catalogue import ARCHITECTURES, REGISTRY
from adaprob_ray.models.weights import weights_digest
from adaprob_ray.runtime import launch
from adaprob_ray.store import Store
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.sweep.sweep import Sweep

pytestmark = pytest.mark.slow  # a sweep from one end to the other

METHODS = {"finetune": {"epochs": 1, "lr": 1.0e-9}, "adaprob": {"epochs": 1}, "eu_k": {}}
METRICS = ["errors", "kl_to_retrain", "distance", "relearn"]
DOCUMENT = {
    **TINY,
    "original": {"weights": "mine.pt"},
    "methods": METHODS,
    "metrics": METRICS,
    "keep": {"unlearn": "weights"},
    "relearn": {"lr": 0.05, "epochs": 2, "rows": 60},
}


NAN = float("nan")


def network(filters: float = 0.02, classes: int = 10) -> nn.Module:
    torch.manual_seed(7)
    model: nn.Module = ARCHITECTURES["allcnn"].build(classes=classes, channels=1, filters=filters)
    return model


def write(folder: Path, document: dict[str, Any] = DOCUMENT, name: str = "sweep.yaml") -> str:
    (folder / name).write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a file as DataParallel writes it, and a sweep of it that was run."""
    folder = tmp_path_factory.mktemp("imported")
    state = {f"module.{name}": tensor for name, tensor in network().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, folder / "mine.pt")
    command = ["run", write(folder), "--store", str(folder / "store"), "--executor", "local"]
    assert cli.main(command) == 0
    return folder


def test_the_original_is_the_network_of_the_file(folder: Path) -> None:
    store = Store.open(folder / "store", create=False)
    (cell,) = (cell for cell in Sweep.load(folder / "sweep.yaml", REGISTRY).cells.values() if cell.stage == "import")
    weights = load(store.read(cell.key, WEIGHTS))
    own = network().state_dict()
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[name], own[name]) for name in own)
    assert cell.settings.document()["weights"] == weights_digest(own), "as a record of `adaprob-ray unlearn` has it"


def test_records_say_where_the_original_came_from(folder: Path) -> None:
    records = load_records(str(folder / "store"))
    assert set(records["label"]) == {"original", "retrain", "retrain_independent", "finetune", "adaprob"}
    assert set(records["original.weights"]) == {weights_digest(network().state_dict())}
    by_label = records.set_index("label")
    assert by_label.loc["original", "parameter_distance"] == 0
    assert by_label.loc["finetune", "parameter_distance"] < 1e-3 < by_label.loc["retrain", "parameter_distance"]
    assert by_label["start_distance"].isna()[["original", "finetune", "adaprob"]].all(), "the start is not known"
    assert by_label.loc["retrain", "start_distance"] > 0


def test_other_commands_on_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, store, out = str(folder / "sweep.yaml"), str(folder / "store"), str(folder / "out")
    for command in (["compare", file], ["report", file], ["figure", "trade_off", file]):
        assert cli.main([*command, "--store", store, "--out", out]) == 0
    capsys.readouterr()
    assert cli.main(["plan", file, "--store", store]) == 0
    shown = capsys.readouterr().out
    assert "to execute: 0 cells" in shown
    assert f"mine.pt, sha256 {weights_digest(network().state_dict())}" in shown
    assert "skipped: eu_k on digits, allcnn, 25of3: needs the weights from which the original was trained" in shown
    assert cli.main(["explain", "--descendants", "digits:30", "--store", store]) == 0
    assert "1 came from files and may have been trained on it" in capsys.readouterr().out


def test_the_same_weights_in_another_format_are_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(network().state_dict(), folder / "mine.safetensors")
    file = write(folder, {**DOCUMENT, "original": {"weights": "mine.safetensors"}}, "other.yaml")
    assert cli.main(["plan", file, "--store", str(folder / "store")]) == 0
    assert "to execute: 0 cells" in capsys.readouterr().out


def test_results_stay_readable_when_the_file_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = {"weights": "gone.pt", "sha256": weights_digest(network().state_dict())}
    file, store = write(folder, {**DOCUMENT, "original": original}, "gone.yaml"), str(folder / "store")
    assert cli.main(["compare", file, "--store", store, "--out", str(folder / "out")]) == 0
    assert cli.main(["run", file, "--store", store, "--executor", "local"]) == 0, "nothing is left to do"
    other = str(folder / "other store")
    assert cli.main(["run", file, "--store", other, "--executor", "local"]) == 2
    assert "gone.pt is not there, and the store does not have its weights" in capsys.readouterr().err
    assert not Path(other).exists()


def test_a_file_that_changes_after_planning_fails_its_cell(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "mine.pt")
    sweep = Sweep.load(write(tmp_path), REGISTRY)
    with torch.no_grad():
        model = network()
        next(model.parameters()).add_(1)
    torch.save(model.state_dict(), tmp_path / "mine.pt")
    cells = {key: cell for key, cell in sweep.cells.items() if cell.stage == "import"}
    store = Store.open(tmp_path / "store")
    plan = launch.run(cells, store, sweep="tiny", data_root=Path("nowhere"), executor="local").plan
    (failure,) = plan.failures.values()
    assert "the file has changed since the sweep was planned" in failure.message


def _resize(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(network(filters=0.05).state_dict())


FAULTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], str]] = {
    "another width": (_resize, "must have the shapes of the model"),
    "other classes": (
        lambda state: dict(network(classes=7).state_dict()),
        "must have the shapes of the model, got 2 different ones",
    ),
    "a missing key": (lambda state: dict(list(state.items())[1:]), "must have the keys of the model, got 1 missing"),
    "an extra key": (lambda state: {**state, "more": torch.zeros(1)}, "got 1 extra: more"),
    "not finite": (
        lambda state: {name: tensor + NAN if tensor.is_floating_point() else tensor for name, tensor in state.items()},
        "must have finite weights",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_files_that_do_not_fit(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, message = FAULTS[name]
    torch.save(change(dict(network().state_dict())), tmp_path / "mine.pt")
    assert cli.main(["plan", write(tmp_path), "--store", str(tmp_path / "store")]) == 2
    error = capsys.readouterr().err
    assert "original.weights: " in error
    assert message in error
