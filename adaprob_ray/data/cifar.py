"""CIFAR-10 and CIFAR-100 in torchvision's on-disk layout, and the five-class subset of CIFAR-10 (protocol §1.3).

Only `prepare` downloads. torchvision checks the md5 of every file that it reads.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from adaprob_ray.data.dataset import Dataset, RawImages
from adaprob_ray.errors import InputError

# Mean and standard deviation of the authors' code (protocol §1.4), used for all three data sets.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)

# CIFAR-5 (protocol §1.3): classes, images of each class to train and validate, and images of each class to test.
CIFAR5_CLASSES = 5
CIFAR5_POOL_PER_CLASS = 125
CIFAR5_TEST_PER_CLASS = 100


def _cifar_class(classes: int) -> Any:
    # torchvision takes a second and a half to import, so it is imported only when CIFAR is read.
    from torchvision.datasets import CIFAR10, CIFAR100

    return {10: CIFAR10, 100: CIFAR100}[classes]


def _verify(classes: int, root: Path) -> str | None:
    """The fault in the files of CIFAR-10 or CIFAR-100 under `root`, in one line, or None."""
    from torchvision.datasets.utils import check_integrity

    cifar = _cifar_class(classes)
    folder = root / cifar.base_folder
    if not folder.is_dir():
        return f"cifar{classes}: no folder {folder}; set ADAPROB_DATA, or run `adaprob-ray data prepare cifar{classes}`"
    files = [*cifar.train_list, *cifar.test_list, (cifar.meta["filename"], cifar.meta["md5"])]
    faulty = [name for name, md5 in files if not check_integrity(str(folder / name), md5)]
    return f"cifar{classes}: missing or corrupt (md5) in {folder}: {', '.join(faulty)}" if faulty else None


@lru_cache(maxsize=2)
def _read(classes: int, root: Path) -> RawImages:
    try:
        train, test = (_cifar_class(classes)(str(root), train=is_train, download=False) for is_train in (True, False))
    except RuntimeError as error:
        raise InputError(_verify(classes, root) or str(error)) from error
    return RawImages(
        train_NHWC=train.data,
        train_labels=np.asarray(train.targets, dtype=np.int64),
        train_source=np.arange(len(train.data)),
        test_NHWC=test.data,
        test_labels=np.asarray(test.targets, dtype=np.int64),
        test_source=np.arange(len(test.data)),
    )


def _load(classes: int, root: Path, seed: int) -> RawImages:
    return _read(classes, root)


def _load_cifar5(root: Path, seed: int) -> RawImages:
    """Five classes of CIFAR-10's training file: 125 images of each to train and validate, then 100 of each to test.

    Both draws are from the same images, independently, with one generator (protocol §1.3), so that they may overlap.
    """
    cifar10 = _read(10, root)
    generator = np.random.RandomState(seed)
    class_rows = [np.flatnonzero(cifar10.train_labels == label) for label in range(CIFAR5_CLASSES)]
    pool, test = (
        np.concatenate([generator.choice(rows, count, replace=False) for rows in class_rows])
        for count in (CIFAR5_POOL_PER_CLASS, CIFAR5_TEST_PER_CLASS)
    )
    return RawImages(
        train_NHWC=cifar10.train_NHWC[pool],
        train_labels=cifar10.train_labels[pool],
        train_source=pool,
        test_NHWC=cifar10.train_NHWC[test],
        test_labels=cifar10.train_labels[test],
        test_source=test,
        test_is_from_train=True,
    )


def _download(classes: int, root: Path) -> None:
    _cifar_class(classes)(str(root), download=True)


CIFAR10 = Dataset(
    name="cifar10",
    about="50,000 + 10,000 photographs, 10 classes",
    channels=3,
    size=32,
    pool_per_class=(5000,) * 10,
    test_count=10_000,
    mean=MEAN,
    std=STD,
    load=partial(_load, 10),
    verify=partial(_verify, 10),
    prepare=partial(_download, 10),
    pretrain_on="cifar100",
)
CIFAR100 = Dataset(
    name="cifar100",
    about="50,000 + 10,000 photographs, 100 classes",
    channels=3,
    size=32,
    pool_per_class=(500,) * 100,
    test_count=10_000,
    mean=MEAN,
    std=STD,
    load=partial(_load, 100),
    verify=partial(_verify, 100),
    prepare=partial(_download, 100),
)
CIFAR5 = Dataset(
    name="cifar5",
    about="the first five classes of CIFAR-10, a new draw for each seed: 625 + 500 photographs",
    channels=3,
    size=32,
    pool_per_class=(CIFAR5_POOL_PER_CLASS,) * CIFAR5_CLASSES,
    test_count=CIFAR5_TEST_PER_CLASS * CIFAR5_CLASSES,
    mean=MEAN,
    std=STD,
    load=_load_cifar5,
    verify=partial(_verify, 10),
    prepare=partial(_download, 10),
    pretrain_on="cifar100",
    drawn_from="cifar10",
)
