"""Any folder of images with one folder per class: FOLDER/train/CLASS/* and FOLDER/test/CLASS/*, or only FOLDER/CLASS/*.

A user's folder at ADAPROB_DATA/NAME becomes the data set NAME once `adaprob-ray data prepare NAME` has read it: that writes
its pixels and a manifest of its sizes, from which sweeps are planned. Classes are numbered in the order of their names.

Axes: N images, H W height and width, C channels (RGB), L levels of a pixel.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaprob_ray.data import prepared
from adaprob_ray.data.dataset import MIN_POOL_PER_CLASS, Dataset, RawImages
from adaprob_ray.data.folder_files import (
    MAX_FAULTS,
    ClassFiles,
    PreparationReport,
    check_memory,
    first_of_same_pixels,
    list_class_files,
    own_size,
    printable,
    read_files,
)
from adaprob_ray.errors import InputError

# Suffixes in the folders of the built-in data sets.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})

# The default height and width in pixels, as in all of the paper's data sets.
SIZE = 32

# The fraction of each class that tests if there is no test folder; it equals the validation fraction.
TEST_FRACTION = 0.2

_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class FolderImages(NamedTuple):
    """The images of a folder, the names of its classes and of its source files, and what became of the files."""

    images: RawImages
    classes: list[str]
    files: list[str]
    report: PreparationReport


def list_classes(folder: Path) -> ClassFiles:
    """The image files of each class folder; other files and hidden ones are ignored.

    Raises InputError if the folder does not exist, has no class folders, or one of these has no images.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; it must hold one folder per class")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise InputError(f"{folder}: must hold one folder per class, got none")
    files = {name: list_images(folder / name) for name in names}
    suffixes = ", ".join(sorted(SUFFIXES))
    faults = [f"{folder / name}: must hold images ({suffixes}), got none" for name, paths in files.items() if not paths]
    if faults:
        raise InputError(*faults[:MAX_FAULTS])
    return files


def list_images(folder: Path) -> list[Path]:
    """The image files of one folder, by name."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def read_images(paths: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """RGB pixels [N, size, size, 3]; an image of another size is resized with PIL's default filter (protocol §1.4).

    Raises InputError that names the files which cannot be read.
    """
    # PIL is imported only where images are read: the catalogue, which imports this module, reads none.
    from PIL import Image, UnidentifiedImageError

    images_NHWC = np.empty((len(paths), size, size, 3), np.uint8)
    faults = []
    for row, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                pixels = image.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
            faults.append(f"{path}: cannot be read as an image: {error}")
            continue
        images_NHWC[row] = np.asarray(pixels if pixels.size == (size, size) else pixels.resize((size, size)))
    if faults:
        raise InputError(*faults[:MAX_FAULTS])
    return images_NHWC


def assemble(train: Iterable[Sequence[Path]], test: Iterable[Sequence[Path]], size: int) -> tuple[RawImages, list[str]]:
    """Read the files of each class in the order of the arguments. Returns the images and the names of their source files.

    A file that occurs several times has one source number, so that overlap between train and test can be detected.
    """
    subsets = [[list(paths) for paths in subset] for subset in (train, test)]
    names = [str(path) for subset in subsets for paths in subset for path in paths]
    files, source = np.unique(names, return_inverse=True)
    pixels_NHWC = read_images([Path(name) for name in files], size)[source]
    labels = [np.repeat(np.arange(len(subset)), [len(paths) for paths in subset]) for subset in subsets]
    train_count = len(labels[0])
    images = RawImages(
        train_NHWC=pixels_NHWC[:train_count],
        train_labels=labels[0],
        train_source=source[:train_count],
        test_NHWC=pixels_NHWC[train_count:],
        test_labels=labels[1],
        test_source=source[train_count:],
        test_is_from_train=True,
    )
    return images, files.tolist()


def list_folder(folder: Path, report: PreparationReport) -> tuple[ClassFiles, ClassFiles | None]:
    """(training files, test files); without folders of these names, (all files, None)."""
    if not (folder / "train").is_dir():
        return list_class_files(folder, report), None
    others = [path for path in sorted(folder.iterdir()) if path.name not in ("train", "test")]
    report.passed_over += [(path, "outside the folders train and test") for path in others]
    train, test = list_class_files(folder / "train", report), list_class_files(folder / "test", report)
    if train.keys() != test.keys():
        unpaired = ", ".join(printable(name) for name in sorted(train.keys() ^ test.keys())[:MAX_FAULTS])
        raise InputError(f"{folder}: train and test must have the same classes, got only one folder for: {unpaired}")
    return train, test


def draw_test_files(files: ClassFiles, seed: int) -> tuple[ClassFiles, ClassFiles]:
    """(training files, test files): a fifth of each class tests, drawn with `seed`."""
    generator = np.random.RandomState(seed)
    train, test = ClassFiles(), ClassFiles()
    for name, paths in files.items():
        test_count = max(1, int(TEST_FRACTION * len(paths)))
        test_rows = set(generator.choice(len(paths), test_count, replace=False).tolist())
        train[name] = [path for row, path in enumerate(paths) if row not in test_rows]
        test[name] = [path for row, path in enumerate(paths) if row in test_rows]
    return train, test


def load_folder(folder: Path, *, size: int | Literal["own"] = SIZE, seed: int = 1) -> FolderImages:
    """Read a folder of class folders; `size`: height and width in pixels, `own` for that of the images, if all have one.

    An image is known by its pixels, as the network gets them: all images with the same pixels have the source number of the
    first, so that they are forgotten together, and `test_pool: clean` drops those that test.

    Raises InputError if there are none, fewer than two classes, too few images of a class to train on, or too many for memory.
    """
    report = PreparationReport()
    train, test = list_folder(folder, report)
    if test is None:
        train, test = draw_test_files(train, seed)
    if len(train) < 2:
        raise InputError(
            f"{folder}: must have at least two classes, got {len(train)}: {', '.join(map(printable, train))}"
        )
    faults = [
        f"{folder}: class {printable(name)}: must have at least {MIN_POOL_PER_CLASS} images to train on, got {len(paths)}"
        for name, paths in train.items()
        if len(paths) < MIN_POOL_PER_CLASS
    ]
    if faults:
        raise InputError(*faults[:MAX_FAULTS])
    train_paths, test_paths = ([path for paths in subset.values() for path in paths] for subset in (train, test))
    paths = train_paths + test_paths
    size = own_size(folder, paths) if size == "own" else size
    check_memory(folder, len(paths), size)
    files = sorted(map(str, paths))
    pixels_FHWC = read_files([Path(name) for name in files], size, report)
    position = {name: row for row, name in enumerate(files)}
    rows = np.array([position[str(path)] for path in paths])
    report.test_count = len(test_paths)
    first = np.array(first_of_same_pixels(pixels_FHWC[row] for row in rows))
    for at in np.flatnonzero(first != np.arange(len(first))):
        report.add_copy(paths[at], paths[first[at]], is_test=bool(at >= len(train_paths)))
    train_rows, test_rows = np.split(rows, [len(train_paths)])
    train_source, test_source = np.split(rows[first], [len(train_paths)])
    train_labels, test_labels = (
        np.repeat(np.arange(len(subset)), [len(paths) for paths in subset.values()]) for subset in (train, test)
    )
    images = RawImages(
        train_NHWC=pixels_FHWC[train_rows],
        train_labels=train_labels,
        train_source=train_source,
        test_NHWC=pixels_FHWC[test_rows],
        test_labels=test_labels,
        test_source=test_source,
        test_is_from_train=True,
        forget_copies=True,
    )
    return FolderImages(images, list(train), files, report)


def prepare_folder(name: str, root: Path, *, size: int | Literal["own"] = SIZE, seed: int = 1) -> PreparationReport:
    """Write the data set `name` from the folder `root`/`name`. Mean and std are those of its training images."""
    if not _NAME_PATTERN.fullmatch(name) or name == prepared.FOLDER:
        raise InputError(
            f"data set name: must be up to 40 letters, digits, '_' or '-', and not {prepared.FOLDER!r}, got {name!r}"
        )
    if size != "own" and size < 1:
        raise InputError(f"size: must be at least 1 pixel, got {size}")
    images, classes, files, report = load_folder(root / name, size=size, seed=seed)
    mean, std = channel_statistics(images.train_NHWC)
    prepared.write(root, name, images, files, kind="folder", classes=classes, mean=mean, std=std, seed=seed)
    return report


def channel_statistics(images_NHWC: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of pixels scaled to [0, 1]; a constant channel has standard deviation 1."""
    level_L = np.arange(256) / 255
    # Image by image: bincount converts pixels to int64, which of all images at once would be eight times as large.
    channels = range(images_NHWC.shape[3])
    counts_CL = np.zeros((len(channels), 256), np.int64)
    for image_HWC in images_NHWC:
        counts_CL += np.stack([np.bincount(image_HWC[..., c].ravel(), minlength=256) for c in channels])
    share_CL = counts_CL / counts_CL.sum(1, keepdims=True)
    mean = share_CL @ level_L
    variance = (share_CL * (level_L - mean[:, None]) ** 2).sum(1)
    return mean.tolist(), np.where(variance > 0, np.sqrt(variance), 1.0).tolist()


def prepared_folders(root: Path, reserved: Container[str] = ()) -> dict[str, Dataset]:
    """The data sets prepared from folders under `root`, from their manifests alone, except those with reserved names.

    Raises InputError if a manifest is damaged or the folder cannot be read.
    """
    names = [name for name in prepared.manifest_names(root) if name not in reserved]
    manifests = {name: prepared.read_manifest(root, name) for name in names}
    return {name: _dataset(name, m) for name, m in manifests.items() if m and m.get("kind") == "folder"}


def _dataset(name: str, manifest: Mapping[str, Any]) -> Dataset:
    pool_per_class, test_count = tuple(manifest["pool_per_class"]), manifest["test_count"]
    return Dataset(
        name=name,
        about=f"your folder {name}: {sum(pool_per_class):,} + {test_count:,} images, {len(pool_per_class)} classes",
        channels=3,
        size=manifest["size"],
        pool_per_class=pool_per_class,
        test_count=test_count,
        mean=tuple(manifest["mean"]),
        std=tuple(manifest["std"]),
        load=partial(_load, name),
        verify=partial(prepared.verify, name=name),
        # Different pixels under the same name make different cells.
        revision=int(manifest["sha256"][:12], 16),
    )


def _load(name: str, root: Path, seed: int) -> RawImages:
    return replace(prepared.read(root, name), forget_copies=True)
