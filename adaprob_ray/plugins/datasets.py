"""A data set of another package."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adaprob_ray.data.dataset import MIN_POOL_PER_CLASS, Dataset, RawImages
from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.user_code.load import load_path
from adaprob_ray.user_code.objects import call
from adaprob_ray.user_code.source import is_path


def load_dataset(path: str, built_in: Collection[str], known: Mapping[str, Dataset]) -> Dataset:
    """The data set that a path names; what it reads is checked against the sizes that it declares.

    Args:
        path: `package.module:NAME` of a Dataset, or of a function or class that gives one without arguments.
        built_in: names of the catalogue, which it may not have.
        known: data sets that `pretrain_on` and `drawn_from` may name, besides those by path.

    Raises:
        InputError: one line for each fault.
    """
    loaded_object = load_path(path)
    dataset = (
        loaded_object
        if isinstance(loaded_object, Dataset) or not callable(loaded_object)
        else call(loaded_object, path)
    )
    if not isinstance(dataset, Dataset):
        raise InputError(
            f"{path}: must be an adaprob_ray.data.dataset.Dataset, or a callable that returns one without arguments, got "
            f"{type(dataset).__name__}"
        )
    faults = dataset_faults(dataset, built_in) + _reference_faults(dataset, known)
    if faults:
        raise InputError(*(f"{path}: {fault}" for fault in faults))
    return dataclasses.replace(
        dataset,
        name=path,
        load=CheckedLoad(dataset, path),
        verify=lambda root: call(lambda: dataset.verify(root), path),
    )


def dataset_faults(dataset: Dataset, built_in: Collection[str]) -> list[str]:
    """What is wrong with the declared sizes, one line each."""
    faults = []
    if not isinstance(dataset.name, str) or not dataset.name or dataset.name in built_in:
        faults.append(f"name: must be text, and differ from the data sets of adaprob_ray, got {dataset.name!r}")
    for name in ("channels", "size", "test_count", "revision"):
        value = getattr(dataset, name)
        if type(value) is not int or value < 1:
            faults.append(f"{name}: must be an integer of at least 1, got {value!r}")
    counts = dataset.pool_per_class
    if not _is_tuple_of(counts, int) or len(counts) < 2 or min(counts) < MIN_POOL_PER_CLASS:
        limit = f"a tuple of at least two integers, each at least {MIN_POOL_PER_CLASS}"
        faults.append(f"pool_per_class: must be {limit}, got {counts!r}")
    for name in ("mean", "std"):
        values = getattr(dataset, name)
        if not _is_tuple_of(values, float) or len(values) != dataset.channels or (name == "std" and min(values) <= 0):
            sign = "numbers greater than 0" if name == "std" else "numbers"
            faults.append(f"{name}: must be a tuple of {dataset.channels} {sign}, one for each channel, got {values!r}")
    faults += [
        f"{name}: must be a function, got {getattr(dataset, name)!r}"
        for name in ("load", "verify")
        if not callable(getattr(dataset, name))
    ]
    return faults


def _reference_faults(dataset: Dataset, known: Mapping[str, Dataset]) -> list[str]:
    """What is wrong with the data sets that the declaration names. Those by path are loaded when they are used."""
    names = {name: getattr(dataset, name) for name in ("pretrain_on", "drawn_from")}
    faults = [
        f"{field}: {unknown_name('dataset', name, known)}"
        for field, name in names.items()
        if name is not None and not is_path(name) and not (isinstance(name, str) and name in known)
    ]
    source = None if faults or dataset.drawn_from is None else known.get(dataset.drawn_from)
    if source is not None and source.drawn_from is not None:
        names_of = f"{dataset.drawn_from}, which is drawn from {source.drawn_from}"
        faults.append(f"drawn_from: must be a data set that is not drawn from another, got {names_of}")
    return faults


def _is_tuple_of(values: Any, kind: type) -> bool:
    kinds = (int, float) if kind is float else kind
    return isinstance(values, tuple) and all(
        isinstance(value, kinds) and not isinstance(value, bool) for value in values
    )


@dataclasses.dataclass(frozen=True)
class CheckedLoad:
    """`load` of a data set of another package. Raises InputError if the images are not those that it declares."""

    dataset: Dataset
    path: str

    def __call__(self, root: Path, seed: int) -> RawImages:
        images = call(lambda: self.dataset.load(root, seed), self.path)
        if not isinstance(images, RawImages):
            raise InputError(f"{self.path}: load: must return RawImages, got {type(images).__name__}")
        if faults := self._faults(images):
            raise InputError(*(f"{self.path}: load: {fault}" for fault in faults))
        return images

    def _faults(self, images: RawImages) -> list[str]:
        faults = []
        shape = (self.dataset.size, self.dataset.size, self.dataset.channels)
        counts = {"train": sum(self.dataset.pool_per_class), "test": self.dataset.test_count}
        for name, count in counts.items():
            pixels, labels = getattr(images, f"{name}_NHWC"), getattr(images, f"{name}_labels")
            if pixels.shape != (count, *shape) or pixels.dtype != np.uint8:
                expected = "×".join(map(str, (count, *shape)))
                got = f"{'×'.join(map(str, pixels.shape))} {pixels.dtype}"
                faults.append(f"{name}_NHWC: must be {expected} uint8, as declared, got {got}")
            for field in (f"{name}_labels", f"{name}_source"):
                values = getattr(images, field)
                if values.shape != (count,) or values.dtype != np.int64:
                    faults.append(f"{field}: must be {count} int64, got {values.shape} {values.dtype}")
            if len(labels) and not 0 <= labels.min() <= labels.max() < self.dataset.classes:
                got = f"{labels.min()} to {labels.max()}"
                faults.append(f"{name}_labels: must be 0 to {self.dataset.classes - 1}, got {got}")
        if not faults:
            per_class = tuple(np.bincount(images.train_labels, minlength=self.dataset.classes).tolist())
            if per_class != self.dataset.pool_per_class:
                faults.append(f"train_labels: must be {self.dataset.pool_per_class} of each class, got {per_class}")
        return faults
