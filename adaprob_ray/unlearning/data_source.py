"""The data that a user names: CIFAR or digits, a folder of images, or a factory of their own, with held-out sets if given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset

from adaprob_ray.catalogue import DATASETS, data_root
from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.user_code.objects import absolute_factory, call, is_factory, load_object

WHERE = "--data"
BUILT_IN = ("cifar10", "cifar100", "digits")
IMAGE_FOLDER = "imagefolder:"
DEFAULT_SIZE = 224
# Sub-folders of an image folder, and keys of a dict that a factory returns.
SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
SHARE = "share:"
# What ImageNet's networks of torchvision and timm are trained with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Data:
    """What a user's data are.

    Attributes:
        train: what the model was trained on, in which samples are forgotten.
        validation, test: held-out data, or None.
        mean, std: of the normalization by default; empty if images are normalized already.
    """

    train: Any
    validation: Any = None
    test: Any = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def check_data_name(spec: str, size: int | None) -> str:
    """The data with an absolute path, if they are of a file or folder. Raises InputError if the name has another form."""
    if size is not None and not spec.startswith(IMAGE_FOLDER):
        raise InputError(f"--size: must be left out except with {WHERE} imagefolder:PATH, got {size} with {spec}")
    if spec in BUILT_IN:
        return spec
    if spec.startswith(IMAGE_FOLDER):
        return IMAGE_FOLDER + str(Path(spec.removeprefix(IMAGE_FOLDER)).absolute())
    if not is_factory(spec):
        raise InputError(
            f"{WHERE}: must be {', '.join(BUILT_IN)}, imagefolder:PATH, package.module:factory or file.py:factory, got {spec!r}"
        )
    return absolute_factory(spec)


def load_data(spec: str, size: int | None, folder: Path) -> Data:
    """The data of this name. Raises InputError."""
    if spec in BUILT_IN:
        return _built_in(spec)
    if spec.startswith(IMAGE_FOLDER):
        return _image_folder(Path(spec.removeprefix(IMAGE_FOLDER)), size or DEFAULT_SIZE)
    loaded_object = load_object(spec, WHERE, folder)
    return _from_factory(call(loaded_object, WHERE) if callable(loaded_object) else loaded_object, spec)


def _built_in(name: str) -> Data:
    dataset, root = DATASETS[name], data_root()
    fault = dataset.verify(root)
    if fault is not None:
        raise InputError(f"{WHERE}: {fault}")
    images = dataset.load(root, 0)
    train, test = (
        (torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels))
        for pixels, labels in ((images.train_NHWC, images.train_labels), (images.test_NHWC, images.test_labels))
    )
    return Data(train, test=test, mean=tuple(dataset.mean), std=tuple(dataset.std))


def _image_folder(root: Path, size: int) -> Data:
    if not root.is_dir():
        raise InputError(f"{WHERE}: must be a folder of images, got {root}, which is not there")
    folders = {split: [root / name for name in names if (root / name).is_dir()] for split, names in SPLITS.items()}
    if not folders["train"]:
        return Data(_folder_images(root, size), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    images = {split: _folder_images(paths[0], size) for split, paths in folders.items() if paths}
    classes = images["train"].classes
    for split, each in images.items():
        if each.classes != classes:
            other = sorted(set(each.classes) ^ set(classes))[:5]
            raise InputError(
                f"{WHERE}: {folders[split][0]}: must have the {len(classes)} classes of {folders['train'][0]}, but "
                f"only one of them has {', '.join(other)}"
            )
    return Data(images["train"], images.get("validation"), images.get("test"), mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _folder_images(folder: Path, size: int) -> Any:
    """One folder for each class; images in RGB, the shorter side resized to `size` pixels, and the centre cut out."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size), v2.PILToTensor()])
    try:
        return ImageFolder(str(folder), transform=transform)
    except (FileNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{WHERE}: {folder}: must have a folder of images for each class: {reason}") from error


def _from_factory(factory_result: Any, spec: str) -> Data:
    """What a factory returned: one data set, (train, validation, test), or a dict of them."""
    if isinstance(factory_result, Mapping) and not hasattr(factory_result, "tensors"):
        known = {name: split for split, names in SPLITS.items() for name in names}
        faults = [
            f"{WHERE}: {spec}: {unknown_name('key', name, SPLITS)}" for name in factory_result if name not in known
        ]
        if faults:
            raise InputError(*faults)
        parts = {known[name]: value for name, value in factory_result.items()}
        if parts.get("train") is None:
            raise InputError(
                f"{WHERE}: {spec}: must return a dict with train, got {', '.join(map(str, factory_result)) or 'none'}"
            )
        return Data(**parts)
    is_pair = (
        isinstance(factory_result, (tuple, list))
        and len(factory_result) == 2
        and all(hasattr(part, "shape") for part in factory_result)
    )
    if isinstance(factory_result, tuple) and not is_pair:
        if len(factory_result) != len(SPLITS):
            raise InputError(
                f"{WHERE}: {spec}: must return one data set, a tuple (train, validation, test) with None for what there is "
                f"not, or a dict with these keys, got a tuple of {len(factory_result)}"
            )
        return Data(*factory_result)
    if factory_result is None:
        raise InputError(f"{WHERE}: {spec}: must return a data set, got None; is its `return` missing?")
    if isinstance(factory_result, nn.Module):
        raise InputError(f"{WHERE}: {spec}: must return a data set, got a network, {type(factory_result).__name__}")
    return Data(factory_result)


def with_validation(data: Data, argument: str | None, seed: int) -> Data:
    """The data with `share:0.1` of the test data as validation data; the rest of them stay test data. Raises InputError."""
    if argument is None:
        return data
    try:
        share = float(argument.removeprefix(SHARE))
    except ValueError:
        share = 0.0
    if not (argument.startswith(SHARE) and 0 < share < 1):
        raise InputError(f"--validation: must be share:NUMBER with a number between 0 and 1, got {argument!r}")
    if data.validation is not None:
        raise InputError("--validation: must be left out, as the data have validation data of their own")
    if data.test is None:
        raise InputError("--validation: must have test data, of which it takes a share, got none")
    is_pair = isinstance(data.test, tuple)
    count = len(data.test[1] if is_pair else data.test)
    chosen = np.zeros(count, dtype=bool)
    chosen[np.random.default_rng(seed).permutation(count)[: round(share * count)]] = True
    rows = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    if not all(map(len, rows)):
        raise InputError(f"--validation: must leave samples on both sides, got {argument} of {count}")
    if is_pair:
        pairs = [tuple(part[each] for part in data.test) for each in rows]
        return replace(data, validation=pairs[0], test=pairs[1])
    subsets = [Subset(data.test, each.tolist()) for each in rows]
    return replace(data, validation=subsets[0], test=subsets[1])
