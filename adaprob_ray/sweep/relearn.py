"""What a sweep asks of relearning: its settings, and whether the weights that it needs are kept."""

from __future__ import annotations

from typing import Any

from adaprob_ray.sweep.file import SweepFile, alternatives
from adaprob_ray.sweep.settings import check
from adaprob_ray.sweep.vocabulary import Vocabulary

RELEARN = "relearn"  # the metric that asks for it, the stage that makes it, and that cell's role among an evaluation's parents


def relearn_settings(file: SweepFile, vocabulary: Vocabulary) -> tuple[dict[str, Any], list[str]]:
    """The settings of all relearn cells, none where the sweep does not ask for them, and what is wrong, one line each."""
    if RELEARN not in file.metrics:
        return {}, [f"relearn: is of no use where metrics does not list {RELEARN}"] if file.relearn else []
    faults = []
    if file.keep.unlearn != "weights" and _unlearns(file, vocabulary):
        faults.append(f"metrics: {RELEARN} needs the weights of unlearned models; write keep: {{unlearn: weights}}")
    recipe = file.train.get("recipe", "large")
    if not isinstance(recipe, str) or recipe not in vocabulary.recipes:
        return {}, faults  # reported where recipes are
    defaults = vocabulary.relearning.get(recipe)
    if defaults is None and "lr" not in file.relearn:
        known = ", ".join(sorted(vocabulary.relearning))
        return {}, [*faults, f"relearn: lr: must be written for recipe {recipe!r} (known for: {known})"]
    cls = type(defaults or next(iter(vocabulary.relearning.values())))
    chosen = {} if defaults is None else {name: getattr(defaults, name) for name in cls.__dataclass_fields__}
    settings, wrong = check(cls, {**chosen, **file.relearn}, RELEARN)
    return settings, faults + wrong


def _unlearns(file: SweepFile, vocabulary: Vocabulary) -> bool:
    """Whether a label starts from the original, and so makes a model that drops its weights unless told otherwise."""
    names = [entry.get("method", label) for label, given in file.methods.items() for entry in alternatives(given)]
    known = [vocabulary.methods[name] for name in names if isinstance(name, str) and name in vocabulary.methods]
    return any(method.stage == "unlearn" for method in known)
