"""Checks all arguments of `unlearn` and reads what must be known before any work starts."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from adaprob_ray.catalogue import METHODS, REGISTRY
from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.methods.base import LARGE_SCALE_SAMPLES, Unlearning
from adaprob_ray.models.weights import weights_digest
from adaprob_ray.recipe import Recipe
from adaprob_ray.settings import all_settings, hyperparameters, parse_settings
from adaprob_ray.unlearning.checks import check_method, check_outputs
from adaprob_ray.unlearning.memory import out_of_memory_as_input_error
from adaprob_ray.unlearning.network import (
    BATCH_NORM_CHOICES,
    AdaptedNetwork,
    BatchNormChoice,
    check_network,
)
from adaprob_ray.unlearning.normalization import Normalization
from adaprob_ray.unlearning.prepare_data import prepare_data
from adaprob_ray.unlearning.request import ForgetSet
from adaprob_ray.unlearning.samples import open_samples
from adaprob_ray.unlearning.subset import SampleSubset
from adaprob_ray.user_code.folders import look_in
from adaprob_ray.user_code.source import is_path

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


@out_of_memory_as_input_error()
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
    _check_numbers(max_drop, seed)
    seed = int(seed)
    where, normalization = select_device(device), Normalization.of(mean, std)
    samples = open_samples(dataset, "dataset", normalization)
    unlearning = make_method(method, settings, samples.batch_size, max_drop)
    # A method without the recipe trains batch norm in every sweep, and was not made for frozen statistics.
    batch_norm = batch_norm or ("frozen" if "recipe" in unlearning.needs else "train")
    data = prepare_data(samples, forget, retain, {"validation": validation, "test": test}, seed, where)
    subsets = data.subsets
    if len(subsets["train"]) >= LARGE_SCALE_SAMPLES:
        unlearning = _at_large_scale(unlearning, settings, is_class=data.forget.kind == "class")
    adapted = AdaptedNetwork(model, forward=forward, batch_norm=batch_norm, device=where)
    classes = check_outputs(adapted, subsets)
    recipe = Recipe(batch_norm="train" if batch_norm == "train" else "frozen")
    check_method(unlearning, adapted, subsets, recipe, classes)
    parent_digest = weights_digest(model.state_dict())
    _check_references(references, parent_digest)
    adapted_references = []
    for number, reference in enumerate(references, 1):
        with _named(f"reference {number}"):
            adapted_references.append(AdaptedNetwork(reference, forward=forward, device=where))
            check_outputs(adapted_references[-1], {"forget": subsets["forget"]}, classes=classes)
    return Plan(
        network=adapted,
        references=adapted_references,
        method=unlearning,
        subsets=subsets,
        forget=data.forget,
        forget_digests=data.forget_digests,
        parent_digest=parent_digest,
        retain_argument=retain if isinstance(retain, str) else "all others" if retain is None else "given",
        device=where,
        precision=precision,
        batch_norm=batch_norm,
        max_drop=float(max_drop),
        seed=seed,
        recipe=recipe,
        classes=classes,
        normalization=normalization,
        warnings=[*data.warnings, *_output_warnings(adapted)],
    )


def _check_numbers(max_drop: Any, seed: Any) -> None:
    is_number = not isinstance(max_drop, bool) and isinstance(max_drop, numbers.Real)
    if not (is_number and 0 <= float(max_drop) < math.inf):
        raise InputError(f"max_drop: must be a number of percentage points of at least 0, got {max_drop!r}")
    is_number = not isinstance(seed, bool) and isinstance(seed, numbers.Integral)
    if not (is_number and 0 <= int(seed) < 2**63):
        raise InputError(f"seed: must be an integer from 0 to 2**63 - 1, got {seed!r}")


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors about a model in the block are about the one of this name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _check_references(references: Sequence[nn.Module], parent_digest: str) -> None:
    """Raises InputError if a reference is no network, or has the weights of the original or of another reference."""
    for number, reference in enumerate(references, 1):
        with _named(f"reference {number}"):
            check_network(reference)
    names = {parent_digest: "the original"}
    for number, reference in enumerate(references, 1):
        digest = weights_digest(reference.state_dict())
        if digest in names:
            raise InputError(f"reference {number}: must be a model of its own, got the weights of {names[digest]}")
        names[digest] = f"reference {number}"


def _output_warnings(network: AdaptedNetwork) -> list[str]:
    if network.output_count == 1:
        return []
    return [
        f"the model returns {network.output_count} tensors; the first is taken as the logits. If another one holds the logits, "
        "wrap the model, or in Python pass forward=lambda model, images: …"
    ]


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


assert get_args(BatchNormChoice) == BATCH_NORM_CHOICES
