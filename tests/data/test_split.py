"""Splits and batches: the protocol's positions, and the properties that hold for every seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaprob_ray import cli
from adaprob_ray.catalogue import DATASETS, data_root
from adaprob_ray.data.batches import DeviceImages, Subset, load_subsets
from adaprob_ray.data.dataset import Dataset, RawImages
from adaprob_ray.data.split import (
    forget_positions,
    index_table,
    replacement_positions,
    retain_positions,
    retrain_positions,
    split_images,
    validation_rows,
)
from adaprob_ray.sweep.cell_settings import ForgetRequest

CPU = torch.device("cpu")
SMALL = ForgetRequest("selective", 0, 25)  # the paper's small scale, seed 3 (protocol §1.6)
LARGE = ForgetRequest("selective", 5, 100)  # its large scale, seed 1

# fmt: off
FORGET_SMALL = [83, 30, 56, 24, 16, 23, 2, 27, 28, 13, 99, 92, 76, 14, 0, 21, 3, 29, 61, 79, 35, 11, 84, 44, 73]
FORGET_LARGE = [22644, 6987, 36335, 23839, 1559, 5648, 18421, 4310, 12085, 10658, 22192, 2404, 28077, 23062]
LACUNA10 = [1781, 1858, 1615, 1665, 1816, 1663, 1840, 1828, 1767, 1756]
# fmt: on


# -- the protocol's numbers --------------------------------------------------------------------------------------------


def test_forget_set_of_the_small_scale_from_labels_alone() -> None:
    """CIFAR-5's training rows are in the order of the classes, 100 each, whatever the images are."""
    labels = np.repeat(np.arange(5), 100)
    assert forget_positions(labels, SMALL, 3).tolist() == FORGET_SMALL


def test_forget_set_of_lacuna_10_from_labels_alone() -> None:
    labels = np.repeat(np.arange(10), 320)
    assert forget_positions(labels, LARGE, 1)[:10].tolist() == LACUNA10


def test_replacements_of_the_small_scale() -> None:
    rows = replacement_positions(500, np.array(FORGET_SMALL), 3)
    assert rows[:5].tolist() == [193, 25, 96, 37, 324]
    assert len(rows) == 25


@pytest.fixture(scope="module")
def small(cifar: Path) -> dict[str, Any]:
    return index_table(DATASETS["cifar5"], cifar, 3, SMALL, test_pool="paper")


@pytest.mark.data
def test_cifar5_forgets_the_published_images(small: dict[str, Any]) -> None:
    assert small["forget_positions"] == FORGET_SMALL
    assert small["forget_source"][:5] == [17438, 29336, 25244, 8478, 21054]
    assert small["replacement_positions"][:5] == [193, 25, 96, 37, 324]


@pytest.mark.data
def test_cifar5_tests_on_training_images_unless_clean(small: dict[str, Any], cifar: Path) -> None:
    test, train = set(small["test_source"]), set(small["train_source"])
    assert len(test) == len(small["test_source"]) == 500
    assert len(test & train) == 9
    assert len(test & set(small["validation_source"])) == 4
    assert len(test & set(small["forget_source"])) == 1
    clean = index_table(DATASETS["cifar5"], cifar, 3, SMALL, test_pool="clean")
    assert len(clean["test_source"]) == 491
    assert clean["test_source"] == [row for row in small["test_source"] if row not in train]
    assert {name: clean[name] for name in clean if name not in ("test_source", "test_pool")} == {
        name: small[name] for name in small if name not in ("test_source", "test_pool")
    }


@pytest.mark.data
def test_cifar10_forgets_the_published_images(cifar: Path) -> None:
    table = index_table(DATASETS["cifar10"], cifar, 1, LARGE, test_pool="clean")
    assert table["forget_positions"][:14] == FORGET_LARGE
    assert table["forget_positions"][-3:] == [13509, 39902, 7136]
    assert table["forget_source"][:5] == [28306, 8755, 45450, 29836, 1986]
    assert len(table["forget_positions"]) == len(set(table["forget_positions"])) == 100
    assert table["test_source"] == list(range(10_000))


# -- properties of every split -----------------------------------------------------------------------------------------


@st.composite
def labels_of_a_pool(draw: st.DrawFn) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Up to five classes of 5 to 40 rows each, in any order."""
    counts = draw(st.lists(st.integers(5, 40), min_size=1, max_size=5))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.RandomState(draw(st.integers(0, 1000))).permutation(labels)


SEEDS = st.integers(1, 2**32 - 1)


@given(labels=labels_of_a_pool(), seed=SEEDS)
def test_a_fifth_of_each_class_validates_and_the_rest_trains(labels: np.ndarray[Any, Any], seed: int) -> None:
    train, validation = validation_rows(labels, seed)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert list(train) == sorted(train)
    pool, held = Counter(labels.tolist()), Counter(labels[validation].tolist())
    assert held == Counter({label: count // 5 for label, count in pool.items()})


@given(labels=labels_of_a_pool(), seed=SEEDS, data=st.data())
def test_forget_and_retain_rows_are_a_partition_of_the_training_rows(
    labels: np.ndarray[Any, Any], seed: int, data: st.DataObject
) -> None:
    label = data.draw(st.sampled_from(sorted(set(labels.tolist()))))
    members = set(np.flatnonzero(labels == label).tolist())
    count = data.draw(st.integers(1, len(members)))
    all_rows = forget_positions(labels, ForgetRequest("class", label), seed)
    selection = forget_positions(labels, ForgetRequest("selective", label, count), seed)
    assert set(all_rows.tolist()) == members
    assert len(all_rows) == len(members)
    assert len(selection) == len(set(selection.tolist())) == count
    assert set(selection.tolist()) <= members
    retain = retain_positions(len(labels), selection)
    assert list(retain) == sorted(set(range(len(labels))) - set(selection.tolist()))


@given(labels=labels_of_a_pool(), seed=SEEDS, count=st.integers(1, 4))
def test_retrain_never_sees_a_forget_row(labels: np.ndarray[Any, Any], seed: int, count: int) -> None:
    forget = forget_positions(labels, ForgetRequest("selective", 0, count), seed)
    retain = retain_positions(len(labels), forget).tolist()
    plain = retrain_positions(len(labels), forget, seed, variant="plain")
    code = retrain_positions(len(labels), forget, seed, variant="code")
    assert plain.tolist() == retain
    assert len(code) == len(labels)
    assert set(code.tolist()) == set(retain)  # each retain row is used, some of them twice
    assert code[retain].tolist() == retain
    assert code[forget].tolist() == replacement_positions(len(labels), forget, seed).tolist()


@settings(max_examples=25)
@given(seed=st.integers(1, 10_000))
def test_splits_depend_on_the_seed_alone(seed: int) -> None:
    labels = np.repeat(np.arange(4), 50)
    one, again, other = (validation_rows(labels, s)[1].tolist() for s in (seed, seed, seed + 1))
    assert one == again != other


def images(*, drawn_from_train: bool) -> RawImages:
    """Forty training images of a source of a hundred, and ten test images of which three are among them."""
    blank = np.zeros((40, 2, 2, 1), np.uint8)
    return RawImages(
        train_NHWC=blank,
        train_labels=np.repeat(np.arange(2), 20),
        train_source=np.arange(40) * 2,
        test_NHWC=blank[:10],
        test_labels=np.repeat(np.arange(2), 5),
        test_source=np.array([1, 3, 0, 5, 78, 7, 40, 9, 11, 13]),
        test_is_from_train=drawn_from_train,
    )


@given(seed=SEEDS)
def test_clean_drops_training_images_from_the_test_images_and_paper_keeps_them(seed: int) -> None:
    mixed = images(drawn_from_train=True)
    clean, paper = (split_images(mixed, seed, test_pool=pool) for pool in ("clean", "paper"))
    train = set(mixed.train_source[clean.train].tolist())
    assert paper.test.tolist() == list(range(10))
    assert clean.test.tolist() == [i for i, row in enumerate(mixed.test_source.tolist()) if row not in train]
    assert clean.train.tolist() == paper.train.tolist()
    separate = split_images(images(drawn_from_train=False), seed, test_pool="clean")
    assert separate.test.tolist() == list(range(10)), "equal numbers in two source files are not the same image"


# -- the catalogue and the files ---------------------------------------------------------------------------------------


def check_sizes(dataset: Dataset, root: Path) -> None:
    loaded = dataset.load(root, 1)
    classes = range(dataset.classes)
    assert tuple(int((loaded.train_labels == label).sum()) for label in classes) == dataset.pool_per_class
    assert len(loaded.test_NHWC) == len(loaded.test_labels) == dataset.test_count
    for pixels in (loaded.train_NHWC, loaded.test_NHWC):
        assert pixels.shape[1:] == (dataset.size, dataset.size, dataset.channels)
        assert pixels.dtype == np.uint8
    rows = split_images(loaded, 1, test_pool="paper")
    for subset, sizes in ((rows.train, dataset.train_per_class), (rows.validation, dataset.validation_per_class)):
        assert tuple(int((loaded.train_labels[subset] == label).sum()) for label in classes) == sizes


def test_the_catalogue_knows_the_sizes_of_the_digits() -> None:
    check_sizes(DATASETS["digits"], Path("no folder is read"))


@pytest.mark.data
@pytest.mark.parametrize("name", ["cifar5", "cifar10", "cifar100"])
def test_the_catalogue_knows_the_sizes_of_cifar(name: str, cifar: Path) -> None:
    check_sizes(DATASETS[name], cifar)


def test_mean_and_std_of_the_digits_are_those_of_the_pool() -> None:
    digits = DATASETS["digits"]
    pixels = digits.load(Path(), 1).train_NHWC / 255
    assert digits.mean == pytest.approx([pixels.mean()], abs=1e-3)
    assert digits.std == pytest.approx([pixels.std()], abs=1e-3)


def test_the_folder_of_the_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPROB_DATA", "~/images")
    assert data_root() == Path.home() / "images"
    monkeypatch.setenv("ADAPROB_DATA", "")
    assert data_root() == Path("data")
    monkeypatch.delenv("ADAPROB_DATA")
    assert data_root() == Path("data")


def test_data_list_shows_each_data_set_its_sizes_and_whether_it_is_available(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    assert cli.main(["data", "list"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert str(tmp_path) in first
    line_of = {line.split()[0]: line for line in lines}
    assert line_of.keys() == DATASETS.keys()
    assert line_of["digits"].split()[1:8] == ["1154", "train", "283", "validation", "360", "test", "available"]
    assert "40000 train" in line_of["cifar10"]
    assert "missing or corrupt" in line_of["cifar10"]


def test_data_verify_succeeds_only_if_all_files_are_present(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    assert cli.main(["data", "verify", "digits"]) == 0
    assert capsys.readouterr().out == "verified: digits\n"
    assert cli.main(["data", "verify", "digits", "cifar100", "cifar10"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 2


@pytest.mark.data
def test_data_verify_accepts_the_real_files(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cifar: Path
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(cifar))
    assert cli.main(["data", "verify", "cifar10"]) == 0
    assert capsys.readouterr().out == "verified: cifar10\n"


def test_data_indices_writes_every_index(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["data", "indices", "digits", "--seed", "2", "--class", "3", "--count", "5"]
    assert cli.main(command) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["forget"] == {"kind": "selective", "class": 3, "count": 5}
    assert sorted(table["train_source"] + table["validation_source"]) == list(range(1437))
    assert table["test_source"] == list(range(1437, 1797))
    assert sorted(table["forget_positions"] + table["retain_positions"]) == list(range(len(table["train_source"])))
    labels = DATASETS["digits"].load(Path(), 1).train_labels
    assert {int(labels[row]) for row in table["forget_source"]} == {3}
    assert [table["train_source"][row] for row in table["forget_positions"]] == table["forget_source"]
    assert set(table["replacement_positions"]) <= set(table["retain_positions"])
    out = tmp_path / "indices.json"
    assert cli.main([*command, "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(out.read_text()) == table


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def digits() -> Subset:
    return load_subsets(DATASETS["digits"], Path(), 1, test_pool="clean", device=CPU).train


def test_batches_are_normalized_pixels_of_the_rows_they_name(digits: Subset) -> None:
    dataset = DATASETS["digits"]
    loaded = dataset.load(Path(), 1)
    rows = split_images(loaded, 1, test_pool="clean").train
    (batch,) = digits.select(np.array([5, 0, 5, 700])).batches(10)
    image_rows = rows[[5, 0, 5, 700]]
    pixels = loaded.train_NHWC[image_rows].astype(np.float64)
    expected = ((pixels / 255 - np.array(dataset.mean)) / np.array(dataset.std)).transpose(0, 3, 1, 2)
    assert batch.images.dtype == torch.float32
    # The tolerance is that of one multiplication and one addition in float32 of numbers up to 3.
    np.testing.assert_allclose(batch.images.numpy(), expected, atol=1e-6)
    assert batch.rows.tolist() == [5, 0, 5, 700]
    assert batch.labels.tolist() == loaded.train_labels[image_rows].tolist()


def test_each_channel_is_normalized_by_its_own_mean_and_std() -> None:
    pixels = DeviceImages(
        torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8),
        torch.tensor([0]),
        torch.tensor([1.0, 2.0, 4.0]) / 255,
        torch.tensor([-1.0, -2.0, -3.0]),
    )
    assert pixels.select(torch.tensor([0])).flatten().tolist() == pytest.approx([-1.0, 2 * 0.2 - 2, 1.0])


@pytest.mark.parametrize("size", [1, 7, 128, 1154, 5000])
def test_batches_in_order_cover_all_rows_and_keep_the_last(digits: Subset, size: int) -> None:
    if size == 1:
        digits = digits.select(np.arange(20))
    batches = list(digits.batches(size))
    assert torch.cat([batch.rows for batch in batches]).tolist() == digits.rows.tolist()
    assert [len(batch.labels) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert 0 < len(batches[-1].labels) <= size


def test_a_shuffle_covers_each_row_once_and_only_the_generator_decides_it(digits: Subset) -> None:
    def rows(seed: int) -> list[int]:
        torch.manual_seed(seed * 7)  # the global generator has no effect
        return torch.cat([b.rows for b in digits.batches(128, torch.Generator().manual_seed(seed))]).tolist()

    assert sorted(rows(1)) == digits.rows.tolist() != rows(1)
    assert rows(1) == rows(1) != rows(2)


def test_two_passes_of_one_generator_differ(digits: Subset) -> None:
    generator = torch.Generator().manual_seed(1)
    one, two = (torch.cat([b.rows for b in digits.batches(128, generator)]).tolist() for _ in range(2))
    assert one != two
    assert sorted(one) == sorted(two)


def test_shuffled_images_and_labels_go_with_their_rows(digits: Subset) -> None:
    (all_rows,) = digits.batches(len(digits))
    for batch in digits.batches(100, torch.Generator().manual_seed(3)):
        assert torch.equal(batch.images, all_rows.images[batch.rows])
        assert torch.equal(batch.labels, all_rows.labels[batch.rows])


@pytest.mark.data
def test_cifar5_batches_are_the_images_of_cifar10(cifar: Path) -> None:
    train = load_subsets(DATASETS["cifar5"], cifar, 3, test_pool="clean", device=CPU).train
    source = DATASETS["cifar10"].load(cifar, 1).train_NHWC
    (batch,) = train.select(np.array(FORGET_SMALL[:3])).batches(8)
    mean, std = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2023, 0.1994, 0.2010])
    expected = ((source[[17438, 29336, 25244]] / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(batch.images.numpy(), expected, atol=1e-6)
    assert batch.labels.tolist() == [0, 0, 0]
