"""What is wrong with the unlearning requests of a file, as far as it is known without the labels of the data set."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from adaprob_ray.errors import first_names
from adaprob_ray.sweep.forget_files import UnreadableIndices
from adaprob_ray.sweep.forget_request import ForgetRequest
from adaprob_ray.sweep.registry import DatasetEntry

# Indices that one message names.
MAX_INDICES_SHOWN = 5
_KEYS = {"selective": {"kind", "class", "count"}, "class": {"kind", "class"}, "indices": {"kind", "indices"}}
_FORMS = "{kind: class, class: C}, {kind: selective, class: C, count: N}, {indices: FILE or list} or {sequence: list of these}"


def forget_faults(name: str, dataset: DatasetEntry | None, forget: Any) -> list[str]:
    """What is wrong with an unlearning request, from its shape and from the sizes of its data set if that is known."""
    if isinstance(forget, dict) and "sequence" in forget:
        return _sequence_faults(name, dataset, forget)
    kind = forget.get("kind") if isinstance(forget, dict) else None
    if not isinstance(kind, str) or set(forget) != _KEYS.get(kind):
        return [f"must be {_FORMS}, got {forget!r}"]
    if kind == "indices":
        return _index_faults(name, dataset, forget["indices"])
    if dataset is None:
        return []
    label = forget["class"]
    if type(label) is not int or not 0 <= label < dataset.classes:
        return [f"{name}: class must be 0 to {dataset.classes - 1}, got {label!r}"]
    available = dataset.train_per_class[label]
    count = forget.get("count", available)
    if type(count) is not int or not 1 <= count <= available:
        return [f"{name}: count must be 1 to {available} (the training images of class {label}), got {count!r}"]
    if sum(dataset.train_per_class) - count < 1:
        return [f"{name}: forgetting {count} samples leaves nothing to retain"]
    return []


def _sequence_faults(name: str, dataset: DatasetEntry | None, forget: Mapping[str, Any]) -> list[str]:
    """What is wrong with a sequence of requests, as far as it is known without the labels of the data set."""
    requests = forget["sequence"]
    if set(forget) != {"sequence"} or not isinstance(requests, list) or not requests:
        return [f"must be {{sequence: list of at least one request}}, got {forget!r}"]
    faults = [
        f"sequence: request {number}: {fault}"
        for number, request in enumerate(requests, 1)
        for fault in (
            ["must be a single request, got a sequence"]
            if isinstance(request, dict) and "sequence" in request
            else forget_faults(name, dataset, request)
        )
    ]
    if faults:
        return faults
    steps = [ForgetRequest.from_document(request) for request in requests]
    for (first, earlier), (second, later) in itertools.combinations(enumerate(steps, 1), 2):
        if shared := _shared_samples(earlier, later):
            faults.append(f"sequence: request {second} must name samples that request {first} does not, got {shared}")
    if faults or dataset is None:
        return faults
    counts = [step.count or dataset.train_per_class[step.class_index or 0] for step in steps]
    if sum(counts) >= sum(dataset.train_per_class):
        return [f"{name}: forgetting {sum(counts)} samples in {len(steps)} requests leaves nothing to retain"]
    return []


def _shared_samples(earlier: ForgetRequest, later: ForgetRequest) -> str:
    """Words for the samples that two requests have in common, empty for none. The classes of indices are not known here."""
    if earlier.kind == later.kind == "indices":
        both = sorted({*earlier.indices} & {*later.indices})
        return f"{first_names([str(index) for index in both], MAX_INDICES_SHOWN)} in both" if both else ""
    if "indices" in (earlier.kind, later.kind) or earlier.class_index != later.class_index:
        return ""
    counts = [request.count for request in (earlier, later) if request.count is not None]
    if len(counts) < 2:
        return f"class {later.class_index} in both"
    order = "those of a class are drawn in one order; `indices` names others"
    return f"{min(counts)} samples of class {later.class_index} in both ({order})"


def _index_faults(name: str, dataset: DatasetEntry | None, indices: Any) -> list[str]:
    """What is wrong with the indices of a request; those of a file are a list by now."""
    if isinstance(indices, UnreadableIndices):
        return [str(indices)]
    if not isinstance(indices, list) or not indices:
        return [f"indices: must be a file, or a list of at least one index, got {indices!r}"]
    if others := [repr(index) for index in indices if type(index) is not int]:
        return [f"indices: must be integers, got {first_names(others, MAX_INDICES_SHOWN)}"]
    if repeated := [str(index) for index, count in Counter(indices).items() if count > 1]:
        return [f"indices: must name each sample once, got {first_names(repeated, MAX_INDICES_SHOWN)} more than once"]
    total = math.inf if dataset is None else sum(dataset.train_per_class)
    if outside := [str(index) for index in indices if not 0 <= index < total]:
        limits = "at least 0" if dataset is None else f"0 to {total - 1} (the training images of {name})"
        return [f"indices: must be {limits}, got {first_names(outside, MAX_INDICES_SHOWN)}"]
    if len(indices) == total:
        return [f"{name}: forgetting all {total} training images leaves nothing to retain"]
    return []
