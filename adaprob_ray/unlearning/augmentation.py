"""Leave out random transforms of torchvision data sets, so that a sample is the same each time it is read."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch.utils.data import ConcatDataset, Subset

from adaprob_ray.errors import InputError

# Random transforms of torchvision that decide on the size of the image, or of which one is chosen: an evaluation does something
# else, which is not known.
UNKNOWN_EVALUATION = ("RandomChoice", "RandomResize", "RandomShortestSize", "ScaleJitter")
# Random transforms of torchvision whose names do not begin with "Random".
OTHER_RANDOM = ("AugMix", "AutoAugment", "ColorJitter", "ElasticTransform", "GaussianNoise", "RandAugment",
                "TrivialAugmentWide")  # fmt: skip
# An evaluation resizes to this multiple of the size that it then cuts from the middle.
RESIZE = 256 / 224


def without_augmentation(dataset: Any, where: str = "dataset") -> tuple[Any, list[str]]:
    """A data set that applies no random transform, and the names of those that were left out.

    Args:
        dataset: any map-style data set; it is not changed. Wrappers of PyTorch (Subset, ConcatDataset) are followed.
        where: the name of the argument, for messages.

    Returns:
        The data set itself if it has no random transform of torchvision, else a shallow copy.

    Raises:
        InputError: it has a random transform without which the size of its images is not known.
    """
    if isinstance(dataset, Subset):
        inner, names = without_augmentation(dataset.dataset, where)
        return (Subset(inner, dataset.indices), names) if names else (dataset, [])
    if isinstance(dataset, ConcatDataset):
        parts = [without_augmentation(part, where) for part in dataset.datasets]
        names = [name for _, part in parts for name in part]
        return (ConcatDataset([part for part, _ in parts]), names) if names else (dataset, [])
    transform = getattr(dataset, "transform", None)
    plain, names = _plain(transform, where)
    if not names:
        return dataset, []
    if plain is None:
        plain = _compose([])  # a data set may call its transform without asking whether there is one
    dataset = copy.copy(dataset)
    dataset.transform = plain
    if hasattr(dataset, "transforms"):  # torchvision's data sets hold the pair of transforms too
        dataset.transforms = copy.copy(dataset.transforms)
        dataset.transforms.transform = plain
    return dataset, names


def _plain(transform: Any, where: str) -> tuple[Any, list[str]]:
    """A transform without its random parts, and their names."""
    name = type(transform).__name__
    if not type(transform).__module__.startswith("torchvision.transforms"):
        return transform, []
    if name in UNKNOWN_EVALUATION:
        raise InputError(
            f"{where}: must have no {name}, without which the size of the images is not known; pass the data set with the "
            "transform of your evaluation"
        )
    if name in ("Compose", "RandomOrder"):
        parts = [_plain(part, where) for part in transform.transforms]
        names = [part for _, random in parts for part in random]
        if name == "RandomOrder":
            names.append(name)
        if not names:
            return transform, []
        remaining = [part for part, _ in parts if part is not None]
        return _compose(remaining) if remaining else None, names
    if name in ("RandomResizedCrop", "RandomSizedCrop"):
        return _resize_and_crop(transform), [name]
    if name == "RandomCrop":
        return _centre_crop(transform.size), [name]
    return (None, [name]) if name.startswith("Random") or name in OTHER_RANDOM else (transform, [])


def _compose(transforms: list[Any]) -> Any:
    from torchvision.transforms import v2

    return v2.Compose(transforms) if transforms else v2.Identity()


def _centre_crop(size: Sequence[int]) -> Any:
    """What an evaluation does instead of a random crop: cut out the middle, which leaves an image of this size as it is."""
    from torchvision.transforms import v2

    return v2.CenterCrop(list(size))


def _resize_and_crop(transform: Any) -> Any:
    """What an evaluation does instead of a random crop of random size: resize, and cut out the middle."""
    from torchvision.transforms import v2

    height, width = transform.size
    resize = v2.Resize([round(RESIZE * height), round(RESIZE * width)], transform.interpolation, antialias=True)
    return v2.Compose([resize, _centre_crop((height, width))])
