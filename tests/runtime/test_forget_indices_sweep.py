"""A sweep whose requests name samples by their indices, in this process, on the digits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from small_world import with_value
from tiny_sweep import TINY

from adaprob_ray import cli, load_records
from adaprob_ray.catalogue import DATASETS
from adaprob_ray.data.batches import load_subsets
from adaprob_ray.data.split import forget_positions, split_images
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.store import Store
from adaprob_ray.store.names import OUTPUTS
from adaprob_ray.sweep.cell_settings import ForgetRequest

pytestmark = pytest.mark.slow  # a sweep from one end to the other

OTHERS = list(range(0, 100, 4))
METRICS = ["errors", "membership", "membership_auc", "selection", "kl_to_retrain"]


def by_indices(indices: Iterable[int]) -> ForgetRequest:
    return ForgetRequest.from_document({"indices": list(indices)})


def drawn_rows(folder: Path) -> set[int]:
    return set(map(int, (folder / "drawn.txt").read_text(encoding="utf-8").split()))


def train_labels() -> np.ndarray:
    subsets = load_subsets(DATASETS["digits"], Path(), 1, test_pool="clean", device=torch.device("cpu"))
    return subsets.train.labels.numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a sweep that was run: the 25 samples that TINY draws by the seed, by their indices and as drawn, and others."""
    folder = tmp_path_factory.mktemp("indices")
    drawn = forget_positions(train_labels(), ForgetRequest.from_document(TINY["grid"]["forget"]), 1)
    (folder / "drawn.txt").write_text("\n".join(map(str, drawn)), encoding="utf-8")
    (folder / "others.json").write_text(json.dumps(OTHERS), encoding="utf-8")
    requests = [TINY["grid"]["forget"], {"indices": "drawn.txt"}, {"indices": "others.json"}]
    document = with_value(with_value(TINY, "grid.forget", requests), "metrics", METRICS)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(dict(document)), encoding="utf-8")
    assert cli.main(["run", str(folder / "sweep.yaml"), "--store", str(folder / "store"), "--executor", "local"]) == 0
    return folder


def record(folder: Path, label: str, request: ForgetRequest) -> dict[str, Any]:
    records = load_records(str(folder / "store"))
    (row,) = records[(records["label"] == label) & (records["forget"] == str(request))].to_dict("records")
    assert ForgetRequest.from_record(row) == request
    return row


def test_the_same_samples_by_index_are_forgotten_alike(folder: Path) -> None:
    """The request by class has the same samples in another order."""
    by_index = record(folder, "original", by_indices(drawn_rows(folder)))
    by_class = record(folder, "original", ForgetRequest("selective", 3, 25))
    for column in (
        "forget_error_percent",
        "test_other_classes_error_percent",
        "forget_class_confidence_percent",
        "membership_auc_percent",
    ):
        assert by_index[column] == pytest.approx(by_class[column], rel=1e-6), column
    assert by_index["test_other_classes_rows"] == by_class["test_other_classes_rows"]


def test_metrics_of_samples_of_several_classes(folder: Path) -> None:
    row = record(folder, "finetune", by_indices(OTHERS))
    outputs = Outputs.from_bytes(Store.open(folder / "store", create=False).read(row["model_key"], OUTPUTS))
    logits, labels = outputs.logits["train"][OTHERS], outputs.labels["train"][OTHERS]
    q = np.exp(logits - logits.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    confidence = np.mean([q[i, label] for i, label in enumerate(labels)])
    assert row["forget_error_percent"] == pytest.approx(100 * np.mean(logits.argmax(1) != labels))
    assert row["forget_class_confidence_percent"] == pytest.approx(100 * confidence, rel=1e-5)
    assert row["test_other_classes_rows"] == sum(label not in set(labels) for label in outputs.labels["test"])
    assert row["forget_rows"] == 25
    assert row["retain_rows"] == 1154 - 25


def test_tables_and_figures_name_the_samples_shortly(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, store, out = str(folder / "sweep.yaml"), str(folder / "store"), str(folder / "out")
    assert cli.main(["compare", file, "--store", store, "--out", out]) == 0
    shown = capsys.readouterr().out
    assert shown.count("forget 25 samples (indices ") == 2
    assert "forget 25 samples of class 3" in shown
    assert cli.main(["report", file, "--store", store, "--out", out]) == 0
    assert "25 samples (indices " in (folder / "out" / "report.html").read_text(encoding="utf-8")
    options = ["--subset", "forget", "--only", f"forget={by_indices(OTHERS)}"]
    assert cli.main(["figure", "embedding", file, "--store", store, "--out", out, *options]) == 0


def test_a_finished_sweep_stays_done_under_another_name_of_its_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "renamed.json").write_text(json.dumps(sorted(drawn_rows(folder), reverse=True)), encoding="utf-8")
    text = (folder / "sweep.yaml").read_text(encoding="utf-8").replace("drawn.txt", "renamed.json")
    (folder / "renamed.yaml").write_text(text, encoding="utf-8")
    assert cli.main(["plan", str(folder / "renamed.yaml"), "--store", str(folder / "store")]) == 0
    assert "to execute: 0 cells" in capsys.readouterr().out


def test_descendants_of_a_forgotten_sample(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = DATASETS["digits"].load(Path(), 1)
    train = images.train_source[split_images(images, 1, test_pool="clean").train]
    capsys.readouterr()
    assert cli.main(["explain", "--descendants", f"digits:{train[8]}", "--store", str(folder / "store")]) == 0
    lines = capsys.readouterr().out.splitlines()
    others = str(by_indices(OTHERS))
    (finetune,) = (line for line in lines if f"unlearn-finetune-digits-allcnn-{others}" in line)
    assert finetune.endswith("unlearned; it is in the forget set")
    retrained = [line for line in lines if f"train-retrain-digits-allcnn-{others}" in line]
    assert len(retrained) == 2, "the reference, and the label plain"
    assert all(line.endswith("retrained without it") for line in retrained)
