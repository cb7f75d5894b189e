"""Generates docs/methods.md from the docstrings, fields and declared costs of the methods, in the order of the catalogue.

python -m docs.generate     writes it, docs/metrics.md and docs/sweep-file.md (make docs); a test fails while one is out of date
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, METHODS
from adaprob_ray.describe import format_value, module_docstring, module_summary
from adaprob_ray.methods.base import LARGE_SCALE_SAMPLES, Cost, Method, Sizes, Unlearning
from adaprob_ray.recipe import RECIPES
from adaprob_ray.settings import Choice, Hyperparameter, hyperparameters
from docs import metrics_page, sweep_file
from docs.markdown import prose, table

PATH = Path(__file__).resolve().parent / "methods.md"
TITLE = "# Methods\n\n*Written by `make docs` from the files of `adaprob_ray/methods/`; edit those.*\n"
# The small-scale setting of the paper (protocol §3), for which the page states costs.
FORGET_ROWS = 25
EXAMPLE = f"cifar5, ResNet-18 with width multiplier 0.4, recipe small, {FORGET_ROWS} of 500 samples forgotten"


def example_sizes() -> Sizes:
    """The sizes of EXAMPLE."""
    dataset = DATASETS["cifar5"]
    return Sizes(
        retain=sum(dataset.train_per_class) - FORGET_ROWS,
        forget=FORGET_ROWS,
        validation=dataset.pool_per_class[0] - dataset.train_per_class[0],
        recipe_epochs=RECIPES["small"].epochs,
        recipe_decay=RECIPES["small"].decay,
        classes=dataset.classes,
        parameters=ARCHITECTURES["resnet18"].parameter_count(
            classes=dataset.classes, channels=dataset.channels, filters=0.4
        ),
    )


# -- docstrings ----------------------------------------------------------------------------------------------------------


def blocks(text: str) -> Iterator[list[str]]:
    """Groups of lines: a paragraph, an indented block, or one numbered item."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        item, indented = re.match(r"\d+\. ", line), line.startswith("    ")
        if block and (not line.strip() or item or indented != block[-1].startswith("    ")):
            yield block
            block = []
        if line.strip():
            block.append(line)


def markdown(text: str) -> str:
    """A docstring as Markdown: indented blocks (equations) are fenced, each paragraph or numbered item is one line."""
    page, is_item = "", False
    for block in blocks(text):
        if block[0].startswith("    "):
            rendered = "\n".join(["```text", *(line[4:] for line in block), "```"])
        else:
            rendered = prose("\n".join(block))
        follows_item, is_item = is_item, bool(re.match(r"\d+\. ", rendered))
        page += ("" if not page else "\n" if is_item and follows_item else "\n\n") + rendered
    return page


def source(cls: type[Method]) -> tuple[str, str]:
    """The publication that a docstring cites, in its first sentence or after "Source:", and what the paper cites instead."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in module_docstring(cls).split("\n\n")]
    sources = (text.removeprefix("Source: ") for text in paragraphs if text.startswith("Source: "))
    source_text = next(sources, "")
    citation = re.search(r"\(([^()]*\"(, \d{4})?)[^()]*\)", paragraphs[0])
    instead = re.search(r"the paper cites (.+?)\.?$", source_text, flags=re.IGNORECASE)
    return citation[1] if citation else source_text.split(". ")[0], instead[1] if instead else ""


# -- tables ---------------------------------------------------------------------------------------------------------------


def span(field: Hyperparameter) -> str:
    """A field's range in words."""
    if field.choices:
        return ", ".join(f"`{choice}`" for choice in field.choices)
    signs = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "\\<"))
    words = [
        word for arm in typing.get_args(field.annotation) for word in typing.get_args(arm) if isinstance(word, str)
    ]
    bounds = ", ".join(f"{sign} {field.bounds[name]:g}" for name, sign in signs if name in field.bounds)
    return " or ".join([bounds, *(f"`{word}`" for word in words)])


def search_range(field: Hyperparameter) -> str:
    search = field.search
    if search is None:
        return ""
    if isinstance(search, Choice):
        return ", ".join(map(format_value, search.values))
    return f"{format_value(search.low)} to {format_value(search.high)}, {type(search).__name__.lower()}"


def settings(cls: type[Method]) -> str:
    """The table of a method's hyperparameters."""
    rows = [
        [
            f"`{field.name}`",
            field.unit,
            span(field),
            f"`{format_value(field.default)}`",
            search_range(field),
            prose(field.help),
        ]
        for field in hyperparameters(cls).values()
    ]
    if not rows:
        return "No hyperparameters.\n"
    return table(["name", "unit", "range", "default", "search", "about"], rows)


def passes(cost: Cost, sizes: Sizes) -> str:
    """Forward and backward passes, in units of the training set."""
    return f"{cost.forward / sizes.train:,.4g} + {cost.backward / sizes.train:,.4g}"


def passes_per_epoch(cls: type[Method], sizes: Sizes) -> str:
    """The passes of the second epoch, which includes no preparation."""
    if cls.stage == "train":
        method, one_more_epoch = cls(), dataclasses.replace(sizes, recipe_epochs=sizes.recipe_epochs + 1)
        first, second = method.cost(sizes), method.cost(one_more_epoch)
    elif "epochs" in (field.name for field in dataclasses.fields(cls)):  # type: ignore[arg-type]
        first, second = (cls(epochs=count).cost(sizes) for count in (1, 2))  # type: ignore[call-arg]
    else:
        return "no epochs"
    return passes(Cost(forward=second.forward - first.forward, backward=second.backward - first.backward), sizes)


def needs(cls: type[Method]) -> str:
    if cls.stage == "train":
        return "training samples" if not cls.reads_forget else "retain"
    return ", ".join([*sorted(cls.needs), *(f"{name} (optional)" for name in sorted(cls.optional_needs))])


# -- the page -------------------------------------------------------------------------------------------------------------


def overview() -> str:
    """All methods in the order of the catalogue, with their needs and costs."""
    sizes = example_sizes()
    rows = [
        [
            f"[`{name}`](#{name})",
            prose(module_summary(cls)),
            needs(cls),
            passes_per_epoch(cls, sizes),
            ("at most " if cls().may_end_early else "") + passes(cls().cost(sizes), sizes),
        ]
        for name, cls in METHODS.items()
    ]
    note = (
        "Passes are forward + backward passes of examples through one network, in units of the training set, as declared by "
        f"`cost` and checked against a counter by the tests; for {EXAMPLE}, with default settings. "
        "Per epoch: of the second epoch. Whole run: including preparation; at most, where a run may end early.\n"
    )
    return table(["method", "what it does", "needs", "passes per epoch", "passes, whole run"], rows) + "\n" + note


def sources() -> str:
    rows = [[f"[`{name}`](#{name})", *map(prose, source(cls))] for name, cls in METHODS.items() if source(cls)[0]]
    return "## Sources\n\n" + table(["method", "published as", "the paper cites instead"], rows)


def large_scale(cls: type[Method]) -> list[str]:
    """What `unlearn` sets for many samples."""
    if not (issubclass(cls, Unlearning) and cls.large_scale):
        return []
    always, of_class = (
        ", ".join(f"`{name}` = {value}" for name, value in values.items())
        for values in (cls.large_scale, cls.large_scale_class)
    )
    words = f"{always}; for a whole class {of_class}" if of_class else always
    return [f"`adaprob_ray.unlearn` with {LARGE_SCALE_SAMPLES:,} samples or more, where not given: {words}."]


def section(name: str, cls: type[Method]) -> str:
    file = Path(inspect.getfile(cls)).name
    facts = [
        prose(inspect.getdoc(cls) or ""),
        f"Needs: {needs(cls)}.",
        *large_scale(cls),
        f"File: [`{file}`](../adaprob_ray/methods/{file}), revision {cls.revision}.",
    ]
    lines = "\n".join(f"- {fact}" for fact in facts)
    return f"## {name}\n\n{lines}\n\n{markdown(module_docstring(cls))}\n\n{settings(cls)}"


def page() -> str:
    return "\n".join([TITLE, overview(), sources(), *(section(name, cls) for name, cls in METHODS.items())])


if __name__ == "__main__":
    for path, text in ((PATH, page()), (metrics_page.PATH, metrics_page.page()), (sweep_file.PATH, sweep_file.page())):
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
