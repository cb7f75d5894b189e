"""A user's folder of images: how it is read, what is rejected, and how it becomes a data set of a sweep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from trees import write_classes, write_image

from adaprob_ray import cli
from adaprob_ray.catalogue import BUILT_IN, DATASETS, REGISTRY, register_prepared_folders
from adaprob_ray.data.folder import load_folder, prepare_folder
from adaprob_ray.data.split import split_images
from adaprob_ray.errors import InputError
from adaprob_ray.sweep.sweep import Sweep

COUNTS = (10, 7, 23)


@pytest.fixture
def split_tree(tmp_path: Path) -> Path:
    """ROOT/pets with train and test."""
    write_classes(tmp_path / "pets" / "train", COUNTS)
    write_classes(tmp_path / "pets" / "test", (3, 1, 2), suffix=".JPG")
    return tmp_path / "pets"


@pytest.fixture
def class_tree(tmp_path: Path) -> Path:
    """ROOT/pets with classes alone."""
    write_classes(tmp_path / "pets", COUNTS)
    return tmp_path / "pets"


@pytest.fixture(autouse=True)
def _clean_catalogue(tmp_path: Path) -> Any:
    yield
    register_prepared_folders(tmp_path / "nothing")
    assert DATASETS.keys() == BUILT_IN


# -- reading -----------------------------------------------------------------------------------------------------------


def test_train_and_test_folders_are_read_as_they_are(split_tree: Path) -> None:
    images, classes, files, _ = load_folder(split_tree)
    assert classes == ["c0", "c1", "c2"]
    assert np.bincount(images.train_labels).tolist() == list(COUNTS)
    assert np.bincount(images.test_labels).tolist() == [3, 1, 2]
    for pixels, labels, source in (
        (images.train_NHWC, images.train_labels, images.train_source),
        (images.test_NHWC, images.test_labels, images.test_source),
    ):
        for image, label, number in zip(pixels, labels, source, strict=True):
            path = Path(files[number])
            assert path.parent.name == classes[label]
            assert np.array_equal(image, np.asarray(Image.open(path)))
    assert {Path(files[i]).parts[-3] for i in images.train_source} == {"train"}
    assert {Path(files[i]).parts[-3] for i in images.test_source} == {"test"}


def test_a_folder_without_a_test_folder_is_split_by_the_seed_alone(class_tree: Path) -> None:
    one, again, other = (load_folder(class_tree, seed=seed) for seed in (1, 1, 2))
    assert one.files == again.files == other.files
    assert np.array_equal(one.images.test_NHWC, again.images.test_NHWC)
    assert one.images.test_source.tolist() == again.images.test_source.tolist() != other.images.test_source.tolist()
    assert np.bincount(one.images.test_labels).tolist() == [2, 1, 4]
    together = [*one.images.train_source, *one.images.test_source]
    assert sorted(together) == list(range(sum(COUNTS))), "each image is in exactly one subset"


def test_images_of_any_size_and_mode_become_rgb_of_one_size(split_tree: Path) -> None:
    odd = split_tree / "train" / "c0" / "999.png"
    write_image(odd, size=(50, 20), mode="L")
    images, _, files, _ = load_folder(split_tree)
    (row,) = np.flatnonzero(images.train_source == files.index(str(odd)))
    expected = np.asarray(Image.open(odd).convert("RGB").resize((32, 32)))
    assert np.array_equal(images.train_NHWC[row], expected)
    assert load_folder(split_tree, size=8).images.test_NHWC.shape == (6, 8, 8, 3)


def test_images_of_one_size_keep_it_and_of_several_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    for label in ("a", "b"):
        for number in range(8):
            write_image(tmp_path / "pets" / label / f"{number}.png", size=(20, 20))
    assert cli.main(["data", "prepare", "pets"]) == 0
    hint = "pets: all images are 20×20 pixels and were scaled; to keep their size: adaprob-ray data prepare pets --size own"
    assert hint in capsys.readouterr().out.splitlines()
    assert cli.main(["data", "prepare", "pets", "--size", "own"]) == 0
    assert "to keep their size" not in capsys.readouterr().out
    register_prepared_folders(tmp_path)
    assert DATASETS["pets"].size == 20
    images = load_folder(tmp_path / "pets", size="own").images
    with Image.open(tmp_path / "pets" / "a" / "0.png") as image:
        pixels = np.asarray(image)
    assert any(np.array_equal(pixels, one) for one in [*images.train_NHWC, *images.test_NHWC])
    write_image(tmp_path / "pets" / "a" / "8.png", size=(24, 20))
    (tmp_path / "pets" / "a" / "9.png").write_bytes(b"no image")
    assert cli.main(["data", "prepare", "pets", "--size", "own"]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'pets'}: must have images of one size, as wide as high, for --size own, got 20×20 (16), "
        "24×20 (1); give a number of pixels to scale them to, as --size 32\n"
    )
    with pytest.raises(SystemExit):
        cli.main(["data", "prepare", "pets", "--size", "big"])
    assert "must be a number of pixels or own, got 'big'" in capsys.readouterr().err


def test_hidden_files_and_files_other_than_images_are_ignored(split_tree: Path) -> None:
    before = load_folder(split_tree).files
    for name in ("train/c0/notes.txt", "train/c0/.hidden.png", "train/.cache/x.png", "readme.md"):
        (split_tree / name).parent.mkdir(exist_ok=True)
        (split_tree / name).write_text("nothing to see")
    assert load_folder(split_tree).files == before


# -- what is rejected --------------------------------------------------------------------------------------------------


def _drop_test(tree: Path) -> None:
    shutil.rmtree(tree / "test")


def _drop_class(tree: Path) -> None:
    shutil.rmtree(tree / "test" / "c1")


def _empty_class(tree: Path) -> None:
    (tree / "train" / "c7").mkdir()


def _break_image(tree: Path) -> None:
    (tree / "train" / "c2" / "004.png").write_bytes(b"no image")


def _cut_image(tree: Path) -> None:
    path = tree / "test" / "c0" / "001.JPG"
    path.write_bytes(path.read_bytes()[:300])


def _small_class(tree: Path) -> None:
    for number in range(3, 7):
        (tree / "train" / "c1" / f"{number:03d}.png").unlink()


def _one_class(tree: Path) -> None:
    for subset in ("train", "test"):
        for name in ("c1", "c2"):
            shutil.rmtree(tree / subset / name)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ("no folder", "pets", "one folder per class")),
        (_drop_test, ("no folder", "pets/test")),
        (_drop_class, ("same classes", "c1")),
        (_empty_class, ("pets/train/c7", "got none", ".png")),
        (_break_image, ("c2/004.png", "cannot be read")),
        (_cut_image, ("c0/001.JPG", "cannot be read")),
        (_small_class, ("class c1: must have at least 5 images", "got 3")),
        (_one_class, ("at least two classes", "c0")),
    ],
)
def test_an_invalid_folder_is_rejected_by_name(
    split_tree: Path, spoil: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    spoil(split_tree)
    with pytest.raises(InputError) as caught:
        load_folder(split_tree)
    (line,) = caught.value.faults
    for word in words:
        assert word in line


def test_all_unreadable_images_are_named_at_once(split_tree: Path) -> None:
    _break_image(split_tree)
    _cut_image(split_tree)
    with pytest.raises(InputError) as caught:
        load_folder(split_tree)
    assert len(caught.value.faults) == 2


# -- a data set of the catalogue ---------------------------------------------------------------------------------------


def test_a_prepared_folder_has_its_sizes_in_its_manifest(class_tree: Path) -> None:
    root = class_tree.parent
    images = load_folder(class_tree).images
    prepare_folder("pets", root)
    shutil.rmtree(class_tree)  # a plan and a worker need what was prepared, and no image file
    register_prepared_folders(root)
    pets = DATASETS["pets"]
    assert pets.pool_per_class == (8, 6, 19)
    assert (pets.test_count, pets.size, pets.channels, pets.classes) == (7, 32, 3, 3)
    pixels = images.train_NHWC / 255
    assert pets.mean == pytest.approx(pixels.mean((0, 1, 2)))
    assert pets.std == pytest.approx(pixels.std((0, 1, 2)))
    loaded = pets.load(root, 1)
    assert np.array_equal(loaded.train_NHWC, images.train_NHWC)
    assert np.array_equal(loaded.test_labels, images.test_labels)
    rows = split_images(loaded, 1, test_pool="clean")
    assert np.bincount(loaded.train_labels[rows.train]).tolist() == list(pets.train_per_class)
    assert len(rows.test) == pets.test_count


def test_different_pixels_under_one_name_change_the_revision(class_tree: Path) -> None:
    root = class_tree.parent
    revisions = []
    for again in (False, False, True):
        if again:
            write_image(class_tree / "c0" / "000.png", size=(31, 31))
        prepare_folder("pets", root)
        register_prepared_folders(root)
        revisions.append(DATASETS["pets"])
    assert revisions[0] is revisions[1], "the same images are the same data set, and keep their caches"
    assert revisions[2].revision != revisions[0].revision
    assert np.array_equal(revisions[2].load(root, 1).train_NHWC, load_folder(class_tree).images.train_NHWC)


def test_a_flat_channel_is_not_divided_by_zero(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(10):
            path = tmp_path / "flat" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (7, number, 0)).save(path)
    prepare_folder("flat", tmp_path)
    register_prepared_folders(tmp_path)
    assert DATASETS["flat"].std[0] == DATASETS["flat"].std[2] == 1.0


def test_prepare_list_verify_and_plan_know_a_users_folder(
    split_tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(split_tree.parent))
    assert cli.main(["data", "verify", "pets"]) == 2
    assert "unknown data set 'pets'" in capsys.readouterr().err
    assert cli.main(["data", "prepare", "pets", "--size", "16"]) == 0
    assert cli.main(["data", "verify", "pets"]) == 0
    ready, _, row, verified = capsys.readouterr().out.splitlines()
    assert (ready, verified) == ("pets: ready", "verified: pets")
    assert row.split() == ["pets", "46", "46", "0", "0", "0"]
    assert cli.main(["data", "list"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[0] == "pets")
    assert line.split()[1:8] == ["33", "train", "7", "validation", "6", "test", "available"]
    sweep = {
        "name": "mine",
        "grid": {
            "dataset": "pets",
            "architecture": {"name": "allcnn", "filters": 0.1},
            "forget": {"kind": "selective", "class": 2, "count": 19},
            "seed": 1,
        },
        "methods": {"finetune": {"epochs": 1}},
        "metrics": ["errors"],
    }
    cells = Sweep.parse(yaml.safe_dump(sweep), REGISTRY).cells
    assert {cell.revisions.get("dataset:pets") for cell in cells.values()} == {DATASETS["pets"].revision, None}
    sweep["grid"]["forget"]["count"] = 20  # type: ignore[index]
    with pytest.raises(InputError, match="count must be 1 to 19"):
        Sweep.parse(yaml.safe_dump(sweep), REGISTRY)


def test_prepared_files_are_verified(
    split_tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = split_tree.parent
    monkeypatch.setenv("ADAPROB_DATA", str(root))
    prepare_folder("pets", root)
    register_prepared_folders(root)
    pets, arrays = DATASETS["pets"], root / "prepared" / "pets.npz"
    arrays.write_bytes(arrays.read_bytes()[:-1])
    assert "corrupt" in str(pets.verify(root))
    with pytest.raises(InputError, match="prepare pets"):
        pets.load(root, 1)
    (root / "prepared" / "pets.json").write_text(json.dumps({"name": "pets"}))
    assert cli.main(["data", "list"]) == 2
    assert "must be a manifest" in capsys.readouterr().err
    assert cli.main(["data", "prepare", "pets"]) == 0


@pytest.mark.parametrize("name", ["no such", "prepared", "-x", "a" * 41])
def test_an_invalid_data_set_name_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="name: must be up to 40 letters"):
        prepare_folder(name, tmp_path)


def test_prepare_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    for name, words in (("faces10", "faces/lacuna10"), ("lacuna10", "vggface2/train"), ("pets", "unknown data set")):
        assert cli.main(["data", "prepare", name]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert name in line
        assert words in line
