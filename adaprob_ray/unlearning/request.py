"""Which samples are to be forgotten, and which are retained: indices, masks, classes and samples of the rest, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset, TensorDataset

from adaprob_ray.data.dataset import Integers
from adaprob_ray.errors import InputError, first_names
from adaprob_ray.unlearning.samples import Samples

CLASS, SAMPLE = "class:", "sample:"
# Indices that one message names.
MAX_SHOWN = 5


@dataclass(frozen=True)
class ForgetSet:
    """The rows of a data set to forget, in ascending order. `class_index`: set if they are named as a whole class."""

    rows: Integers
    class_index: int | None = None

    @property
    def kind(self) -> str:
        """`class` or `indices`."""
        return "indices" if self.class_index is None else "class"


def known_labels(samples: Samples) -> Integers | None:
    """The labels of all samples [N] if the data set has them without reading its images; None if not."""
    return _labels_of(samples.dataset)


def _labels_of(dataset: Any) -> Integers | None:
    if isinstance(dataset, Subset):
        labels = _labels_of(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices, dtype=np.int64)]
    values = dataset.tensors[1] if isinstance(dataset, TensorDataset) else getattr(dataset, "targets", None)
    if values is None:
        values = getattr(dataset, "labels", None)
    try:
        labels = np.asarray(values)
    except Exception:
        return None
    is_usable = labels.shape == (len(dataset),) and np.issubdtype(labels.dtype, np.integer)
    return labels.astype(np.int64) if is_usable else None


def forget_set(forget: Any, samples: Samples) -> ForgetSet:
    """Read the argument `forget`.

    Args:
        forget: indices into the data set, a boolean mask over it, or `class:5` for all samples with label 5.
        samples: the data set. Its labels are read only for a class, and only if it has no list of them.

    Raises:
        InputError: nothing or everything is forgotten, or an index is not an integer, out of range or given twice.
    """
    count = len(samples)
    class_index = None
    if isinstance(forget, str):
        class_index = _class_index(forget)
        labels = known_labels(samples)
        labels = samples.scan(list(range(count)))[0].numpy() if labels is None else labels
        rows = np.flatnonzero(labels == class_index)
        if not len(rows):
            known = ", ".join(map(str, np.unique(labels)[:20]))
            raise InputError(f"forget: {forget}: must be a class that has samples (known: {known})")
    else:
        rows = indices(forget, count, "forget")
    if len(rows) == count:
        raise InputError(
            f"forget: must leave samples to retain, got all {count}; to forget everything, train a new model on other data"
        )
    return ForgetSet(rows, class_index)


def _class_index(text: str) -> int:
    if not (text.startswith(CLASS) and text[len(CLASS) :].isdecimal()):
        raise InputError(
            f"forget: must be indices, a mask or class:NUMBER, got {text!r} (only the command line reads files of indices)"
        )
    return int(text[len(CLASS) :])


def indices(values: Any, count: int, where: str) -> Integers:
    """Indices [F] in ascending order, of a sequence of them or a boolean mask [count]. Raises InputError."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(sorted(values) if isinstance(values, (set, frozenset)) else values)
    except Exception as error:
        raise InputError(f"{where}: must be indices or a boolean mask, got {type(values).__name__}") from error
    if array.size == 0:
        raise InputError(f"{where}: must have at least one index, got none")
    if array.ndim == 0:
        hint = f"; pass [{values}]" if isinstance(values, (int, np.integer)) else ""
        raise InputError(f"{where}: must be a list of indices, got {type(values).__name__}{hint}")
    if array.ndim != 1:
        raise InputError(f"{where}: must have one dimension, got shape {list(array.shape)}")
    if array.dtype == bool:
        if len(array) != count:
            raise InputError(f"{where}: a mask must have a value for each of {count} samples, got {len(array)}")
        array = np.flatnonzero(array)
        if not len(array):
            raise InputError(f"{where}: must have at least one index, got a mask without any")
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{where}: must be integers, got {array.dtype} such as {array.flat[0].item()!r}")
    array = array.astype(np.int64)
    outside = array[(array < 0) | (array >= count)]
    if len(outside):
        raise InputError(f"{where}: must be 0 to {count - 1}, got {_shown(outside)}")
    unique, counts = np.unique(array, return_counts=True)
    if len(unique) < len(array):
        raise InputError(f"{where}: must name each sample once, got {_shown(unique[counts > 1])} more than once")
    return unique


def is_selection(retain: Any) -> bool:
    """Whether `retain` selects samples of the data set, rather than being a data set of its own."""
    if isinstance(retain, tuple):
        return all(np.ndim(value) == 0 for value in retain)
    return retain is None or isinstance(retain, (str, list, set, frozenset, range, np.ndarray, torch.Tensor))


def retained_rows(retain: Any, forget: ForgetSet, count: int, seed: int) -> Integers:
    """The retained rows of the data set, in ascending order.

    Args:
        retain: None for all that are not forgotten, `sample:10000` for so many of them, drawn with `seed`, or indices.
        forget: the samples to forget.
        count: of all samples.
        seed: of the sample.

    Raises:
        InputError: a forgotten sample is among them, or the sample is larger than what is left.
    """
    rest = np.setdiff1d(np.arange(count), forget.rows)
    if retain is None:
        return rest
    if isinstance(retain, str):
        number = retain.removeprefix(SAMPLE)
        if not (retain.startswith(SAMPLE) and number.isdecimal() and int(number)):
            raise InputError(f"retain: must be indices or sample:NUMBER, got {retain!r}")
        if int(number) > len(rest):
            raise InputError(f"retain: must be at most the {len(rest)} samples that are not forgotten, got {retain}")
        return np.sort(np.random.default_rng(seed).choice(rest, int(number), replace=False))
    rows = indices(retain, count, "retain")
    both = np.intersect1d(rows, forget.rows)
    if len(both):
        raise InputError(f"retain: must have no sample of forget, got {_shown(both)} in both")
    return rows


def check_content(forget_digests: Sequence[bytes], retain_digests: Sequence[bytes], rows: Integers) -> None:
    """Raises InputError if retained samples have the image of a forgotten one. `rows`: of the retained samples."""
    forgotten = set(forget_digests)
    copies = np.array(
        [row for row, digest in zip(rows, retain_digests, strict=True) if digest in forgotten], dtype=np.int64
    )
    if len(copies):
        raise InputError(
            f"retain: must have no copy of a forgotten sample, got {len(copies)} with the same image: "
            f"{_shown(copies)}; add them to forget, or leave them out of retain"
        )


def _shown(rows: Integers) -> str:
    return first_names([str(row) for row in rows], MAX_SHOWN)
