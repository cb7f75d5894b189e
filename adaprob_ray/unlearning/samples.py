"""Samples of any data set in random access: images as a network takes them, labels, and digests of both.

Axes: N samples, B batch; images have any further axes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
    default_convert,
)

from adaprob_ray.data.dataset import Integers
from adaprob_ray.errors import InputError
from adaprob_ray.unlearning.augmentation import without_augmentation
from adaprob_ray.unlearning.normalization import Normalization

# Samples of at most so many bytes a data set are read once and kept in memory; more are read again in each pass.
CACHE_BYTES = 512 << 20
# Samples that are read twice, to see whether the data set returns the same each time.
MAX_READ_TWICE = 32
# Keys of a sample that is a mapping, as Hugging Face's data sets return it.
IMAGE_KEYS = ("pixel_values", "image", "images", "img", "x", "inputs")
LABEL_KEYS = ("labels", "label", "target", "targets", "y")
CHANNELS = (1, 3, 4)


@dataclass
class Samples:
    """What `open_samples` returns.

    Attributes:
        dataset: without random transforms, by position (image, label).
        where: the name of the argument, for messages.
        normalization: of images.
        batch_size: of the DataLoader that was passed; None for other data.
        workers: processes that read samples, as in that DataLoader.
        left_out: names of random transforms that are not applied.
        warnings: what else is not used of what was passed.
    """

    dataset: Any
    where: str
    normalization: Normalization = field(default_factory=Normalization)
    batch_size: int | None = None
    workers: int = 0
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._block: Tensor | None = None  # images in memory [N, …], where `_place` has the row's position
        self._place = np.zeros(0, dtype=np.int64)
        self._shape: torch.Size | None = None
        self._dtype: torch.dtype | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, row: int) -> tuple[Tensor, int]:
        """The image of one sample, not normalized, and its label. Raises InputError that names the sample."""
        try:
            image, label = image_and_label(self.dataset[row])
        except InputError as error:
            raise InputError(f"{self.where}[{row}]: {error}") from error
        except Exception as error:
            raise InputError(f"{self.where}[{row}]: cannot be read: {type(error).__name__}: {error}") from error
        return self._checked(row, image), label

    def _checked(self, row: int, image: Tensor) -> Tensor:
        """The image, if it has the type and shape of the first one. Raises InputError."""
        if self._shape is None:
            self._shape, self._dtype = image.shape, image.dtype
        if image.dtype != self._dtype:
            raise InputError(
                f"{self.where}[{row}]: must have the type {self._dtype} of the first sample, got {image.dtype}"
            )
        if image.shape != self._shape:
            raise InputError(
                f"{self.where}[{row}]: must have the shape {tuple(self._shape)} of the first sample, got {tuple(image.shape)}; "
                "resize in the data set's transform"
            )
        return image

    def scan(self, rows: Sequence[int]) -> tuple[Tensor, list[bytes]]:
        """Labels [N] int64 and digests of the images of these samples, which stay in memory if all of them fit."""
        labels, digests = list[int](), list[bytes]()
        block: Tensor | None = None
        for position, (image, label) in enumerate(self._stream(rows)):
            labels.append(label)
            digests.append(image_digest(image))
            if not position and self._block is None and image.nbytes * len(rows) <= CACHE_BYTES:
                block = torch.empty((len(rows), *image.shape), dtype=image.dtype)
            if block is not None:
                block[position] = image
        if block is not None:
            self._block = block
            self._place = np.full(len(self), -1, dtype=np.int64)
            self._place[list(rows)] = np.arange(len(rows))
        return torch.tensor(labels, dtype=torch.int64), digests

    def images(self, batches: Iterable[Sequence[int] | Integers], device: torch.device) -> Iterator[Tensor]:
        """Normalized images [B, …] float32 of each batch of rows."""
        arrays = [np.asarray(rows, dtype=np.int64) for rows in batches]
        if self._block is not None and all(bool((self._place[rows] >= 0).all()) for rows in arrays):
            for rows in arrays:
                yield self.normalization(self._block[torch.from_numpy(self._place[rows])].to(device))
            return
        stream = iter(self._stream([int(row) for rows in arrays for row in rows]))
        for rows in arrays:
            yield self.normalization(torch.stack([next(stream)[0] for _ in rows]).to(device))

    def _stream(self, rows: Sequence[int]) -> Iterator[tuple[Tensor, int]]:
        """Samples in order, read by worker processes if the DataLoader that was passed has them."""
        if not self.workers or len(rows) <= self.workers:
            return (self.read(row) for row in rows)
        reader: Any = _Reader(self)
        generator = torch.Generator()  # else the global one would be drawn from
        loader: Any = DataLoader(
            reader, batch_size=None, sampler=list(rows), num_workers=self.workers, generator=generator
        )
        samples = (_unless_fault(image, label) for image, label in loader)
        # Each worker knows only the images that it has read itself.
        return ((self._checked(row, image), label) for row, (image, label) in zip(rows, samples, strict=True))

    @property
    def image_type(self) -> str:
        """The type of images, once one was read."""
        return str(self._dtype).removeprefix("torch.")

    def check_shape(self, others: Samples) -> None:
        """Raises InputError if images have another shape than those of `others`; one of each was read."""
        if self._shape != others._shape:
            shapes = [tuple(each._shape or ()) for each in (others, self)]
            raise InputError(
                f"{self.where}: must have images of shape {shapes[0]} as {others.where} has, got {shapes[1]}"
            )

    def check_repeatable(self, rows: Sequence[int]) -> None:
        """Raises InputError if two reads of a sample differ. Of many rows a few are read, at equal distances."""
        for row in rows[:: -(-len(rows) // MAX_READ_TWICE) or 1]:
            (image, label), (again, other_label) = self.read(row), self.read(row)
            if label != other_label or not torch.equal(image, again):
                raise InputError(
                    f"{self.where}[{row}]: must be the same each time it is read, got two different samples; turn off "
                    "augmentation and shuffling in the data set"
                )


class _Reader:
    """The data set of a DataLoader in worker processes: messages name the sample there too."""

    def __init__(self, samples: Samples) -> None:
        self._samples = Samples(samples.dataset, samples.where)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, row: int) -> tuple[Tensor | str, int]:
        """The sample, or what is wrong with it: an exception would arrive with the worker's traceback as its message."""
        try:
            return self._samples.read(row)
        except InputError as error:
            return str(error), row


def _unless_fault(image: Tensor | str, label: int) -> tuple[Tensor, int]:
    if isinstance(image, str):
        raise InputError(image)
    return image, int(label)


def open_samples(data: Any, where: str, normalization: Normalization | None = None) -> Samples:
    """Samples of what a user passes.

    Args:
        data: a map-style data set of (image, label), a pair of arrays or tensors (images, labels), or a DataLoader, of which
            the data set, the batch size and the number of workers are used. A sample may also be a mapping.
        where: the name of the argument, for messages.
        normalization: of the images; None leaves float images as they are and divides uint8 ones by 255.

    Raises:
        InputError: `data` is something else, or empty, or a DataLoader that draws only some of its samples.
    """
    batch_size, workers, warnings = None, 0, list[str]()
    if isinstance(data, DataLoader) and not isinstance(data.dataset, IterableDataset):
        warnings = _unused_parts(data, where)
        batch_size, workers, data = data.batch_size, data.num_workers, data.dataset
    if isinstance(data, (tuple, list)) and len(data) == 2:
        if all(hasattr(part, "shape") for part in data):
            data = _pair(data[0], data[1], where)
        elif all(isinstance(part, list) and not hasattr(part[0] if part else 0, "shape") for part in data):
            raise InputError(
                f"{where}: must be a pair of tensors or arrays (images, labels), got lists; use torch.tensor"
            )
    if isinstance(data, DataLoader):
        raise InputError(
            f"{where}: must be a DataLoader of a map-style data set, got one of {type(data.dataset).__name__}"
        )
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise InputError(
            f"{where}: must be a map-style data set, a pair of tensors (images, labels) or a DataLoader of one, got "
            f"{type(data).__name__}"
        )
    if not len(data):
        raise InputError(f"{where}: must have at least one sample, got none")
    dataset, left_out = without_augmentation(data, where)
    return Samples(dataset, where, normalization or Normalization(), batch_size, workers, left_out, warnings)


def _unused_parts(loader: DataLoader[Any], where: str) -> list[str]:
    """What a user should know about a DataLoader whose data set is read sample by sample. Raises InputError for a sampler."""
    batches = loader.batch_sampler
    sampler = batches.sampler if type(batches) is BatchSampler else batches or loader.sampler
    is_plain = isinstance(sampler, (SequentialSampler, RandomSampler))
    if not is_plain or len(sampler) < len(loader.dataset):  # type: ignore[arg-type]
        raise InputError(
            f"{where}: must be a DataLoader that reads each sample of its data set, got one with {type(sampler).__name__}; "
            "pass its data set, or torch.utils.data.Subset(dataset, indices) for a part of it"
        )
    if loader.collate_fn in (default_collate, default_convert):
        return []
    return [f"the DataLoader's collate_fn is not used: {where} is read sample by sample"]


def _pair(images: Any, labels: Any, where: str) -> TensorDataset:
    images, labels = torch.as_tensor(images), torch.as_tensor(labels)
    if len(images) != len(labels):
        raise InputError(f"{where}: must have as many labels as images, got {len(labels)} and {len(images)}")
    if images.is_floating_point() and not bool(torch.isfinite(images).all()):
        row = int((~torch.isfinite(images.flatten(1)).all(1)).nonzero()[0])
        raise InputError(f"{where}: must hold finite images, got NaN or infinity in sample {row}")
    return TensorDataset(images.cpu(), labels.cpu())


def image_and_label(sample: Any) -> tuple[Tensor, int]:
    """The image of a sample, uint8 or float32 with channels first, and its label. Raises InputError without the place."""
    if isinstance(sample, Mapping):
        names = [next((key for key in keys if key in sample), None) for keys in (IMAGE_KEYS, LABEL_KEYS)]
        if None in names:
            raise InputError(
                f"must have an image ({', '.join(IMAGE_KEYS)}) and a label ({', '.join(LABEL_KEYS)}), got {', '.join(sample)}"
            )
        sample = tuple(sample[name] for name in names)
    if not isinstance(sample, (tuple, list)) or len(sample) < 2:
        raise InputError(f"must be (image, label), got {type(sample).__name__}")
    return _image(sample[0]), _label(sample[1])


def _image(value: Any) -> Tensor:
    is_array = isinstance(value, (Tensor, np.ndarray))
    if not is_array and not hasattr(value, "getbands"):  # a PIL image
        raise InputError(f"must have a tensor, an array or a PIL image, got {type(value).__name__}")
    image = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    if (
        image.dtype == torch.bool
        or image.is_complex()
        or (not image.is_floating_point() and image.dtype != torch.uint8)
    ):
        raise InputError(f"must have an image of uint8 or floating point, got {image.dtype}")
    if not is_array and image.dim() == 2:
        image = image.unsqueeze(0)
    elif image.dim() == 3 and (not is_array or _has_channels_last(image)):
        image = image.permute(2, 0, 1)
    image = image.float() if image.is_floating_point() else image
    if image.is_floating_point() and not bool(torch.isfinite(image).all()):
        raise InputError("must be a finite image, got NaN or infinity")
    return image.contiguous()


def _has_channels_last(image: Tensor) -> bool:
    """Whether an image [A, B, C] looks like height × width × channels; [16, 4, 4] looks like 16 channels."""
    first, middle, last = image.shape
    return last in CHANNELS and first not in CHANNELS and middle != last


def _label(value: Any) -> int:
    number = value.item() if np.ndim(value) == 0 and hasattr(value, "item") else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number != int(number):
        raise InputError(f"must have an integer label, got {number!r}")
    return int(number)


def image_digest(image: Tensor) -> bytes:
    """SHA-256 of the type, shape and bytes of an image as it is read."""
    return hashlib.sha256(f"{image.dtype}|{tuple(image.shape)}|".encode() + image.numpy().tobytes()).digest()


def sample_digest(digest: bytes, label: int) -> bytes:
    """SHA-256 of a sample: of the digest of its image, and its label."""
    return hashlib.sha256(digest + f"|{label}".encode()).digest()
