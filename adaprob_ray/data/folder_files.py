"""The files of a user's image folder: which are images, which are passed over, their pixels, and which are copies.

Axes: F files.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from adaprob_ray.data.image_files import UnreadableImage, image_suffixes, read_picture, scaled
from adaprob_ray.errors import InputError, first_names

# A message lists at most this many faults.
MAX_FAULTS = 20
MAX_SIZES_SHOWN = 5
# Bytes of memory for each byte of pixels: those of all files, and those of the training and test images.
MEMORY_PER_PIXEL_BYTE = 2
# Limit and use of memory in a control group, version 2 and version 1.
CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)

ClassFiles = dict[str, list[Path]]  # the files of each class, both in the order of their names


@dataclass
class PreparationReport:
    """What became of the files of a folder; `copies` pairs each copy with the first file of the same pixels.

    `sizes`: how many files have each width and height in pixels.
    """

    read: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    test_count: int = 0
    scaled: int = 0
    passed_over: list[tuple[Path, str]] = field(default_factory=list)
    copies: list[tuple[Path, Path]] = field(default_factory=list)
    test_copies: list[tuple[Path, Path]] = field(default_factory=list)

    def add_copy(self, path: Path, first: Path, *, is_test: bool) -> None:
        (self.test_copies if is_test else self.copies).append((path, first))


def printable(path: Path | str) -> str:
    """A path whose bytes that are not UTF-8 are spelled out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def list_class_files(folder: Path, report: PreparationReport) -> ClassFiles:
    """The images of each class folder, those in its sub-folders included. All other files are added to the report.

    Raises InputError if the folder does not exist, has no class folders, or one of these has no images.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {printable(folder)}; it must hold one folder per class")
    names = list[str]()
    for entry in sorted(_entries(folder)):
        if entry.name.startswith("."):
            report.passed_over.append((entry, "hidden"))
        elif entry.is_dir():
            names.append(entry.name)
        else:
            report.passed_over.append((entry, "not in the folder of a class"))
    if not names:
        raise InputError(f"{printable(folder)}: must hold one folder per class, got none")
    files = {name: sorted(_images(folder / name, report, frozenset())) for name in names}
    suffixes = ", ".join(sorted(image_suffixes()))
    faults = [
        f"{printable(folder / name)}: must hold images ({suffixes}), got none" for name in names if not files[name]
    ]
    if faults:
        raise InputError(*faults[:MAX_FAULTS])
    return files


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{printable(folder)}: cannot be read: {error.strerror}") from error


def _images(folder: Path, report: PreparationReport, above: frozenset[str]) -> Iterable[Path]:
    """The images below a folder; `above` are the real paths of the folders that it lies in."""
    here = os.path.realpath(folder)
    if here in above:
        report.passed_over.append((folder, "link to a folder that it lies in"))
        return
    for path in _entries(folder):
        if path.name.startswith("."):
            report.passed_over.append((path, "hidden"))
        elif path.is_dir():
            yield from _images(path, report, above | {here})
        elif path.suffix.lower() not in image_suffixes():
            report.passed_over.append((path, path.suffix.lower() or "no suffix"))
        elif path.exists() and not path.is_file():
            report.passed_over.append((path, "not a file"))
        else:
            yield path


def available_memory() -> int:
    """Bytes that this process may still use: those of the machine or, if fewer, of its control group."""
    available = int(psutil.virtual_memory().available)
    for limit_file, usage_file in CGROUP_FILES:
        try:
            limit, usage = (int(Path(name).read_text(encoding="utf-8")) for name in (limit_file, usage_file))
        except (OSError, ValueError):  # no such group, or the limit "max"
            continue
        available = min(available, max(0, limit - usage))
    return available


def check_memory(folder: Path, count: int, size: int) -> None:
    """Raises InputError if the pixels of that many images are more than memory holds."""
    needed, available = MEMORY_PER_PIXEL_BYTE * count * size * size * 3, available_memory()
    if needed > available:
        raise InputError(
            f"{printable(folder)}: must fit into {available / 2**30:.1f} GiB of free memory, got {needed / 2**30:.1f} GiB "
            f"({count:,} images of {size}×{size} pixels); choose a smaller --size, or leave images out"
        )


def own_size(folder: Path, paths: Sequence[Path]) -> int:
    """The height and width of the images, if all have the same. Raises InputError if not.

    Only headers are read: a file without one is reported where its pixels are.
    """
    from PIL import Image  # only where images are read, as in image_files.py

    sizes = Counter[tuple[int, int]]()
    unreadable = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
    for path in paths:
        with suppress(*unreadable), Image.open(path) as image:
            sizes[image.size] += 1
    if len(sizes) == 1 and len(set(next(iter(sizes)))) == 1:
        return next(iter(sizes))[0]
    shown = [f"{width}×{height} ({count:,})" for (width, height), count in sizes.most_common()]
    raise InputError(
        f"{printable(folder)}: must have images of one size, as wide as high, for --size own, got "
        f"{first_names(shown, MAX_SIZES_SHOWN) or 'none'}; give a number of pixels to scale them to, as --size 32"
    )


def read_files(paths: Sequence[Path], size: int, report: PreparationReport) -> NDArray[np.uint8]:
    """RGB pixels [F, size, size, 3] of the files. Raises InputError that names the files which cannot be read."""
    images_FHWC = np.empty((len(paths), size, size, 3), np.uint8)
    faults = list[str]()
    for row, path in enumerate(paths):
        try:
            picture = read_picture(path)
        except UnreadableImage as error:
            faults.append(f"{printable(path)}: cannot be read as an image: {error}")
            continue
        report.sizes[picture.size] += 1
        report.scaled += picture.size != (size, size)
        images_FHWC[row] = scaled(picture, size)
    if len(faults) > MAX_FAULTS:
        faults[MAX_FAULTS - 1 :] = [f"{len(faults) - MAX_FAULTS + 1} more files cannot be read as images"]
    if faults:
        raise InputError(*faults)
    report.read = len(paths)
    return images_FHWC


def first_of_same_pixels(images: Iterable[NDArray[np.uint8]]) -> list[int]:
    """For each image the position of the first one with the same pixels, known by their digest."""
    first = dict[bytes, int]()
    return [first.setdefault(hashlib.sha256(pixels.tobytes()).digest(), row) for row, pixels in enumerate(images)]
