"""Substitutes for Lacuna, which is drawn from VGGFace2 and no longer available: `faces5`, `faces10`, `faces100`.

They keep the counts of protocol §1.1 where there are enough images, but show other people: no table may call them Lacuna.

    ROOT/faces/lacuna10/IDENTITY/PHOTO_IMAGE.png     10 identities of Glint360k: faces10, and faces5 drawn from it
    ROOT/faces/lacuna100/IDENTITY/PHOTO_IMAGE.png    100 identities of LFW, none of them above: faces100, to pretrain on

Images of one identity with the same PHOTO are copies of one photograph: all of them train, or all of them test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path

import numpy as np

from adaprob_ray.data.dataset import Dataset, Integers, RawImages
from adaprob_ray.data.folder import assemble, list_classes
from adaprob_ray.errors import InputError

# Mean and standard deviation of Lacuna (protocol §1.4). The authors computed them on BGR and apply them to RGB.
MEAN = (0.382, 0.420, 0.502)
STD = (0.276, 0.279, 0.302)

# Height and width in pixels, as in all of the paper's data sets.
SIZE = 32

# Images of each identity in Lacuna-10 and Lacuna-100 (protocol §1.1): to train and validate, and to test.
POOL_PER_CLASS, TEST_PER_CLASS = 400, 100

# Lacuna-5 (protocol §1.3): identities, and images of each to train and validate.
LACUNA5_CLASSES, LACUNA5_POOL_PER_CLASS = 5, 125

# The photographs that test are chosen once, with this seed, and are the same for all training seeds.
SPLIT_SEED = 1

# Images of each identity, in the order of the folders' names.
# fmt: off
GLINT_IMAGE_COUNTS = (805, 768, 752, 751, 729, 695, 558, 496, 493, 491)
LFW_IMAGE_COUNTS = (
    530, 236, 144, 121, 109, 77, 71, 60, 55, 53, 52, 52, 49, 48, 44, 42, 42, 41, 41, 39, 39, 37, 36, 35, *(33,) * 3,
    *(32,) * 3, 31, 31, 30, 30, 29, 29, 28, 28, 27, 26, 26, 25, *(24,) * 3, *(23,) * 3, *(22,) * 5, 21, 21,
    *(20,) * 5, *(19,) * 7, *(18,) * 5, *(17,) * 8, 16, 16, *(15,) * 11, *(14,) * 7,
)
# fmt: on


@dataclass(frozen=True, kw_only=True)
class IdentityFolder:
    """A folder of identities: the images of each, and how many of these are to train and validate, and to test."""

    name: str
    folder: str
    image_counts: tuple[int, ...]
    pool_counts: tuple[int, ...]
    test_counts: tuple[int, ...]


FACES10_FOLDER = IdentityFolder(
    name="faces10",
    folder="faces/lacuna10",
    image_counts=GLINT_IMAGE_COUNTS,
    pool_counts=(POOL_PER_CLASS,) * len(GLINT_IMAGE_COUNTS),
    test_counts=tuple(min(TEST_PER_CLASS, count - POOL_PER_CLASS) for count in GLINT_IMAGE_COUNTS),
)
# Few identities of LFW have 500 images, so a fifth of each identity's images tests, the share of Lacuna-100.
FACES100_FOLDER = IdentityFolder(
    name="faces100",
    folder="faces/lacuna100",
    image_counts=LFW_IMAGE_COUNTS,
    pool_counts=tuple(min(POOL_PER_CLASS, n - min(TEST_PER_CLASS, n // 5)) for n in LFW_IMAGE_COUNTS),
    test_counts=tuple(min(TEST_PER_CLASS, n // 5) for n in LFW_IMAGE_COUNTS),
)


def split_photographs(
    photographs: list[str], pool_count: int, test_count: int, generator: np.random.RandomState
) -> tuple[list[int], list[int]]:
    """Ascending positions of at most `pool_count` and `test_count` images, with no photograph on both sides.

    `photographs` names the photograph of each image. Photographs are taken in random order. All copies of one go to the pool
    if they fit, else to the test images if they fit, else nowhere.
    """
    order = sorted(range(len(photographs)), key=lambda row: photographs[row])
    copies = [list(rows) for _, rows in groupby(order, key=lambda row: photographs[row])]
    pool, test = list[int](), list[int]()
    for number in generator.permutation(len(copies)):
        for side, capacity in ((pool, pool_count), (test, test_count)):
            if len(side) + len(copies[number]) <= capacity:
                side.extend(copies[number])
                break
    return sorted(pool), sorted(test)


def _verify(identities: IdentityFolder, root: Path) -> str | None:
    """The fault in the files, in one line, or None. Counts the files and reads none."""
    folder = root / identities.folder
    if not folder.is_dir():
        return f"{identities.name}: no folder {folder}; set ADAPROB_DATA, or put IDENTITY/PHOTO_IMAGE.png there"
    try:
        counts = {name: len(files) for name, files in list_classes(folder).items()}
    except InputError as error:
        return f"{identities.name}: {error.faults[0]}"
    if len(counts) != len(identities.image_counts):
        return f"{identities.name}: {folder}: must have {len(identities.image_counts)} identities, got {len(counts)}"
    faults = [
        f"{name} must have {expected}, got {count}"
        for (name, count), expected in zip(counts.items(), identities.image_counts, strict=True)
        if count != expected
    ]
    return f"{identities.name}: {folder}: wrong numbers of images: {'; '.join(faults[:10])}" if faults else None


@lru_cache(maxsize=2)
def _read(identities: IdentityFolder, root: Path) -> RawImages:
    fault = _verify(identities, root)
    if fault is not None:
        raise InputError(fault)
    generator = np.random.RandomState(SPLIT_SEED)
    train, test = [], []
    for paths, pool_count, test_count in zip(
        list_classes(root / identities.folder).values(), identities.pool_counts, identities.test_counts, strict=True
    ):
        photographs = [path.stem.split("_")[0] for path in paths]
        pool_rows, test_rows = split_photographs(photographs, pool_count, test_count, generator)
        if (len(pool_rows), len(test_rows)) != (pool_count, test_count):
            raise InputError(
                f"{identities.name}: {paths[0].parent}: must have {pool_count} + {test_count} images without a photograph in "
                f"common, got {len(pool_rows)} + {len(test_rows)}"
            )
        train.append([paths[row] for row in pool_rows])
        test.append([paths[row] for row in test_rows])
    return assemble(train, test, SIZE)[0]


def _load(identities: IdentityFolder, root: Path, seed: int) -> RawImages:
    return _read(identities, root)


def draw_lacuna5(ten: RawImages, seed: int) -> RawImages:
    """The Lacuna-5 of a Lacuna-10 (protocol §1.3): 125 pool images of each of five classes, then their test images, permuted.

    One generator draws the pool images of all five classes, then the test images of all five.
    """
    generator = np.random.RandomState(seed)

    def draw(labels: Integers, count: int | None) -> Integers:
        class_rows = [np.flatnonzero(labels == label) for label in range(LACUNA5_CLASSES)]
        return np.concatenate([generator.choice(rows, count or len(rows), replace=False) for rows in class_rows])

    pool = draw(ten.train_labels, LACUNA5_POOL_PER_CLASS)
    test = draw(ten.test_labels, None)
    return RawImages(
        train_NHWC=ten.train_NHWC[pool],
        train_labels=ten.train_labels[pool],
        train_source=ten.train_source[pool],
        test_NHWC=ten.test_NHWC[test],
        test_labels=ten.test_labels[test],
        test_source=ten.test_source[test],
        test_is_from_train=ten.test_is_from_train,
    )


def _load_faces5(root: Path, seed: int) -> RawImages:
    return draw_lacuna5(_read(FACES10_FOLDER, root), seed)


FACES10 = Dataset(
    name="faces10",
    about="10 identities of Glint360k, a substitute for Lacuna-10",
    channels=3,
    size=SIZE,
    pool_per_class=FACES10_FOLDER.pool_counts,
    test_count=sum(FACES10_FOLDER.test_counts),
    mean=MEAN,
    std=STD,
    load=partial(_load, FACES10_FOLDER),
    verify=partial(_verify, FACES10_FOLDER),
    pretrain_on="faces100",
)
FACES5 = replace(
    FACES10,
    name="faces5",
    about="the first five identities of faces10, a new draw for each seed; a substitute for Lacuna-5",
    pool_per_class=(LACUNA5_POOL_PER_CLASS,) * LACUNA5_CLASSES,
    test_count=sum(FACES10_FOLDER.test_counts[:LACUNA5_CLASSES]),
    load=_load_faces5,
    drawn_from="faces10",
)
FACES100 = replace(
    FACES10,
    name="faces100",
    about="100 identities of LFW, 14 to 530 images each, a substitute for Lacuna-100",
    pool_per_class=FACES100_FOLDER.pool_counts,
    test_count=sum(FACES100_FOLDER.test_counts),
    load=partial(_load, FACES100_FOLDER),
    verify=partial(_verify, FACES100_FOLDER),
    pretrain_on=None,
)
