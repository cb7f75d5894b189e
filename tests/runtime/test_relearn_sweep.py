"""A sweep that asks for relearning, in this process, on the digits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tensorboard_reader
import torch
import yaml
from safetensors.torch import load
from small_world import with_value
from tiny_sweep import CELLS, TINY, cells_of, executed, key_of, run, same_columns
from torch.nn import functional

from adaprob_ray import cli
from adaprob_ray.catalogue import ARCHITECTURES, DATASETS
from adaprob_ray.data.batches import load_subsets
from adaprob_ray.data.split import forget_positions
from adaprob_ray.methods.base import derive_seed
from adaprob_ray.store import Store
from adaprob_ray.store.names import SERIES, WEIGHTS
from adaprob_ray.store.records import load_records, read_records
from adaprob_ray.sweep.cell_settings import ForgetRequest
from adaprob_ray.sweep.plan import Plan

pytestmark = pytest.mark.slow  # sweeps from one end to the other

RELEARN = {
    **TINY,
    "metrics": [*TINY["metrics"], "relearn"],
    "keep": {"unlearn": "weights"},
    "relearn": {"lr": 0.05, "epochs": 4, "rows": 60},
}
ADDED = 6  # relearn cells: the three references, plain, and two that unlearn


@pytest.fixture(scope="module")
def relearned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan]:
    store = Store.open(tmp_path_factory.mktemp("relearned") / "store")
    return store, run(store, RELEARN)[0]


@pytest.fixture
def relearned_in_float64(float64: None, tmp_path: Path) -> Store:
    """Relearned to the same number of epochs on every processor."""
    store = Store.open(tmp_path / "store")
    run(store, RELEARN)
    return store


def records(store: Store) -> dict[str, dict[str, Any]]:
    keys = [key for key, cell in cells_of(RELEARN).items() if cell.stage == "evaluate"]
    return {row["label"]: row for row in read_records(store, keys)}


def plain_steps(store: Store, label: str) -> int:
    """The stopping index from stored weights and the drawn rows, plus one; without any of our training code."""
    cells = cells_of(RELEARN)
    parts = load_subsets(DATASETS["digits"], Path(), 1, test_pool="clean", device=torch.device("cpu"))
    images, labels = next((b.images, b.labels) for b in parts.train.batches(len(parts.train)))
    forget = torch.from_numpy(forget_positions(labels.numpy(), ForgetRequest.from_document(TINY["grid"]["forget"]), 1))

    def network(key: str) -> torch.nn.Module:
        model = ARCHITECTURES["allcnn"].build(classes=10, channels=1, filters=0.02)
        model.load_state_dict(load(store.read(key, WEIGHTS)))
        return model.eval()

    def loss(model: torch.nn.Module) -> float:
        with torch.no_grad():
            return float(functional.cross_entropy(model(images[forget]), labels[forget]))

    model = network(cells[key_of(cells, "evaluate", label)].parents["model"])
    threshold = loss(network(key_of(cells, "train", "original"))) + 1e-5
    generator = torch.Generator().manual_seed(derive_seed(1, 0, "relearn"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for index in range(4):
        if loss(model) <= threshold:
            return index + 1
        rows = torch.randint(len(labels), (60,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
    return 4


def test_every_cell_is_done_and_relearning_leaves_its_series_alone(relearned: tuple[Store, Plan]) -> None:
    store, plan = relearned
    assert plan.counts()["done"] == len(plan.executed) == CELLS + ADDED
    cells = [cell for cell in plan.cells.values() if cell.stage == "relearn"]
    assert len(cells) == ADDED
    for cell in cells:
        commit = store.commit(cell.key)
        assert commit is not None
        assert set(commit.files) == {SERIES}
        series = store.read_json(cell.key, SERIES)["forget_loss"]
        assert [step for step, _ in series] == list(range(1, commit.facts["relearn_steps"] + 1))
        assert series[-1][1] == commit.facts["relearn_forget_nats"]


def test_records_hold_the_number_of_a_plain_loop(relearned_in_float64: Store) -> None:
    store = relearned_in_float64
    rows = records(store)
    original = rows["original"]
    assert original["relearn_steps"] == 1
    assert original["relearn_threshold_nats"] - original["relearn_forget_nats"] == pytest.approx(1e-5, abs=1e-12)
    actual = {label: row["relearn_steps"] for label, row in rows.items()}
    assert all(type(steps) is int for steps in actual.values())
    assert actual == {label: plain_steps(store, label) for label in rows}
    assert len(set(actual.values())) > 1, "a sweep in which it says nothing would test nothing"
    for row in rows.values():
        assert (row["relearn.lr"], row["relearn.epochs"]) == (0.05, 4)
        reached = row["relearn_forget_nats"] <= row["relearn_threshold_nats"]
        assert reached or row["relearn_steps"] == 4


def test_all_other_columns_are_those_of_a_sweep_that_does_not_ask(
    relearned: tuple[Store, Plan], first_run: tuple[Store, Plan]
) -> None:
    mine = [
        {name: value for name, value in row.items() if name != "key" and not name.startswith("relearn")}
        for row in same_columns(relearned[0], RELEARN)
    ]
    theirs = [{n: v for n, v in row.items() if n != "key"} for row in same_columns(first_run[0])]
    assert mine == theirs  # the lineage too


def test_two_runs_give_the_same_records(relearned: tuple[Store, Plan], tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    run(store, RELEARN)
    assert same_columns(store, RELEARN) == same_columns(relearned[0], RELEARN)


def test_relearning_asked_for_later_trains_nothing_again_but_what_dropped_its_weights(done: Store) -> None:
    plan, _ = run(done, RELEARN)
    stages = [word.partition("-")[0] for word in executed(plan)]
    assert {stage: stages.count(stage) for stage in stages} == {"unlearn": 2, "relearn": ADDED, "evaluate": 6}
    rows = load_records(done)  # of each model the Record that was committed last
    assert len(rows) == 6
    assert set(rows["relearn_steps"]) <= {1, 2, 3, 4}


def test_other_settings_of_relearning_run_only_what_they_must(relearned: tuple[Store, Plan], tmp_path: Path) -> None:
    shutil.copytree(relearned[0].location, tmp_path / "store")
    plan, _ = run(Store.open(tmp_path / "store"), with_value(RELEARN, "relearn.epochs", 2))
    assert {plan.cells[key].stage for key, _ in plan.executed} == {"relearn", "evaluate"}


def test_the_commands_know_the_stage(
    relearned: tuple[Store, Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, plan = relearned
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(dict(RELEARN)))
    arguments = [str(tmp_path / "sweep.yaml"), "--store"]
    assert cli.main(["plan", *arguments, str(tmp_path / "none"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [cell["stage"] for cell in report["cells"]].count("relearn") == ADDED
    assert report["bytes_to_write"] > 0
    assert cli.main(["status", *arguments, store.location]) == 0
    assert any(line.split()[:3] == ["relearn", "6", "6"] for line in capsys.readouterr().out.splitlines())
    cell = plan.cells[key_of(plan.cells, "relearn", "finetune")]
    assert cell.title.startswith("relearn-finetune-digits-")
    assert cli.main(["explain", arguments[0], cell.title, *arguments[1:], store.location]) == 0
    explained = capsys.readouterr().out
    assert "settings.relearn.lr = 0.05" in explained
    assert f'parents.original = "{cell.parents["original"]}"' in explained
    folder = Path(store.location) / "tensorboard" / "tiny" / "25of3/finetune/seed1"
    assert {"relearn/forget_loss", "metrics/relearn_steps"} <= set(tensorboard_reader.scalars(folder))


def test_weights_far_away_from_any_number_fail_one_cell_and_block_its_evaluation(
    relearned: tuple[Store, Plan], tmp_path: Path
) -> None:
    shutil.copytree(relearned[0].location, tmp_path / "store")
    plan, _ = run(Store.open(tmp_path / "store"), with_value(RELEARN, "relearn.lr", 1e30))
    failed = {cell.label for key, cell in plan.cells.items() if plan.state(key) == "failed"}
    assert failed
    assert {failure.failure_class for failure in plan.failures.values()} == {"diverged"}
    blocked = {cell.label for key, cell in plan.cells.items() if plan.state(key) == "blocked"}
    assert blocked >= failed
    assert "original" not in failed, "it is done before it is trained"
