"""Checks all arguments of `unlearn` and reads what must be known before any work starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from adaprob_ray.catalogue import METHODS, REGISTRY
from adaprob_ray.data.dataset import Integers
from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.methods.base import LARGE_SCALE_SAMPLES, Unlearning
from adaprob_ray.models.weights import weights_digest
from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import all_settings, hyperparameters, parse_settings
from adaprob_ray.unlearning.checks import check_method, check_outputs
from adaprob_ray.unlearning.network import (
    BATCH_NORM_CHOICES,
    AdaptedNetwork,
    BatchNormChoice,
    check_network,
)
from adaprob_ray.unlearning.request import ForgetSet, check_content, forget_set, retained_rows
from adaprob_ray.unlearning.samples import Normalization, Samples, open_samples
from adaprob_ray.unlearning.subset import SampleSubset, TrainingSamples
from adaprob_ray.user_code.folders import look_in
from adaprob_ray.user_code.source import is_path

# Retained samples on which errors are measured, before and after: of more, a sample of so many is drawn.
MAX_RETAIN_MEASURED = 2_000
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Plan:
    """All that `execute` needs. `subsets`: forget, retain, train, retain_measured, and validation and test if given.

    Attributes:
        network: the adapted copy of the model, with the original weights.
        references: adapted models that were trained without the forgotten samples.
        method: the method with its settings.
        forget: the rows of the data set.
        forget_digests: of each forgotten sample.
        parent_digest: SHA-256 of the model's weights, see `weights.weights_digest`.
        retain_argument: what `retain` was: all others, given, or sample:NUMBER.
        normalization: of the images of all data sets.
        warnings: what the user should know.
        tuning: how the settings were chosen; empty if they were given.
    """

    network: AdaptedNetwork
    references: list[AdaptedNetwork]
    method: Unlearning
    subsets: Mapping[str, SampleSubset]
    forget: ForgetSet
    forget_digests: list[bytes]
    parent_digest: str
    retain_argument: str
    device: torch.device
    precision: str
    batch_norm: BatchNormChoice
    max_drop: float
    seed: int
    recipe: Recipe
    classes: int
    normalization: Normalization = field(default_factory=Normalization)
    warnings: list[str] = field(default_factory=list)
    tuning: Mapping[str, Any] = field(default_factory=dict)


def prepare(
    model: nn.Module,
    dataset: Any,
    *,
    forget: Any,
    retain: Any,
    method: str,
    settings: Mapping[str, Any],
    validation: Any,
    test: Any,
    references: Sequence[nn.Module],
    forward: Callable[[nn.Module, Tensor], Any] | None,
    mean: Sequence[float],
    std: Sequence[float],
    batch_norm: BatchNormChoice | None,
    max_drop: float,
    precision: str,
    device: str,
    seed: int,
) -> Plan:
    """Check and read. Raises InputError; nothing is written or changed."""
    check_network(model)
    if batch_norm is not None:
        _check_choice("batch_norm", batch_norm, BATCH_NORM_CHOICES)
    _check_choice("precision", precision, PRECISIONS)
    if not (isinstance(max_drop, (int, float)) and 0 <= max_drop < math.inf):
        raise InputError(f"max_drop: must be a number of percentage points of at least 0, got {max_drop!r}")
    where = select_device(device)
    normalization = Normalization(tuple(mean), tuple(std))
    samples = open_samples(dataset, "dataset", normalization)
    unlearning = make_method(method, settings, samples.batch_size, max_drop)
    # A method without the recipe trains batch norm in every sweep, and was not made for frozen statistics.
    batch_norm = batch_norm or ("frozen" if "recipe" in unlearning.needs else "train")
    forget_rows = forget_set(forget, samples)
    is_own_retain = not (retain is None or isinstance(retain, (str, list, set, np.ndarray, torch.Tensor)))
    others = open_samples(retain, "retain", normalization) if is_own_retain else None
    training, names, digests = _training(samples, others, forget_rows, retain, seed, where)
    subsets = {name: SampleSubset(training, positions) for name, positions in names.items()}
    if len(subsets["train"]) >= LARGE_SCALE_SAMPLES:
        unlearning = _at_large_scale(unlearning, settings, is_class=forget_rows.kind == "class")
    for name, data in (("validation", validation), ("test", test)):
        if data is not None:
            subsets[name] = _held_out(open_samples(data, name, normalization), where)
    adapted = AdaptedNetwork(model, forward=forward, batch_norm=batch_norm, device=where)
    classes = check_outputs(adapted, subsets)
    recipe = Recipe(batch_norm="train" if batch_norm == "train" else "frozen")
    check_method(unlearning, adapted, subsets, recipe, classes)
    adapted_references = []
    for number, reference in enumerate(references, 1):
        try:
            adapted_references.append(AdaptedNetwork(reference, forward=forward, device=where))
        except InputError as error:
            raise InputError(f"reference {number}: {error}") from error
        check_outputs(adapted_references[-1], {"forget": subsets["forget"]}, f"reference {number}", classes)
    return Plan(
        network=adapted,
        references=adapted_references,
        method=unlearning,
        subsets=subsets,
        forget=forget_rows,
        forget_digests=digests,
        parent_digest=weights_digest(model.state_dict()),
        retain_argument=retain if isinstance(retain, str) else "all others" if retain is None else "given",
        device=where,
        precision=precision,
        batch_norm=batch_norm,
        max_drop=float(max_drop),
        seed=seed,
        recipe=recipe,
        classes=classes,
        normalization=normalization,
        warnings=_warnings(samples, adapted),
    )


def _warnings(samples: Samples, network: AdaptedNetwork) -> list[str]:
    lines = []
    if samples.left_out:
        lines.append(f"random transforms of the data set are not applied: {', '.join(samples.left_out)}")
    if network.output_count > 1:
        lines.append(
            f"the model returns {network.output_count} tensors; the first is taken for the logits. If they are another one, "
            "wrap the model, or in Python pass forward=lambda model, images: …"
        )
    return lines


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{name}: must be one of {', '.join(choices)}, got {value!r}")


def select_device(name: str) -> torch.device:
    """The device of this name; `auto` is a GPU if there is one. Raises InputError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        known = ["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise InputError(f"device: must be available here, got {name!r} (known: {', '.join(known)})") from error
    return device


def make_method(
    name: str, settings: Mapping[str, Any], batch_size: int | None = None, max_drop: float | None = None
) -> Unlearning:
    """A method of the catalogue, or of a path as `my_package.mine:MyMethod`, with these settings. Raises InputError.

    Args:
        batch_size: of the DataLoader that was passed, used if the method has one batch size and none is set.
        max_drop: for a method that lowers its own rate before the validation error rises by more.
    """
    if is_path(name):
        look_in(Path.cwd())
        if path_faults := REGISTRY.name_faults("method", name):
            raise InputError(*(f"method: {fault}" for fault in path_faults))
    methods = {key: value for key, value in METHODS.items() if issubclass(value, Unlearning)}
    if name not in methods:
        if name in METHODS:
            raise InputError(f"method: must start from the trained model, got {name} (known: {', '.join(methods)})")
        raise InputError(unknown_name("method", name, methods))
    values = dict(settings)
    if batch_size is not None and "batch_size" in hyperparameters(methods[name]):
        values.setdefault("batch_size", batch_size)
    if max_drop and "max_drop" in hyperparameters(methods[name]) and values.get("lr", "auto") == "auto":
        values.setdefault("max_drop", float(max_drop))
    method, faults = parse_settings(methods[name], values, name)
    if method is None:
        raise InputError(*faults)
    return method


def _at_large_scale(method: Unlearning, settings: Mapping[str, Any], *, is_class: bool) -> Unlearning:
    """The method with its authors' settings for large data sets, apart from those that are given."""
    if not method.large_scale:
        return method
    chosen = {**method.large_scale, **(method.large_scale_class if is_class else {}), **settings}
    return with_settings(method, {**all_settings(method), **chosen})


def with_settings(method: Unlearning, settings: Mapping[str, Any]) -> Unlearning:
    """A method of the same kind with these settings. Raises InputError."""
    changed, faults = parse_settings(type(method), settings, method.name)
    if changed is None:
        raise InputError(*faults)
    return changed


def _training(
    samples: Samples, others: Samples | None, forget: ForgetSet, retain: Any, seed: int, device: torch.device
) -> tuple[TrainingSamples, dict[str, Tensor], list[bytes]]:
    """The samples that the method may read, positions of its subsets, and the digests of the forgotten samples."""
    if others is None:
        retained = retained_rows(retain, forget, len(samples), seed)
        rows = np.union1d(forget.rows, retained)
        sources = np.zeros(len(rows), dtype=np.int64)
    else:
        retained = np.arange(len(others))
        rows = np.concatenate([forget.rows, retained])
        sources = np.repeat([0, 1], [len(forget.rows), len(retained)])
    samples.check_repeatable([int(row) for row in forget.rows])
    scans = [
        each.scan(rows[sources == index].tolist()) for index, each in enumerate((samples, others)) if each is not None
    ]
    labels = torch.cat([scan[0] for scan in scans])
    digests = [digest for scan in scans for digest in scan[1]]
    is_forgotten = (sources == 0) & np.isin(rows, forget.rows)
    forget_digests = [digests[position] for position in np.flatnonzero(is_forgotten)]
    check_content(
        forget_digests, [digests[position] for position in np.flatnonzero(~is_forgotten)], rows[~is_forgotten]
    )
    training = TrainingSamples(
        tuple(each for each in (samples, others) if each is not None), sources, rows, labels.to(device), device
    )
    positions = torch.arange(len(rows), device=device)
    mask = torch.from_numpy(is_forgotten).to(device)
    measured = np.flatnonzero(~is_forgotten)
    if len(measured) > MAX_RETAIN_MEASURED:
        measured = np.sort(np.random.default_rng(seed).choice(measured, MAX_RETAIN_MEASURED, replace=False))
    names = {"train": positions, "forget": positions[mask], "retain": positions[~mask]}
    return training, {**names, "retain_measured": torch.from_numpy(measured).to(device)}, forget_digests


def _held_out(samples: Samples, device: torch.device) -> SampleSubset:
    """All samples of a held-out data set."""
    rows: Integers = np.arange(len(samples))
    labels, _ = samples.scan(rows.tolist())
    training = TrainingSamples((samples,), np.zeros(len(rows), np.int64), rows, labels.to(device), device)
    return SampleSubset(training, torch.from_numpy(rows).to(device))


assert get_args(BatchNormChoice) == BATCH_NORM_CHOICES
