"""Labels of a sweep file: the settings of methods under each, which may depend on the grid point."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adaprob_ray.describe import format_value
from adaprob_ray.errors import unknown_name
from adaprob_ray.settings import all_settings, as_mapping, expand_lists, parse_settings
from adaprob_ray.sweep.checks import Faults, GridPoint
from adaprob_ray.sweep.registry import MethodEntry, Registry
from adaprob_ray.sweep.schema import SweepFile, label_settings

# Labels that every sweep trains and evaluates, whether or not its file lists them.
REFERENCES = ("original", "retrain", "retrain_independent")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")


@dataclass(frozen=True)
class MethodChoice:
    """One combination of settings under a label: the method's name, its hyperparameters, and the method itself.

    `distinguishing_settings`: those hyperparameters that differ between the settings of the label, as `name=value`.
    """

    name: str
    hyper: Mapping[str, Any]
    method: MethodEntry
    distinguishing_settings: tuple[str, ...] = ()


def check_labels(file: SweepFile, registry: Registry, faults: Faults) -> None:
    """Names of labels, and the settings under each, wherever they apply."""
    for label, item in file.methods.items():
        if not is_label(label):
            rule = "must be up to 60 letters, digits, '_', '.', '-', and not 'floor'"
            faults.add(f"methods: a label {rule}, got {label!r}")
        for settings in label_settings(item):
            method_choices(label, settings, registry, faults)
    if file.primary_label is not None and file.primary_label not in file.methods:
        faults.add(f"primary_label: {unknown_name('label', file.primary_label, file.methods)}")


def is_label(text: str) -> bool:
    """Whether this can be a label."""
    return _LABEL.fullmatch(text) is not None and text != "floor"


def method_choices(label: str, settings: Mapping[str, Any], registry: Registry, faults: Faults) -> list[MethodChoice]:
    """The settings of a label: one, or several where lists multiply."""
    where, name = f"methods.{label}", settings.get("method", label)
    if lines := registry.name_faults("method", name):
        faults.add(*(f"{where}: {line}" for line in lines))
        return []
    hyper = {key: value for key, value in settings.items() if key != "method"}
    choices = []
    combinations = list(expand_lists(registry.methods[name], hyper))
    differing = [key for key in hyper if any(c[key] != combinations[0][key] for c in combinations)]
    for combination in combinations:
        method, lines = parse_settings(registry.methods[name], combination, where)
        faults.add(*lines)
        if method is not None:
            values = all_settings(method)
            distinguishing_settings = tuple(f"{key}={format_value(values[key])}" for key in differing)
            choices.append(MethodChoice(name, as_mapping(method), method, distinguishing_settings))
    return choices


def choices_at(file: SweepFile, label: str, point: GridPoint, registry: Registry, faults: Faults) -> list[MethodChoice]:
    """The settings of a label at one grid point."""
    item = file.methods.get(label, {})
    if isinstance(item, dict):
        return method_choices(label, item, registry, faults)
    where = f"methods.{label}"
    if not isinstance(item, list) or not all(_is_where_with(entry) for entry in item):
        faults.add(f"{where}: must be settings, or a list of {{where: …, with: …}}, got {item!r}")
        return []
    axes = GridPoint.__dataclass_fields__
    unknown = [name for entry in item for name in entry["where"] if name not in axes]
    faults.add(*(f"{where}: where: {unknown_name('key', name, axes)}" for name in unknown))
    if unknown:
        return []
    matching = [entry["with"] for entry in item if point.matches(entry["where"])]
    if len(matching) != 1:
        faults.add(f"{where}: {len(matching)} entries match {point}; exactly one must")
        return []
    return method_choices(label, matching[0], registry, faults)


def settings_at(file: SweepFile, label: str, point: GridPoint) -> Mapping[str, Any]:
    """The settings that a valid file writes for a label at one grid point, its `method` included."""
    item = file.methods[label]
    if isinstance(item, list):
        item = next(entry["with"] for entry in item if point.matches(entry["where"]))
    settings: Mapping[str, Any] = item
    return settings


def reference_choice(file: SweepFile, label: str, point: GridPoint, registry: Registry, faults: Faults) -> MethodChoice:
    """The one setting of original, retrain or retrain_independent; the last takes those of retrain."""
    default = registry.methods[label]()
    if label == "retrain_independent":
        if file.methods.get(label):
            faults.add(f"methods.{label}: takes the settings of retrain; write {{}}")
        hyper = reference_choice(file, "retrain", point, registry, faults).hyper
        return MethodChoice(label, hyper, registry.methods[label](**hyper))
    choices = choices_at(file, label, point, registry, faults)
    if len(choices) > 1:
        faults.add(f"methods.{label}: is a reference and takes one combination of settings, got {len(choices)}")
    if choices and choices[0].name != label:
        faults.add(f"methods.{label}: this label is reserved for the method of that name")
        return MethodChoice(label, as_mapping(default), default)
    return choices[0] if choices else MethodChoice(label, as_mapping(default), default)


def _is_where_with(entry: Any) -> bool:
    """Whether it is {where: a mapping, with: a mapping}."""
    is_pair = isinstance(entry, dict) and set(entry) == {"where", "with"}
    return is_pair and all(isinstance(value, dict) for value in entry.values())
