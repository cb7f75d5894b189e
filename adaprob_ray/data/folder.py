"""Any tree of images with one folder a class: TREE/train/CLASS/* and TREE/test/CLASS/*, or TREE/CLASS/* alone.

A user's tree at ADAPROB_DATA/NAME becomes the data set NAME once `adaprob-ray data prepare NAME` has read it: that writes
its pixels and a manifest of its sizes, from which sweeps are planned. Classes are numbered in the order of their names.

Axes: N images, H W height and width, C channels (RGB).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from adaprob_ray.data import prepared
from adaprob_ray.data.dataset import VALIDATION_FRACTION, Dataset, RawImages
from adaprob_ray.errors import InputError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
SIZE = 32  # pixels, as all of the paper's images
SMALLEST_POOL = int(1 / VALIDATION_FRACTION)  # images of a class: below, none of it would validate
TEST_SHARE = 0.2  # of each class, where the tree has no test folder
MOST_FAULTS = 20

Files = dict[str, list[Path]]  # class name -> its images, both in the order of their names


class Tree(NamedTuple):
    """A tree as read: its images, the names of its classes, and the names of its source files."""

    images: RawImages
    classes: list[str]
    files: list[str]


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def list_classes(folder: Path) -> Files:
    """The images of each class folder; other files are passed over.

    Raises InputError if there is no such folder, no class in it, or a class without images.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; expected one folder a class in it")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise InputError(f"{folder}: expected one folder a class in it, found none")
    files = {name: list_images(folder / name) for name in names}
    kinds = ", ".join(sorted(SUFFIXES))
    faults = [
        f"{folder / name}: a class needs images ({kinds}), found none" for name, found in files.items() if not found
    ]
    if faults:
        raise InputError(*faults[:MOST_FAULTS])
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
        raise InputError(*faults[:MOST_FAULTS])
    return images_NHWC


def assemble(train: Iterable[Sequence[Path]], test: Iterable[Sequence[Path]], size: int) -> tuple[RawImages, list[str]]:
    """Read the files of each class, in the order given; the images, and the names of their source files.

    A file that is given several times has one source number, so that a repeat across train and test is seen.
    """
    parts = [[list(files) for files in part] for part in (train, test)]
    files, source = np.unique([str(path) for part in parts for group in part for path in group], return_inverse=True)
    pixels_NHWC = read_images([Path(name) for name in files], size)[source]
    labels = [np.repeat(np.arange(len(part)), [len(group) for group in part]) for part in parts]
    cut = len(labels[0])
    images = RawImages(
        train_NHWC=pixels_NHWC[:cut],
        train_labels=labels[0],
        train_source=source[:cut],
        test_NHWC=pixels_NHWC[cut:],
        test_labels=labels[1],
        test_source=source[cut:],
        test_is_from_train=True,
    )
    return images, files.tolist()


def divide_tree(folder: Path, seed: int) -> tuple[Files, Files]:
    """(training files, test files): as the tree divides them, else a fifth of each class to test, drawn with `seed`."""
    if not (folder / "train").is_dir():
        return _drawn(list_classes(folder), np.random.RandomState(seed))
    train, test = list_classes(folder / "train"), list_classes(folder / "test")
    if train.keys() != test.keys():
        alone = ", ".join(sorted(train.keys() ^ test.keys())[:MOST_FAULTS])
        raise InputError(f"{folder}: train and test must have the same classes; these stand in one only: {alone}")
    return train, test


def _drawn(files: Files, generator: np.random.RandomState) -> tuple[Files, Files]:
    train, test = Files(), Files()
    for name, paths in files.items():
        drawn = set(generator.choice(len(paths), max(1, int(TEST_SHARE * len(paths))), replace=False).tolist())
        train[name] = [path for row, path in enumerate(paths) if row not in drawn]
        test[name] = [path for row, path in enumerate(paths) if row in drawn]
    return train, test


def load_folder(folder: Path, *, size: int = SIZE, seed: int = 1) -> Tree:
    """Read a tree.

    Raises InputError if it is no such tree, has fewer than two classes, or a class has too few images to train on.
    """
    train, test = divide_tree(folder, seed)
    if len(train) < 2:
        raise InputError(f"{folder}: at least two classes are needed, found {len(train)}: {', '.join(train)}")
    faults = [
        f"{folder}: class {name} has {len(paths)} images to train on, at least {SMALLEST_POOL} are needed"
        for name, paths in train.items()
        if len(paths) < SMALLEST_POOL
    ]
    if faults:
        raise InputError(*faults[:MOST_FAULTS])
    images, files = assemble(train.values(), test.values(), size)
    return Tree(images, list(train), files)


def prepare_folder(name: str, root: Path, *, size: int = SIZE, seed: int = 1) -> None:
    """Make the data set `name` of the tree at `root`/`name`. Mean and std are those of its training images."""
    if not _NAME.fullmatch(name) or name == prepared.FOLDER:
        raise InputError(
            f"a data set's name is up to 40 letters, digits, '_', '-', not {prepared.FOLDER!r}; got {name!r}"
        )
    if size < 1:
        raise InputError(f"size: must be at least 1 pixel, got {size}")
    images, classes, files = load_folder(root / name, size=size, seed=seed)
    mean, std = statistics(images.train_NHWC)
    prepared.write(root, name, images, files, kind="folder", classes=classes, mean=mean, std=std, seed=seed)


def statistics(images_NHWC: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1]; a flat channel has standard deviation 1."""
    levels = np.arange(256) / 255
    counts_CL = np.stack([np.bincount(images_NHWC[..., c].ravel(), minlength=256) for c in range(images_NHWC.shape[3])])
    share_CL = counts_CL / counts_CL.sum(1, keepdims=True)
    mean = share_CL @ levels
    variance = (share_CL * (levels - mean[:, None]) ** 2).sum(1)
    return mean.tolist(), np.where(variance > 0, np.sqrt(variance), 1.0).tolist()


def prepared_folders(root: Path, taken: Container[str] = ()) -> dict[str, Dataset]:
    """The data sets that were made of folders under `root`, from their manifests alone; names that are taken are passed over.

    Raises InputError if a manifest is damaged.
    """
    names = sorted(name for path in (root / prepared.FOLDER).glob("[!.]*.json") if (name := path.stem) not in taken)
    manifests = ((name, prepared.read_manifest(root, name)) for name in names)
    return {name: _dataset(name, found) for name, found in manifests if found and found.get("kind") == "folder"}


def _dataset(name: str, manifest: Mapping[str, Any]) -> Dataset:
    pool, test = sum(manifest["pool_per_class"]), manifest["test_count"]
    return Dataset(
        name=name,
        about=f"your folder {name}: {pool:,} + {test:,} images, {len(manifest['pool_per_class'])} classes",
        channels=3,
        size=manifest["size"],
        pool_per_class=tuple(manifest["pool_per_class"]),
        test_count=test,
        mean=tuple(manifest["mean"]),
        std=tuple(manifest["std"]),
        load=partial(_load, name),
        verify=partial(prepared.check, name=name),
        revision=int(manifest["sha256"][:12], 16),  # other pixels under the same name are other cells
    )


def _load(name: str, root: Path, seed: int) -> RawImages:
    return prepared.read(root, name)
