"""What `unlearn` prints: its inputs before the work, and the main numbers after it."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adaprob_ray.settings import as_mapping
from adaprob_ray.unlearning.evidence import by_metric, evidence
from adaprob_ray.unlearning.inputs import Inputs, LoadedInputs
from adaprob_ray.unlearning.page import METRIC_WORDS, format_value
from adaprob_ray.unlearning.prepare import Plan
from adaprob_ray.unlearning.run import Run

WIDTH = 100


def input_lines(inputs: Inputs, loaded: LoadedInputs, plan: Plan) -> Iterator[str]:
    """Model, data and normalization, as they were understood."""
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    yield from _wrapped(f"model: {inputs.model}, {count:,} parameters, weights: {inputs.weights or 'of the factory'}")
    if loaded.weights is not None:
        for name in loaded.weights.left_out:
            yield f"  {name} is not written with the new weights: it holds tensors of the original training"
    counts = {name: len(plan.subsets[name]) for name in ("validation", "test") if name in plan.subsets}
    held_out = "".join(f", {count:,} {name}" for name, count in counts.items()) or ", none held out"
    retained = len(plan.subsets["retain"])
    yield from _wrapped(f"data: {inputs.data}, {len(plan.forget.rows):,} to forget, {retained:,} retained{held_out}")
    origin = "the default of the data" if inputs.mean is None else "as given"
    if loaded.mean:
        values = f"mean {_numbers(loaded.mean)}, std {_numbers(loaded.std)}"
        yield from _wrapped(f"normalization ({origin}): {values}, of pixels/255")
    else:
        yield f"normalization ({origin}): none, but uint8 images are divided by 255"


def result_lines(run: Run, seconds: Mapping[str, float], paths: Sequence[Path], out: Path) -> Iterator[str]:
    """What was forgotten, the main numbers before and after, warnings, times, and the paths."""
    plan = run.plan
    what = f"class {plan.forget.class_index}, " if plan.forget.class_index is not None else ""
    settings = ", ".join(
        f"{name}={setting(value)}" for name, value in as_mapping(plan.method).items() if value is not None
    )
    yield ""
    yield from _wrapped(f"Unlearned {what}{len(plan.forget.rows):,} samples by {plan.method.name} ({settings})")
    yield ""
    yield f"{'':<42}{'before':>26}{'after':>26}"
    measured = evidence(run)
    for metric, items in by_metric(measured).items():
        words = METRIC_WORDS.get(items[0].metric, (metric, ""))[0]
        if items[0].against.startswith("reference"):
            words = f"KL on forgotten samples, {items[0].against} (nats)"
        entries = {item.model: format_value(item) for item in items}
        if "unlearned" in entries:
            yield f"{words:<42}{entries.get('original', '–'):>26}{entries['unlearned']:>26}"
    floor = next((item.floor for item in measured if item.floor is not None), None)
    if floor is not None:
        yield f"{'the same between the references':<42}{'':>26}{floor:>26.3f}"
    yield "Values in parentheses are 95 % intervals."
    for warning in run.warnings:
        yield from _wrapped(f"warning: {warning}")
    total = sum(seconds.values())
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    yield ""
    yield from _wrapped(f"time: {parts}; {total:.1f} s in all")
    yield from _wrapped(f"wrote {out}{os.sep}: {', '.join(path.name for path in paths)}")
    yield f"recompute every number: {shlex.join(['adaprob-ray', 'audit', str(out)])}"


def _wrapped(text: str) -> list[str]:
    """Lines of at most WIDTH characters; a path is never broken."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def setting(value: object) -> str:
    """A value of a setting, short."""
    return f"{value:g}" if isinstance(value, float) else str(value)
