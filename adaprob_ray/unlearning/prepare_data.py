"""The subsets of a user's data: what is forgotten, retained and held out, read once and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.data.dataset import Integers
from adaprob_ray.errors import InputError
from adaprob_ray.unlearning.request import ForgetSet, check_content, forget_set, is_selection, retained_rows
from adaprob_ray.unlearning.samples import Samples, open_samples, sample_digest
from adaprob_ray.unlearning.subset import SampleSubset, TrainingSamples

# Retained samples on which errors are measured, before and after: of more, a sample of so many is drawn.
MAX_RETAIN_MEASURED = 2_000


@dataclass(frozen=True)
class PreparedData:
    """What `prepare_data` returns.

    Attributes:
        subsets: train, forget, retain, retain_measured, and validation and test if given.
        forget: the rows of the data set to forget.
        forget_digests: of each forgotten sample.
        warnings: what the user should know about the data.
    """

    subsets: dict[str, SampleSubset]
    forget: ForgetSet
    forget_digests: list[bytes]
    warnings: list[str] = field(default_factory=list)


def prepare_data(
    samples: Samples, forget: Any, retain: Any, held_out: Mapping[str, Any], seed: int, device: torch.device
) -> PreparedData:
    """Read all data once.

    Args:
        samples: the data that the model was trained on.
        forget, retain: as `unlearn` takes them.
        held_out: data by name; None for what is not given.
        seed: of what is drawn.
        device: where batches are made.

    Raises:
        InputError: a sample cannot be read or differs between two reads, or the data do not fit each other.
    """
    forget_rows = forget_set(forget, samples)
    others = None if is_selection(retain) else open_samples(retain, "retain", samples.normalization)
    training, names, image_digests = _training(samples, others, forget_rows, retain, seed, device)
    subsets = {name: SampleSubset(training, positions) for name, positions in names.items()}
    labels = subsets["forget"].labels.tolist()
    digests = [sample_digest(digest, label) for digest, label in zip(image_digests, labels, strict=True)]
    warnings = _warnings(samples) + ([] if others is None else _warnings(others))
    for name, data in held_out.items():
        if data is None:
            continue
        opened = open_samples(data, name, samples.normalization)
        subsets[name], held_out_digests = _held_out(opened, device)
        _check_type(opened, samples)
        warnings += _warnings(opened) + _copies(name, held_out_digests, image_digests)
    return PreparedData(subsets, forget_rows, digests, warnings)


def _training(
    samples: Samples, others: Samples | None, forget: ForgetSet, retain: Any, seed: int, device: torch.device
) -> tuple[TrainingSamples, dict[str, Tensor], list[bytes]]:
    """The samples that the method may read, positions of its subsets, and the digests of the forgotten images."""
    samples.check_repeatable(forget.rows.tolist())
    if others is None:
        retained = retained_rows(retain, forget, len(samples), seed)
        rows = np.union1d(forget.rows, retained)
        sources = np.zeros(len(rows), dtype=np.int64)
        samples.check_repeatable(retained.tolist())
    else:
        retained = np.arange(len(others))
        rows = np.concatenate([forget.rows, retained])
        sources = np.repeat([0, 1], [len(forget.rows), len(retained)])
        others.check_repeatable(retained.tolist())
    opened = (samples,) if others is None else (samples, others)
    scans = [each.scan(rows[sources == index].tolist()) for index, each in enumerate(opened)]
    if others is not None:
        _check_type(others, samples)
        others.check_shape(samples)
    labels = torch.cat([scan[0] for scan in scans])
    digests = [digest for scan in scans for digest in scan[1]]
    is_forgotten = (sources == 0) & np.isin(rows, forget.rows)
    forget_digests = [digests[position] for position in np.flatnonzero(is_forgotten)]
    check_content(
        forget_digests, [digests[position] for position in np.flatnonzero(~is_forgotten)], rows[~is_forgotten]
    )
    training = TrainingSamples(opened, sources, rows, labels.to(device), device)
    positions = torch.arange(len(rows), device=device)
    mask = torch.from_numpy(is_forgotten).to(device)
    measured = np.flatnonzero(~is_forgotten)
    if len(measured) > MAX_RETAIN_MEASURED:
        measured = np.sort(np.random.default_rng(seed).choice(measured, MAX_RETAIN_MEASURED, replace=False))
    names = {"train": positions, "forget": positions[mask], "retain": positions[~mask]}
    return training, {**names, "retain_measured": torch.from_numpy(measured).to(device)}, forget_digests


def _held_out(samples: Samples, device: torch.device) -> tuple[SampleSubset, list[bytes]]:
    """All samples of a held-out data set, and the digests of their images."""
    rows: Integers = np.arange(len(samples))
    samples.check_repeatable(rows.tolist())
    labels, digests = samples.scan(rows.tolist())
    training = TrainingSamples((samples,), np.zeros(len(rows), np.int64), rows, labels.to(device), device)
    return SampleSubset(training, torch.from_numpy(rows).to(device)), digests


def _check_type(samples: Samples, dataset: Samples) -> None:
    """Images of uint8 and of float32 would be normalized in two ways."""
    if samples.image_type != dataset.image_type:
        raise InputError(
            f"{samples.where}: must have images of {dataset.image_type} as {dataset.where} has, got {samples.image_type}"
        )


def _warnings(samples: Samples) -> list[str]:
    name = "the data set" if samples.where == "dataset" else samples.where
    if not samples.left_out:
        return samples.warnings
    return [f"random transforms of {name} are not applied: {', '.join(samples.left_out)}", *samples.warnings]


def _copies(name: str, digests: list[bytes], forget_digests: list[bytes]) -> list[str]:
    held_out = set(digests)
    count = sum(digest in held_out for digest in forget_digests)
    if not count:
        return []
    return [
        f"{count} of the forgotten samples are in {name} too: the results on held-out samples include them; leave "
        f"them out of {name}"
    ]
