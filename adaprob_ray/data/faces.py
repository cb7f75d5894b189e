"""Faces that stand in for Lacuna, which is made from VGGFace2 and can no longer be had: `faces5`, `faces10`, `faces100`.

They keep the protocol's counts where the images suffice (§1.1), not its people: no table may call them Lacuna.

    ROOT/faces/lacuna10/IDENTITY/PHOTO_IMAGE.png     10 identities of Glint360k: faces10, and faces5 drawn from it
    ROOT/faces/lacuna100/IDENTITY/PHOTO_IMAGE.png    100 identities of LFW, none of them above: faces100, to pretrain on

Images of one identity with the same PHOTO are copies of one photograph: all go to the training part, or all to the test part.
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

MEAN = (0.382, 0.420, 0.502)  # of Lacuna, as the protocol gives them (§1.4): those of BGR, applied to RGB
STD = (0.276, 0.279, 0.302)
SIZE = 32
POOL, TEST = 400, 100  # images of an identity in Lacuna
FEW, FEW_POOL = 5, 125  # Lacuna-5: identities, and images of each to train and validate
DIVISION_SEED = 1  # which photographs test is one choice, made once and not for each training seed

# fmt: off
GLINT = (805, 768, 752, 751, 729, 695, 558, 496, 493, 491)  # images of each identity, in the order of the folders' names
LFW = (
    530, 236, 144, 121, 109, 77, 71, 60, 55, 53, 52, 52, 49, 48, 44, 42, 42, 41, 41, 39, 39, 37, 36, 35, *(33,) * 3,
    *(32,) * 3, 31, 31, 30, 30, 29, 29, 28, 28, 27, 26, 26, 25, *(24,) * 3, *(23,) * 3, *(22,) * 5, 21, 21,
    *(20,) * 5, *(19,) * 7, *(18,) * 5, *(17,) * 8, 16, 16, *(15,) * 11, *(14,) * 7,
)
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Division:
    """A folder of identities, how many images each has, and how many of these go to the training part and to test."""

    name: str
    folder: str
    images: tuple[int, ...]
    pool: tuple[int, ...]
    test: tuple[int, ...]


TEN = Division(
    name="faces10",
    folder="faces/lacuna10",
    images=GLINT,
    pool=(POOL,) * len(GLINT),
    test=tuple(min(TEST, count - POOL) for count in GLINT),
)
HUNDRED = Division(  # few identities have 500 images: a fifth of each tests, as in Lacuna-100
    name="faces100",
    folder="faces/lacuna100",
    images=LFW,
    pool=tuple(min(POOL, count - min(TEST, count // 5)) for count in LFW),
    test=tuple(min(TEST, count // 5) for count in LFW),
)


def divide(photos: list[str], pool: int, test: int, generator: np.random.RandomState) -> tuple[list[int], list[int]]:
    """Positions of `pool` images to train on and `test` images to test on, ascending, no photograph on both sides.

    `photos` names the photograph of each image. Photographs come in random order; each goes whole to the training part
    if there is room, else to test if there is room, else nowhere.
    """
    order = sorted(range(len(photos)), key=lambda row: photos[row])
    copies = [list(rows) for _, rows in groupby(order, key=lambda row: photos[row])]
    chosen: tuple[list[int], list[int]] = ([], [])
    for which in generator.permutation(len(copies)):
        for part, room in zip(chosen, (pool, test), strict=True):
            if len(part) + len(copies[which]) <= room:
                part.extend(copies[which])
                break
    return sorted(chosen[0]), sorted(chosen[1])


def _check(division: Division, root: Path) -> str | None:
    """What is wrong with the files, in one line, or None. Counts them; reads none."""
    folder = root / division.folder
    if not folder.is_dir():
        return f"{division.name}: no folder {folder}; set ADAPROB_DATA, or put IDENTITY/PHOTO_IMAGE.png there"
    try:
        found = {name: len(files) for name, files in list_classes(folder).items()}
    except InputError as error:
        return f"{division.name}: {error.faults[0]}"
    if len(found) != len(division.images):
        return f"{division.name}: {folder}: {len(found)} identities found, {len(division.images)} expected"
    wrong = [
        f"{name} {count} ({expected})"
        for (name, count), expected in zip(found.items(), division.images, strict=True)
        if count != expected
    ]
    return f"{division.name}: {folder}: images found (expected): {', '.join(wrong[:10])}" if wrong else None


@lru_cache(maxsize=2)
def _read(division: Division, root: Path) -> RawImages:
    fault = _check(division, root)
    if fault is not None:
        raise InputError(fault)
    generator = np.random.RandomState(DIVISION_SEED)
    train, test = [], []
    for paths, pool_count, test_count in zip(
        list_classes(root / division.folder).values(), division.pool, division.test, strict=True
    ):
        rows = divide([path.stem.split("_")[0] for path in paths], pool_count, test_count, generator)
        if (len(rows[0]), len(rows[1])) != (pool_count, test_count):
            raise InputError(
                f"{division.name}: {paths[0].parent}: {len(rows[0])} + {len(rows[1])} images found that share no photograph,"
                f" {pool_count} + {test_count} expected"
            )
        train.append([paths[row] for row in rows[0]])
        test.append([paths[row] for row in rows[1]])
    return assemble(train, test, SIZE)[0]


def _load(division: Division, root: Path, seed: int) -> RawImages:
    return _read(division, root)


def first_five(whole: RawImages, seed: int) -> RawImages:
    """Lacuna-5 of a Lacuna-10 (§1.3): 125 of each training class, then all test images of these classes, permuted.

    One generator draws the training images of all five classes, then the test images of all five.
    """
    generator = np.random.RandomState(seed)
    pool = _drawn(whole.train_labels, FEW_POOL, generator)
    test = _drawn(whole.test_labels, None, generator)
    return RawImages(
        train_NHWC=whole.train_NHWC[pool],
        train_labels=whole.train_labels[pool],
        train_source=whole.train_source[pool],
        test_NHWC=whole.test_NHWC[test],
        test_labels=whole.test_labels[test],
        test_source=whole.test_source[test],
        test_is_from_train=whole.test_is_from_train,
    )


def _drawn(labels: Integers, count: int | None, generator: np.random.RandomState) -> Integers:
    """`count` rows of each of the first five classes (None: all), class by class, in the order drawn."""
    members = [np.flatnonzero(labels == label) for label in range(FEW)]
    return np.concatenate([generator.choice(rows, count or len(rows), replace=False) for rows in members])


def _load_five(root: Path, seed: int) -> RawImages:
    return first_five(_read(TEN, root), seed)


FACES10 = Dataset(
    name="faces10",
    about="10 identities of Glint360k, which stand in for Lacuna-10",
    channels=3,
    size=SIZE,
    pool_per_class=TEN.pool,
    test_count=sum(TEN.test),
    mean=MEAN,
    std=STD,
    load=partial(_load, TEN),
    verify=partial(_check, TEN),
    pretrain_on="faces100",
)
FACES5 = replace(
    FACES10,
    name="faces5",
    about="the first five identities of faces10, drawn anew for each seed; stand in for Lacuna-5",
    pool_per_class=(FEW_POOL,) * FEW,
    test_count=sum(TEN.test[:FEW]),
    load=_load_five,
)
FACES100 = replace(
    FACES10,
    name="faces100",
    about="100 identities of LFW, 14 to 530 images each, which stand in for Lacuna-100",
    pool_per_class=HUNDRED.pool,
    test_count=sum(HUNDRED.test),
    load=partial(_load, HUNDRED),
    verify=partial(_check, HUNDRED),
    pretrain_on=None,
)
