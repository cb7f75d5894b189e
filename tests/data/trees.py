"""Small folders of images for the tests of data sets that are read from folders."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> None:
    """Write an image whose random pixels depend on the last three names of its path and on its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.RandomState(zlib.crc32("/".join(path.parts[-3:]).encode()))
    pixels = generator.randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def write_classes(folder: Path, counts: Iterable[int], suffix: str = ".png") -> None:
    """Write class folders c0, c1, … with these numbers of images."""
    for label, count in enumerate(counts):
        for number in range(count):
            write_image(folder / f"c{label}" / f"{number:03d}{suffix}")
