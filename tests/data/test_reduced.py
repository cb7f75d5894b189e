"""Data sets of which a sweep uses only some training images: `train_per_class`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filled_store import cells_of
from test_split import check_sizes

from adaprob_ray import cli
from adaprob_ray.catalogue import DATASETS, REGISTRY
from adaprob_ray.costs import Speeds
from adaprob_ray.data.dataset import Dataset
from adaprob_ray.data.split import index_table
from adaprob_ray.errors import InputError
from adaprob_ray.runtime.image_use import ImageUse
from adaprob_ray.sweep.cell_settings import ForgetRequest
from adaprob_ray.sweep.sweep import Sweep

SWEEP = """\
name: reduced
grid:
  dataset: [digits, {name: digits, train_per_class: 20}, {name: digits, train_per_class: 40}]
  architecture: {name: allcnn, filters: 0.02}
  forget: {kind: selective, class: 1, count: 5}
  seed: 1
train: {recipe: large, epochs: 1}
methods: {original: {}, finetune: {epochs: 1}}
metrics: [errors]
"""
FEW = ForgetRequest("selective", 1, 5)
NOWHERE = Path("nowhere")


def of_equal_classes(images: int) -> Dataset:
    return replace(DATASETS["digits"], pool_per_class=(images,) * 3)


def test_every_number_of_training_images_is_met_exactly() -> None:
    dataset = of_equal_classes(5000)
    reduced = [dataset.reduced(count) for count in range(4, 4001)]
    assert [entry.train_per_class for entry in reduced] == [(count,) * 3 for count in range(4, 4001)]
    assert min(min(entry.validation_per_class) for entry in reduced) >= 1


def test_a_class_gives_no_more_images_than_it_has() -> None:
    dataset = replace(DATASETS["digits"], pool_per_class=(104, 130))
    reduced = dataset.reduced(84)
    assert reduced.pool_per_class == (104, 105)
    assert reduced.train_per_class == (84, 84)


def test_all_images_are_the_whole_data_set() -> None:
    assert of_equal_classes(5000).reduced(4000).pool_per_class == (5000,) * 3


@pytest.mark.parametrize("count", [0, -1, 3, 139])
def test_more_images_than_the_smallest_class_has_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=rf"digits: train_per_class: must be 4 \(.*\) to 1\d\d \(.*, got {count}"):
        DATASETS["digits"].reduced(count)


def test_as_many_as_the_smallest_class_has_are_possible() -> None:
    smallest = min(DATASETS["digits"].train_per_class)
    assert sum(DATASETS["digits"].reduced(smallest).train_per_class) == 10 * smallest


def test_the_images_are_the_first_of_each_class() -> None:
    whole, reduced = DATASETS["digits"].load(NOWHERE, 1), DATASETS["digits"].reduced(20).load(NOWHERE, 1)
    for label in range(10):
        first = whole.train_source[whole.train_labels == label][:25]
        assert reduced.train_source[reduced.train_labels == label].tolist() == first.tolist()
    assert np.array_equal(reduced.test_NHWC, whole.test_NHWC)


def test_a_reduced_data_set_has_the_sizes_it_states() -> None:
    check_sizes(DATASETS["digits"].reduced(20), NOWHERE)


@pytest.mark.data
def test_reduced_cifar10_has_the_published_images(cifar: Path) -> None:
    table = index_table(
        DATASETS["cifar10"].reduced(600), cifar, 1, ForgetRequest("selective", 5, 100), test_pool="clean"
    )
    assert table["dataset"] == "cifar10-600"
    assert [len(table[f"{name}_source"]) for name in ("train", "validation", "test", "forget")] == [
        6000,
        1500,
        10_000,
        100,
    ]
    assert table["forget_source"][:4] == [5606, 1754, 3008, 6065]


@pytest.mark.data
def test_the_images_of_the_reduced_sweeps_are_those_of_the_page(cifar: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reduced-scale.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([\d, ]+), … \| `(\w+)` \|$", page, re.M)
    assert [int(seed) for seed, _, _ in rows] == list(range(1, 11))
    reduced, request = DATASETS["cifar10"].reduced(600), ForgetRequest("selective", 5, 100)
    for seed, first, digest in rows:
        table = index_table(reduced, cifar, int(seed), request, test_pool="clean")
        assert ", ".join(map(str, table["forget_source"][:4])) == first
        text = " ".join(map(str, [*table["train_source"], *table["forget_source"]]))
        assert hashlib.sha256(text.encode()).hexdigest().startswith(digest)


def test_cells_of_the_whole_data_set_say_nothing_of_the_option() -> None:
    cells = cells_of(SWEEP)
    documents = [cell.settings.document()["dataset"] for cell in cells.values()]
    assert {"name": "digits", "test_pool": "clean"} in documents
    assert {"name": "digits", "test_pool": "clean", "train_per_class": 20} in documents


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5000, "grid.dataset: digits: train_per_class: must be 4 ("),
        (0, "grid.dataset: train_per_class: must be an integer of at least 1, got 0"),
        ("many", "grid.dataset: train_per_class: must be an integer of at least 1, got 'many'"),
    ],
)
def test_bad_numbers_are_refused_before_the_run(value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Sweep.parse(SWEEP.replace("train_per_class: 20", f"train_per_class: {value}"), REGISTRY)
    assert any(fault.startswith(message) for fault in caught.value.faults)


def test_more_samples_to_forget_than_there_are_left_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"digits-20: count must be 1 to 20 \(the training images of class 1\), got 21"
    ):
        Sweep.parse(SWEEP.replace("count: 5", "count: 21"), REGISTRY)


def test_a_row_is_looked_up_among_the_images_that_were_used() -> None:
    cells = cells_of(SWEEP)
    images = DATASETS["digits"].load(NOWHERE, 1)
    last_of_class_2 = int(images.train_source[images.train_labels == 2][-1])
    use = ImageUse("digits", last_of_class_2, REGISTRY, NOWHERE).use
    originals = {
        str(c.settings.dataset): use(c) for c in cells.values() if c.method == "original" and c.stage == "train"
    }
    assert originals == {"digits": "trained", "digits-20": "none", "digits-40": "none"}


def test_speeds_of_reduced_data_count() -> None:
    record = {
        "dataset": "digits-20", "architecture": "allcnn", "filters": 0.02, "method": "finetune", "precision": "float32",
        "unlearn_seconds": 2.0, "forward_examples": 100, "backward_examples": 100, "device": "cpu", "threads": 1,
    }  # fmt: skip
    assert len(Speeds([record], REGISTRY).devices()) == 1


def test_a_run_keeps_the_sizes_of_a_data_set_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, store = tmp_path / "reduced.yaml", str(tmp_path / "store")
    file.write_text(SWEEP, encoding="utf-8")
    assert cli.main(["run", str(file), "--store", store, "--executor", "local"]) == 0
    assert cli.main(["compare", str(file), "--store", store, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for name in ("digits", "digits-20", "digits-40"):
        assert f"{name} · allcnn" in printed


def test_a_name_that_another_data_set_has_is_refused() -> None:
    registry = replace(REGISTRY, datasets={**REGISTRY.datasets, "digits-20": DATASETS["digits"]})
    with pytest.raises(InputError, match="must be a number other than 20, because there is a data set digits-20"):
        Sweep.parse(SWEEP, registry)
