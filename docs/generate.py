"""docs/methods.md from the method files themselves: their docstrings, fields and declared costs, and the catalogue's order.

python -m docs.generate     writes it (make docs); a test fails while it is stale
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaprob_ray.catalogue import DATASETS, METHODS, parameter_count
from adaprob_ray.methods.base import Cost, Method, Sizes
from adaprob_ray.recipe import RECIPES
from adaprob_ray.settings import Choice, Hyperparameter, hyperparameters

PATH = Path(__file__).resolve().parent / "methods.md"
TITLE = "# Methods\n\n*Written by `make docs` from the files of `adaprob_ray/methods/`; edit those.*\n"
FORGOTTEN = 25
EXAMPLE = f"cifar5, ResNet-18 with filters 0.4, recipe small, {FORGOTTEN} of 500 rows forgotten"


def example_sizes() -> Sizes:
    """Those of EXAMPLE."""
    dataset = DATASETS["cifar5"]
    return Sizes(
        retain=sum(dataset.train_per_class) - FORGOTTEN,
        forget=FORGOTTEN,
        validation=dataset.pool_per_class[0] - dataset.train_per_class[0],
        recipe_epochs=RECIPES["small"].epochs,
        recipe_decay=RECIPES["small"].decay,
        classes=dataset.classes,
        parameters=parameter_count("resnet18", dataset.classes, dataset.channels, 0.4),
    )


# -- a docstring ----------------------------------------------------------------------------------------------------------


def docstring(cls: type[Method]) -> str:
    module = inspect.getmodule(cls)
    return inspect.cleandoc(module.__doc__ or "") if module else ""


def blocks(text: str) -> Iterator[list[str]]:
    """Runs of lines that belong together: prose, an indented block, or one numbered item."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        item, indented = re.match(r"\d+\. ", line), line.startswith("    ")
        if block and (not line.strip() or item or indented != block[-1].startswith("    ")):
            yield block
            block = []
        if line.strip():
            block.append(line)


def prose(text: str) -> str:
    """Markdown of running text: code spans as they are, elsewhere the signs that Markdown would read."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(piece if piece.startswith("`") else re.sub(r"([*<|])", r"\\\1", piece) for piece in pieces)


def markdown(text: str) -> str:
    """A docstring as Markdown: indented blocks, the equations, fenced, and each paragraph or numbered item on one line."""
    page, item = "", False
    for block in blocks(text):
        if block[0].startswith("    "):
            new = "\n".join(["```text", *(line[4:] for line in block), "```"])
        else:
            new = prose("\n".join(block))
        after, item = item, bool(re.match(r"\d+\. ", new))
        page += ("" if not page else "\n" if item and after else "\n\n") + new
    return page


def statement(cls: type[Method]) -> str:
    """What the method does, in one line: the docstring up to its source."""
    first = " ".join(docstring(cls).split("\n\n")[0].split())
    return re.split(r" \(|(?<=\w)\. |\.$", first)[0]


def source(cls: type[Method]) -> tuple[str, str]:
    """The publication that a docstring names, in its first sentence or under "Source:", and what the paper cites instead."""
    paragraphs = [" ".join(part.split()) for part in docstring(cls).split("\n\n")]
    said = next((part.removeprefix("Source: ") for part in paragraphs if part.startswith("Source: ")), "")
    named = re.search(r"\(([^()]*\"(, \d{4})?)[^()]*\)", paragraphs[0])
    instead = re.search(r"the paper cites (.+?)\.?$", said, flags=re.IGNORECASE)
    return named[1] if named else said.split(". ")[0], instead[1] if instead else ""


# -- tables ---------------------------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> str:
    """Without the columns in which nothing stands."""
    kept = [column for column in range(len(head)) if any(row[column] for row in rows)]
    lines = [[line[column] for column in kept] for line in (head, ["---"] * len(head), *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def value(item: Any) -> str:
    """As it is written in a sweep file."""
    if item is None:
        return "null"
    if isinstance(item, tuple):
        return f"[{', '.join(map(value, item))}]"
    return f"{item:g}" if isinstance(item, (int, float)) else str(item)


def span(field: Hyperparameter) -> str:
    """A field's range in words."""
    if field.choices:
        return ", ".join(f"`{choice}`" for choice in field.choices)
    signs = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "\\<"))
    return ", ".join(f"{sign} {field.bounds[name]:g}" for name, sign in signs if name in field.bounds)


def search_range(field: Hyperparameter) -> str:
    search = field.search
    if search is None:
        return ""
    if isinstance(search, Choice):
        return ", ".join(map(value, search.values))
    return f"{value(search.low)} to {value(search.high)}, {type(search).__name__.lower()}"


def settings(cls: type[Method]) -> str:
    """The table of a method's hyper-parameters."""
    rows = [
        [
            f"`{field.name}`",
            field.unit,
            span(field),
            f"`{value(field.default)}`",
            search_range(field),
            prose(field.help),
        ]
        for field in hyperparameters(cls).values()
    ]
    if not rows:
        return "No hyper-parameters.\n"
    return table(["name", "unit", "range", "default", "search", "about"], rows)


def passes(cost: Cost, sizes: Sizes) -> str:
    """Forward and backward passes over as many rows as the training set has."""
    return f"{cost.forward / sizes.train:,.4g} + {cost.backward / sizes.train:,.4g}"


def an_epoch(cls: type[Method], sizes: Sizes) -> str:
    """The second epoch's passes; nothing where a method has no epochs."""
    if cls.stage == "train":
        method, more = cls(), dataclasses.replace(sizes, recipe_epochs=sizes.recipe_epochs + 1)
        first, second = method.cost(sizes), method.cost(more)
    elif "epochs" in (field.name for field in dataclasses.fields(cls)):  # type: ignore[arg-type]
        first, second = (cls(epochs=count).cost(sizes) for count in (1, 2))  # type: ignore[call-arg]
    else:
        return "no epochs"
    return passes(Cost(forward=second.forward - first.forward, backward=second.backward - first.backward), sizes)


def needs(cls: type[Method]) -> str:
    if cls.stage == "train":
        return "training rows" if not cls.reads_forget else "retain"
    return ", ".join(sorted(cls.needs))


# -- the page -------------------------------------------------------------------------------------------------------------


def overview() -> str:
    """All methods in the catalogue's order, with what they may touch and what they cost."""
    sizes = example_sizes()
    rows = [
        [
            f"[`{name}`](#{name})",
            prose(statement(cls)),
            needs(cls),
            an_epoch(cls, sizes),
            passes(cls().cost(sizes), sizes),
        ]
        for name, cls in METHODS.items()
    ]
    note = (
        "Passes are forward + backward passes of examples through one network, in units of the training set, as declared by "
        f"`cost` and checked against a counter by the tests; for the example of {EXAMPLE}, with default settings. "
        "Per epoch: the second one. Whole run: preparation included.\n"
    )
    return table(["method", "what it does", "needs", "passes per epoch", "passes, whole run"], rows) + "\n" + note


def sources() -> str:
    rows = [[f"[`{name}`](#{name})", *map(prose, source(cls))] for name, cls in METHODS.items() if source(cls)[0]]
    return "## Sources\n\n" + table(["method", "published as", "the paper cites instead"], rows)


def section(name: str, cls: type[Method]) -> str:
    file = Path(inspect.getfile(cls)).name
    facts = [
        prose(inspect.getdoc(cls) or ""),
        f"Needs: {needs(cls)}.",
        f"File: [`{file}`](../adaprob_ray/methods/{file}), revision {cls.revision}.",
    ]
    lines = "\n".join(f"- {fact}" for fact in facts)
    return f"## {name}\n\n{lines}\n\n{markdown(docstring(cls))}\n\n{settings(cls)}"


def page() -> str:
    return "\n".join([TITLE, overview(), sources(), *(section(name, cls) for name, cls in METHODS.items())])


if __name__ == "__main__":
    PATH.write_text(page())
    sys.stdout.write(f"{PATH}\n")
