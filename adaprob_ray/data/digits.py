"""scikit-learn's handwritten digits: 1,797 grey images of 8×8, which come with the package and need no files.

The first 1,437 are to train and validate and the last 360 to test, in file order.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from adaprob_ray.data.dataset import Dataset, RawImages

# The first four fifths of the images are to train and validate, the others to test.
POOL_COUNT = 1437

# scikit-learn's pixels are whole numbers from 0 to 16; they are scaled to uint8's 0 to 255.
MAX_PIXEL = 16.0


@cache
def _read() -> RawImages:
    # scikit-learn takes seconds to import, and only the pixels need it.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / MAX_PIXEL)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    rows = np.arange(len(labels))
    return RawImages(
        train_NHWC=pixels[:POOL_COUNT],
        train_labels=labels[:POOL_COUNT],
        train_source=rows[:POOL_COUNT],
        test_NHWC=pixels[POOL_COUNT:],
        test_labels=labels[POOL_COUNT:],
        test_source=rows[POOL_COUNT:],
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
