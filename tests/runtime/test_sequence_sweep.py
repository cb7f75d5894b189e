"""A sweep that forgets one request after another, in this process and on Ray, on the digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load
from tiny_sweep import TINY, Command, cells_of, run, same_columns

from adaprob_ray import cli, load_records
from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, METHODS
from adaprob_ray.data.batches import DeviceImages, Subset, load_subsets
from adaprob_ray.data.split import split_images
from adaprob_ray.methods.base import Context, Split
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.store import Store
from adaprob_ray.store.names import OUTPUTS, WEIGHTS
from adaprob_ray.sweep.cell import Cell

FIRST = {"kind": "selective", "class": 3, "count": 25}
SECOND = {"indices": list(range(0, 1154, 50))}
DOCUMENT = {
    **TINY,
    "grid": {**TINY["grid"], "forget": {"sequence": [FIRST, SECOND]}},
    "methods": {
        "finetune": {"epochs": 1},
        "adaprob": {"epochs": 1, "lr": 0.01},
        "plain": {"method": "retrain", "variant": "plain"},
    },
    "metrics": ["errors", "all_requests", "kl_to_retrain", "distance", "seconds", "relearn"],
    "keep": {"unlearn": "weights"},
    "relearn": {"lr": 0.05, "epochs": 2, "rows": 60},
}

pytestmark = pytest.mark.slow  # sweeps from one end to the other


def second_rows() -> list[int]:
    """SECOND without what FIRST forgets; the samples of FIRST, drawn by hand."""
    return [row for row in range(0, 1154, 50) if row not in set(first_rows())]


def train() -> Subset:
    return load_subsets(DATASETS["digits"], Path(), 1, test_pool="clean", device=torch.device("cpu")).train


def first_rows() -> list[int]:
    rows = np.flatnonzero(train().labels.numpy() == 3)
    return list(map(int, np.random.RandomState(0).choice(rows, 25, replace=False)))


def document() -> dict[str, Any]:
    sequence = [dict(FIRST), {"indices": second_rows()}]
    return {**DOCUMENT, "grid": {**DOCUMENT["grid"], "forget": {"sequence": sequence}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a store in which the first request was met alone, before the sequence."""
    folder = tmp_path_factory.mktemp("sequence")
    store = Store.open(folder / "store")
    alone = {**DOCUMENT, "grid": {**DOCUMENT["grid"], "forget": dict(FIRST)}, "keep": {"unlearn": "outputs"}}
    alone = {**alone, "metrics": ["errors"]}
    alone.pop("relearn")
    run(store, alone)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(document()), encoding="utf-8")
    assert cli.main(["run", str(folder / "sweep.yaml"), "--store", str(folder / "store"), "--executor", "local"]) == 0
    return folder


def store_of(folder: Path) -> Store:
    return Store.open(folder / "store", create=False)


def model_cell(method: str, step: int) -> Cell:
    (cell,) = (
        cell
        for cell in cells_of(document()).values()
        if cell.stage in ("train", "unlearn")
        and cell.method == method
        and len(cell.forget.after) == step - 1  # type: ignore[union-attr]
        and cell.settings.hyper.get("variant") != "plain"  # type: ignore[attr-defined]
    )
    return cell


def network(folder: Path, key: str) -> torch.nn.Module:
    model: torch.nn.Module = ARCHITECTURES["allcnn"].build(classes=10, channels=1, filters=0.02)
    model.load_state_dict(load(store_of(folder).read(key, WEIGHTS)))
    return model.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("method", ["finetune", "adaprob"])
def test_a_step_is_the_method_on_what_is_left_from_the_model_before(method: str, folder: Path) -> None:
    """The second unlearning, by hand: a data set without the samples of the first, and the first one's network."""
    images, gone = train(), first_rows()
    left = [row for row in range(len(images)) if row not in set(gone)]
    pixels = images.pixels
    shown = DeviceImages(pixels.images_NHWC[left], pixels.labels[left], pixels.scale_C, pixels.shift_C)
    forget = [left.index(row) for row in second_rows()]
    retain = [place for place in range(len(left)) if place not in set(forget)]
    positions = {"forget": forget, "retain": retain, "train": list(range(len(left)))}
    subsets = {name: Subset(shown, torch.tensor(rows)) for name, rows in positions.items()}
    subsets["validation"] = load_subsets(
        DATASETS["digits"], Path(), 1, test_pool="clean", device=torch.device("cpu")
    ).validation
    cell = model_cell(method, 2)
    chosen = METHODS[method](**cell.settings.hyper)  # type: ignore[attr-defined]
    context = Context(
        device=torch.device("cpu"),
        precision="float32",
        seed=1,
        repeat=0,
        needs=chosen.needs,
        recipe=cell.settings.recipe,  # type: ignore[attr-defined]
        make_model=lambda seed: network(folder, cell.key),
        initial_state=dict,
        report=lambda step, **scalars: None,
    )
    split = Split(needs=chosen.needs | chosen.optional_needs, subsets=subsets)
    by_hand = chosen.unlearn(network(folder, model_cell(method, 1).key), split, context)  # type: ignore[attr-defined]
    stored = network(folder, cell.key).state_dict()
    for name, tensor in by_hand.state_dict().items():
        assert torch.allclose(tensor, stored[name], rtol=1e-4, atol=1e-6), name  # threads may differ
    original = network(folder, cell.parents["original"])
    pairs = zip(by_hand.parameters(), original.parameters(), strict=True)
    moved = sum(float((a - b).detach().square().sum()) for a, b in pairs) ** 0.5
    records = load_records(str(folder / "store"))
    (row,) = records[records["model_key"] == cell.key].to_dict("records")
    assert row["parameter_distance"] == pytest.approx(moved, rel=1e-3), "from the original, not from the step before"


def test_errors_of_a_step_are_on_its_own_samples_and_on_what_is_left(folder: Path) -> None:
    records = load_records(str(folder / "store"))
    gone, rows = first_rows(), second_rows()
    left = [row for row in range(1154) if row not in {*gone, *rows}]
    of_step = records[records["forget"] == str(model_cell("finetune", 2).forget)]
    assert len(of_step) == 6
    of_first = records[records["forget"] == "25of3"]
    assert list(of_first["all_requests_error_percent"].dropna()) == list(of_first["forget_error_percent"].iloc[-6:])
    for row in of_step.to_dict("records"):
        outputs = Outputs.from_bytes(store_of(folder).read(row["model_key"], OUTPUTS))
        wrong = outputs.logits["train"].argmax(1) != outputs.labels["train"]
        assert row["forget_error_percent"] == pytest.approx(100 * wrong[rows].mean())
        assert row["all_requests_error_percent"] == pytest.approx(100 * wrong[[*gone, *rows]].mean())
        assert row["retain_error_percent"] == pytest.approx(100 * wrong[left].mean())
        assert (row["forget_rows"], row["retain_rows"]) == (len(rows), len(left))


def test_retrain_of_a_step_leaves_out_all_that_was_asked_so_far(folder: Path) -> None:
    """`plain` passes the retained samples alone, once in its one epoch."""
    records = load_records(str(folder / "store"))
    plain = records[records["label"] == "plain"].set_index("forget")["forward_examples"]
    assert sorted(plain) == [1154 - 25 - len(second_rows()), 1154 - 25]


def test_the_models_of_the_first_request_were_reused_or_got_their_weights(folder: Path) -> None:
    logs = store_of(folder).survey()
    for method in ("retrain", "retrain_independent"):
        assert logs[model_cell(method, 1).key].leases == {1}, "trained once"
    for method in ("finetune", "adaprob"):
        assert len(logs[model_cell(method, 1).key].leases) == 2, "computed again, because its weights had been dropped"


def test_other_commands_on_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, store, out = str(folder / "sweep.yaml"), str(folder / "store"), str(folder / "out")
    assert cli.main(["compare", file, "--store", store, "--out", out]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "forget request 1 of 2: 25 samples of class 3" in shown
    assert f"forget request 2 of 2: {len(second_rows())} samples (indices " in shown
    assert "), after 25 samples of class 3" in shown
    for command in (["report", file], ["figure", "trade_off", file], ["figure", "cost", file]):
        assert cli.main([*command, "--store", store, "--out", out]) == 0
    report = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "forget request 1 of 2: 25 samples of class 3" in report
    for command in (["status", file], ["explain", file]):
        assert cli.main([*command, "--store", store]) == 0
    assert "all cells are done" in capsys.readouterr().out


def test_descendants_of_a_sample_of_the_first_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = DATASETS["digits"].load(Path(), 1)
    source = images.train_source[split_images(images, 1, test_pool="clean").train][first_rows()[0]]
    assert cli.main(["explain", "--descendants", f"digits:{source}", "--store", str(folder / "store")]) == 0
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()[2:]}
    uses = [lines[model_cell("finetune", step).key].partition("weights kept, ")[2] for step in (1, 2)]
    assert uses == [
        "unlearned; it is in the forget set",
        "unlearned; an earlier request of the sequence already forgot it",
    ]
    for step in (1, 2):
        assert lines[model_cell("retrain", step).key].endswith("retrained without it")


def test_a_sample_of_a_class_that_was_forgotten_before_is_an_error_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = first_rows()[4]
    sequence = [dict(FIRST), {"indices": [*second_rows(), again]}]
    bad = {**DOCUMENT, "grid": {**DOCUMENT["grid"], "forget": {"sequence": sequence}}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(bad), encoding="utf-8")
    for command in ("plan", "run"):
        assert cli.main([command, str(tmp_path / "sweep.yaml"), "--store", str(tmp_path / "store")]) == 2
        error = capsys.readouterr().err
        assert (
            f"must name samples that are not forgotten yet, but request 1 already forgets {again} (digits, seed 1)"
            in error
        )
    assert not (tmp_path / "store").exists()


@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_ray_gives_the_same_records(folder: Path, tmp_path: Path) -> None:
    """A sequence by indices from a file, from an imported original: everything that workers get from the driver."""
    torch.manual_seed(3)
    torch.save(ARCHITECTURES["allcnn"].build(classes=10, channels=1, filters=0.02).state_dict(), tmp_path / "net.pt")
    (tmp_path / "rows.txt").write_text("\n".join(map(str, second_rows())), encoding="utf-8")
    shared = {**document(), "original": {"weights": str(tmp_path / "net.pt")}, "metrics": ["errors", "kl_to_retrain"]}
    shared.pop("relearn")
    with_file = {**shared, "grid": {**shared["grid"], "forget": {"sequence": [dict(FIRST), {"indices": "rows.txt"}]}}}
    command = Command(tmp_path, document=with_file, table="adaprob_ray.catalogue:REGISTRY", executor="ray")
    code, _, err = command.run()
    assert code == 0, err
    local = Store.open(tmp_path / "local")
    run(local, shared)
    assert same_columns(command.opened(), shared) == same_columns(local, shared)
