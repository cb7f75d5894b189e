"""What a sweep asks of relearning: its settings, and whether the weights that it needs are kept."""

from __future__ import annotations

from typing import Any

from adaprob_ray.settings import as_mapping, parse_settings
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.sweep.schema import SweepFile, alternatives

RELEARN = "relearn"  # the metric that asks for it, the stage that makes it, and that cell's role among an evaluation's parents


def relearn_settings(file: SweepFile, registry: Registry) -> tuple[dict[str, Any], list[str]]:
    """The settings of all relearn cells, none where the sweep does not ask for them, and what is wrong, one line each."""
    if RELEARN not in file.metrics:
        return {}, [f"relearn: is of no use where metrics does not list {RELEARN}"] if file.relearn else []
    faults = []
    if file.keep.unlearn != "weights" and _unlearns(file, registry):
        faults.append(f"metrics: {RELEARN} needs the weights of unlearned models; write keep: {{unlearn: weights}}")
    recipe = file.train.get("recipe", "large")
    if not isinstance(recipe, str) or recipe not in registry.recipes:
        return {}, faults  # reported where recipes are
    defaults = registry.relearning.get(recipe)
    if defaults is None and "lr" not in file.relearn:
        known = ", ".join(sorted(registry.relearning))
        return {}, [*faults, f"relearn: lr: must be written for recipe {recipe!r} (known for: {known})"]
    cls = type(defaults or next(iter(registry.relearning.values())))
    chosen = {} if defaults is None else as_mapping(defaults)
    settings, wrong = parse_settings(cls, {**chosen, **file.relearn}, RELEARN)
    return {} if settings is None else as_mapping(settings), faults + wrong


def _unlearns(file: SweepFile, registry: Registry) -> bool:
    """Whether a label starts from the original, and so makes a model that drops its weights unless told otherwise."""
    names = [entry.get("method", label) for label, given in file.methods.items() for entry in alternatives(given)]
    known = [registry.methods[name] for name in names if isinstance(name, str) and name in registry.methods]
    return any(method.stage == "unlearn" for method in known)
