"""scikit-learn's handwritten digits: 1,797 grey images of 8×8, which come with the package and need no files.

The first 1,437 are the training part and the last 360 the test part, in file order, as in scikit-learn's own example.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from adaprob_ray.data.dataset import Dataset, RawImages

TRAIN_COUNT = 1437
LARGEST_VALUE = 16.0


@cache
def _read() -> RawImages:
    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / LARGEST_VALUE)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    rows = np.arange(len(labels))
    return RawImages(
        train_NHWC=pixels[:TRAIN_COUNT],
        train_labels=labels[:TRAIN_COUNT],
        train_source=rows[:TRAIN_COUNT],
        test_NHWC=pixels[TRAIN_COUNT:],
        test_labels=labels[TRAIN_COUNT:],
        test_source=rows[TRAIN_COUNT:],
    )


def _load(root: Path, seed: int) -> RawImages:
    return _read()


def _verify(root: Path) -> str | None:
    return None


DIGITS = Dataset(
    name="digits",
    about="1,437 + 360 handwritten digits of scikit-learn, 8×8, 10 classes; nothing to download",
    channels=1,
    size=8,
    pool_per_class=(143, 146, 142, 146, 144, 145, 144, 143, 141, 143),
    test_count=360,
    mean=(0.3054,),
    std=(0.3753,),
    load=_load,
    verify=_verify,
)
