"""The substitutes for Lacuna, and Lacuna drawn from a folder in VGGFace2's layout."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from trees import write_classes, write_image

from adaprob_ray.catalogue import DATASETS
from adaprob_ray.data import faces, lacuna
from adaprob_ray.data.dataset import RawImages
from adaprob_ray.data.faces import IdentityFolder, draw_lacuna5, split_photographs
from adaprob_ray.data.lacuna import DrawSizes, draw_clean, draw_code, prepare, read_table
from adaprob_ray.data.prepared import read, read_manifest, verify
from adaprob_ray.data.split import split_images
from adaprob_ray.errors import InputError

SUBSTITUTES = ("faces5", "faces10", "faces100")
LACUNAS = tuple(f"lacuna{classes}{end}" for classes in (5, 10, 100) for end in ("", "_code"))


# -- the catalogue -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lacuna5", "lacuna10", "lacuna100", "faces5", "faces10"])
def test_sizes_are_those_of_the_protocol(name: str) -> None:
    dataset = DATASETS[name]
    train, validation, test = {5: (100, 25, 500), 10: (320, 80, 1000), 100: (320, 80, 10_000)}[dataset.classes]
    assert set(dataset.train_per_class) == {train}
    assert set(dataset.validation_per_class) == {validation}
    assert dataset.test_count == (980 if name == "faces10" else test)  # three of the ten have under 500 images


@pytest.mark.parametrize("name", [*SUBSTITUTES, *LACUNAS])
def test_each_is_normalized_as_lacuna_and_pretrained_on_its_own_hundred(name: str) -> None:
    dataset = DATASETS[name]
    assert dataset.name == name
    assert (dataset.mean, dataset.std) == ((0.382, 0.420, 0.502), (0.276, 0.279, 0.302))
    hundred = name.replace(str(dataset.classes), "100")
    assert dataset.pretrain_on == (None if dataset.classes == 100 else hundred)
    assert hundred in DATASETS


@pytest.mark.parametrize("name", [*SUBSTITUTES, *LACUNAS])
def test_missing_files_give_one_line_with_advice(name: str, tmp_path: Path) -> None:
    dataset = DATASETS[name]
    line = dataset.verify(tmp_path)
    assert line is not None
    assert "\n" not in line
    assert str(tmp_path) in line
    assert ("data prepare" if name.startswith("lacuna") else "ADAPROB_DATA") in line
    with pytest.raises(InputError):
        dataset.load(tmp_path, 1)


# -- the substitutes for Lacuna ----------------------------------------------------------------------------------------


@given(copies=st.lists(st.integers(1, 3), min_size=10, max_size=60), seed=st.integers(0, 1000), data=st.data())
def test_no_photograph_is_on_both_sides(copies: list[int], seed: int, data: st.DataObject) -> None:
    photos = np.random.RandomState(seed).permutation(np.repeat(np.arange(len(copies)), copies)).astype(str).tolist()
    pool = data.draw(st.integers(1, len(photos) - 1))
    test = data.draw(st.integers(1, len(photos) - pool))
    train_rows, test_rows = split_photographs(photos, pool, test, np.random.RandomState(seed))
    assert len(train_rows) <= pool
    assert len(test_rows) <= test
    assert train_rows == sorted(set(train_rows))
    assert test_rows == sorted(set(test_rows))
    sides = [{photos[row] for row in rows} for rows in (train_rows, test_rows)]
    assert not sides[0] & sides[1]
    assert (train_rows, test_rows) == split_photographs(photos, pool, test, np.random.RandomState(seed))


TINY = IdentityFolder(name="tiny", folder="faces/tiny", image_counts=(9, 6), pool_counts=(5, 4), test_counts=(3, 2))


def tiny_faces(root: Path) -> None:
    """Two identities; of the first, images 0 and 1 are one photograph."""
    for name, photos in (("id00", (0, 0, *range(2, 9))), ("id01", range(6))):
        for number, photo in enumerate(photos):
            write_image(root / "faces" / "tiny" / name / f"{photo:05d}_{number:05d}.png")


def test_wrong_image_counts_are_named_with_the_expected_ones(tmp_path: Path) -> None:
    tiny_faces(tmp_path)
    assert faces._verify(TINY, tmp_path) is None
    images = faces._load(TINY, tmp_path, 1)
    assert np.bincount(images.train_labels).tolist() == [5, 4]
    assert np.bincount(images.test_labels).tolist() == [3, 2]
    (tmp_path / "faces" / "tiny" / "id01" / "00003_00003.png").unlink()
    line = faces._verify(replace(TINY, name="less"), tmp_path)
    assert line is not None
    assert "id01 must have 6, got 5" in line
    more = replace(TINY, image_counts=(9, 5, 4))
    assert "must have 3 identities, got 2" in str(faces._verify(more, tmp_path))
    with pytest.raises(InputError, match="must have 3 identities, got 2"):
        faces._load(more, tmp_path, 1)


def test_photographs_that_cannot_be_split_are_an_error(tmp_path: Path) -> None:
    for number in range(6):
        write_image(tmp_path / "faces" / "tiny" / "id00" / f"{number // 2:05d}_{number:05d}.png")
    odd = replace(TINY, image_counts=(6,), pool_counts=(3,), test_counts=(3,))
    with pytest.raises(InputError, match=r"must have 3 \+ 3 images without a photograph in common, got 2 \+ 2"):
        faces._load(odd, tmp_path, 1)


def ten() -> RawImages:
    """Ten classes of 400 pool images and 90 to 100 test images, which `train_source` and `test_source` identify."""
    train_labels = np.repeat(np.arange(10), 400)
    test_labels = np.repeat(np.arange(10), [100, 98, 90, 100, 100, 100, 100, 96, 93, 91])
    count = len(train_labels)
    return RawImages(
        train_NHWC=(np.arange(count) % 251).astype(np.uint8).reshape(-1, 1, 1, 1),
        train_labels=train_labels,
        train_source=np.arange(count),
        test_NHWC=(np.arange(len(test_labels)) % 241).astype(np.uint8).reshape(-1, 1, 1, 1),
        test_labels=test_labels,
        test_source=count + np.arange(len(test_labels)),
        test_is_from_train=True,
    )


def test_five_are_drawn_pools_first_then_a_permutation_of_the_test_images() -> None:
    ten_classes, five = ten(), draw_lacuna5(ten(), 3)
    generator = np.random.RandomState(3)
    pools = [generator.choice(np.arange(400 * c, 400 * (c + 1)), 125, replace=False) for c in range(5)]
    starts = np.concatenate([[0], np.cumsum(np.bincount(ten_classes.test_labels))])
    tests = [generator.permutation(np.arange(starts[c], starts[c + 1])) for c in range(5)]
    assert five.train_source.tolist() == np.concatenate(pools).tolist()
    assert five.test_source.tolist() == (4000 + np.concatenate(tests)).tolist()
    assert np.array_equal(five.train_NHWC, ten_classes.train_NHWC[five.train_source])
    assert five.train_labels.tolist() == np.repeat(np.arange(5), 125).tolist()
    assert np.bincount(five.test_labels).tolist() == [100, 98, 90, 100, 100]


def test_the_draw_of_five_depends_on_the_seed_alone() -> None:
    one, again, other = (draw_lacuna5(ten(), seed) for seed in (1, 1, 2))
    assert one.train_source.tolist() == again.train_source.tolist() != other.train_source.tolist()
    assert sorted(one.test_source) == sorted(other.test_source), "all test images, whatever the seed"
    assert one.test_source.tolist() == again.test_source.tolist() != other.test_source.tolist()


# -- the real images ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real() -> Path:
    root = Path(os.environ.get("ADAPROB_DATA", "./data")).expanduser().absolute()
    for folder in ("faces/lacuna10", "faces/lacuna100"):
        if not (root / folder).is_dir():
            pytest.skip(f"no {folder} under ADAPROB_DATA ({root})")
    return root


@pytest.mark.data
@pytest.mark.parametrize("name", SUBSTITUTES)
def test_the_catalogue_has_the_sizes_of_the_substitutes(name: str, real: Path) -> None:
    dataset = DATASETS[name]
    assert dataset.verify(real) is None
    loaded = dataset.load(real, 1)
    assert np.bincount(loaded.train_labels).tolist() == list(dataset.pool_per_class)
    assert len(loaded.test_NHWC) == len(loaded.test_labels) == dataset.test_count
    assert loaded.train_NHWC.shape[1:] == loaded.test_NHWC.shape[1:] == (32, 32, 3)
    assert not set(loaded.train_source) & set(loaded.test_source)
    rows = split_images(loaded, 1, test_pool="clean")
    assert np.bincount(loaded.train_labels[rows.train]).tolist() == list(dataset.train_per_class)
    assert len(rows.test) == dataset.test_count


@pytest.mark.data
def test_images_and_labels_are_those_of_the_folders_and_photographs_are_on_one_side(real: Path) -> None:
    photos: dict[bytes, set[tuple[str, str]]] = defaultdict(set)
    folders = sorted(folder.name for folder in (real / "faces/lacuna10").iterdir())
    for path in (real / "faces/lacuna10").glob("*/*.png"):
        with Image.open(path) as image:
            photos[np.asarray(image).tobytes()].add((path.parent.name, path.stem.split("_")[0]))
    loaded = DATASETS["faces10"].load(real, 1)
    sides = []
    for pixels, labels in ((loaded.train_NHWC, loaded.train_labels), (loaded.test_NHWC, loaded.test_labels)):
        side = set()
        for image, label in zip(pixels, labels, strict=True):
            sources = photos[image.tobytes()]
            assert {name for name, _ in sources} == {folders[label]}
            side |= sources
        sides.append(side)
    assert not sides[0] & sides[1]


@pytest.mark.data
def test_faces5_is_drawn_from_the_subsets_of_faces10(real: Path) -> None:
    ten_classes = DATASETS["faces10"].load(real, 1)
    one, other = (DATASETS["faces5"].load(real, seed) for seed in (3, 4))
    assert set(one.train_source) <= set(ten_classes.train_source)
    assert set(one.test_source) <= set(ten_classes.test_source)
    assert one.train_source.tolist() != other.train_source.tolist()
    assert np.bincount(one.test_labels).tolist() == [100] * 5


@pytest.mark.data
def test_no_image_to_pretrain_on_is_one_of_the_ten(real: Path) -> None:
    ten_images, hundred_images = (
        {image.tobytes() for images in (loaded.train_NHWC, loaded.test_NHWC) for image in images}
        for loaded in (DATASETS[name].load(real, 1) for name in ("faces10", "faces100"))
    )
    assert not ten_images & hundred_images


# -- Lacuna from VGGFace2 ----------------------------------------------------------------------------------------------

FULL_COUNTS = {f"n{number:06d}": 480 + number for number in range(200)}  # the first twenty have too few images
SMALL = DrawSizes(small=2, large=3, pool=4, test=2)


def test_clean_draws_people_and_images_once_and_the_hundred_without_the_ten() -> None:
    ten_names, ten_rows = draw_clean(FULL_COUNTS, 10, seed=1)
    hundred_names, hundred_rows = draw_clean(FULL_COUNTS, 100, seed=1)
    assert len(set(ten_names)) == 10
    assert len(set(hundred_names)) == 100
    assert not set(ten_names) & set(hundred_names)
    for names, rows in ((ten_names, ten_rows), (hundred_names, hundred_rows)):
        for name, positions in zip(names, rows, strict=True):
            assert FULL_COUNTS[name] >= 500
            assert len(set(positions)) == len(positions) == 500
            assert min(positions) >= 0
            assert max(positions) < FULL_COUNTS[name]
    assert draw_clean(FULL_COUNTS, 10, seed=1) == (ten_names, ten_rows)
    assert draw_clean(FULL_COUNTS, 10, seed=2)[0] != ten_names


def test_code_draws_with_replacement_and_the_ten_begin_the_hundred() -> None:
    ten_names, ten_rows = draw_code(FULL_COUNTS, FULL_COUNTS, 10, seed=1)
    hundred_names, hundred_rows = draw_code(FULL_COUNTS, FULL_COUNTS, 100, seed=1)
    assert ten_names == hundred_names[:10]
    assert ten_rows != hundred_rows[:10], "the images are drawn again"
    assert len(set(hundred_names)) < len(hundred_names) == 100
    assert all(len(positions) == 500 > len(set(positions)) for positions in hundred_rows)
    assert draw_code(FULL_COUNTS, FULL_COUNTS, 10, seed=1) == (ten_names, ten_rows)


def test_code_draws_identities_by_the_table_that_have_a_folder() -> None:
    listed = {"n1": 600, "n2": 600, "n3": 499, "n4": 700}
    names, rows = draw_code({"n1": 20, "n3": 900}, listed, 10, seed=1)
    assert set(names) == {"n1"}
    assert max(max(positions) for positions in rows) < 20
    with pytest.raises(InputError, match="must have at least 1 identities with at least 500 images, got 0"):
        draw_code({"n3": 900}, listed, 10, seed=1)


def test_too_few_identities_are_an_error_with_their_number() -> None:
    with pytest.raises(
        InputError, match="must have at least 110 identities with at least 500 images, got 3 among 4 folders"
    ):
        draw_clean({"a": 500, "b": 501, "c": 900, "d": 499}, 10, seed=1)


@pytest.fixture
def vggface(tmp_path: Path) -> Path:
    """Seven people of six to nine images in VGGFace2's layout, one of whom has too few, and the table."""
    write_classes(tmp_path / "vggface2" / "train", (6, 9, 3, 7, 6, 8, 6), suffix=".jpg")
    write_image(tmp_path / "vggface2" / "train" / "c0" / "000.jpg", size=(60, 90))
    lines = [f'c{label}, "A, person", {count}, 1, m' for label, count in enumerate((6, 9, 3, 7, 6, 8, 6, 400))]
    table = "Class_ID, Name, Sample_Num, Flag, Gender\n" + "\n".join(lines) + "\n"
    (tmp_path / "vggface2" / "identity_meta.csv").write_text(table)
    return tmp_path


def test_the_table_is_read_with_its_blanks_and_quoted_names(vggface: Path) -> None:
    table = read_table(vggface / "vggface2" / "identity_meta.csv")
    assert table == dict(zip((f"c{i}" for i in range(8)), (6, 9, 3, 7, 6, 8, 6, 400), strict=True))
    (vggface / "wrong.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"wrong\.csv: must be VGGFace2's identity table"):
        read_table(vggface / "wrong.csv")


def images_of(root: Path, name: str) -> tuple[RawImages, list[str], dict[str, Any]]:
    manifest = read_manifest(root, name)
    assert manifest is not None
    with np.load(root / "prepared" / f"{name}.npz") as arrays:
        return read(root, name), arrays["files_F"].tolist(), manifest


@pytest.mark.parametrize("variant", ["clean", "code"])
def test_prepare_writes_pixels_labels_and_source_files(variant: str, vggface: Path) -> None:
    prepare(variant, 2, vggface, sizes=SMALL)
    images, files, manifest = images_of(vggface, "lacuna2_code" if variant == "code" else "lacuna2")
    assert (manifest["variant"], manifest["seed"], manifest["pool_per_class"]) == (variant, 1, [4, 4])
    assert images.test_labels.tolist() == [0, 0, 1, 1]
    for image, label, number in zip(images.train_NHWC, images.train_labels, images.train_source, strict=True):
        path = Path(files[number])
        assert path.parent.name == manifest["classes"][label]
        with Image.open(path) as source:
            assert np.array_equal(image, np.asarray(source.resize((32, 32))))


def test_clean_shares_nothing_and_code_repeats_are_dropped_by_a_clean_test_pool(vggface: Path) -> None:
    prepare("clean", 2, vggface, sizes=SMALL)
    prepare("clean", 3, vggface, sizes=SMALL)
    small, small_files, _ = images_of(vggface, "lacuna2")
    large, large_files, _ = images_of(vggface, "lacuna3")
    assert len(set(small.train_source) | set(small.test_source)) == 12
    assert len(set(large.train_source) | set(large.test_source)) == 18
    assert not {Path(f).parent for f in small_files} & {Path(f).parent for f in large_files}
    prepare("code", 2, vggface, sizes=replace(SMALL, pool=5, test=1), seed=1)
    code, _, _ = images_of(vggface, "lacuna2_code")
    paper, clean = (split_images(code, 1, test_pool=pool).test for pool in ("paper", "clean"))
    assert len(paper) == 2
    repeated = np.isin(code.test_source, code.train_source[split_images(code, 1, test_pool="paper").train])
    assert clean.tolist() == np.flatnonzero(~repeated).tolist()


def test_prepared_files_of_another_size_or_variant_are_rejected(vggface: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lacuna, "_name", lambda variant, classes: "lacuna10")
    prepare("code", 2, vggface, sizes=SMALL)
    line = DATASETS["lacuna10"].verify(vggface)
    assert line is not None
    assert "pool_per_class: must be [400, 400," in line
    assert "got [4, 4]" in line
    expected = {"pool_per_class": [4, 4], "variant": "clean"}
    assert "variant: must be clean, got code" in str(verify(vggface, "lacuna10", expected))
    assert verify(vggface, "lacuna10", {**expected, "variant": "code"}) is None


def test_a_draw_from_too_few_identities_writes_nothing(vggface: Path) -> None:
    entry = DATASETS["lacuna10"].prepare
    assert isinstance(entry, partial)
    with pytest.raises(InputError, match="got 0 among 7 folders"):
        entry(vggface)
    assert not (vggface / "prepared").exists()
    (vggface / "vggface2" / "identity_meta.csv").unlink()
    with pytest.raises(InputError, match="identity_meta"):
        prepare("code", 2, vggface, sizes=SMALL)


def test_the_manifest_holds_the_seed_and_the_identities(vggface: Path) -> None:
    prepare("clean", 3, vggface, sizes=SMALL, seed=7)
    text = (vggface / "prepared" / "lacuna3.json").read_text()
    assert json.loads(text)["seed"] == 7
    assert len(set(json.loads(text)["classes"])) == 3
