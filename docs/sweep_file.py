"""Generates docs/sweep-file.md: every key of a sweep file, from the schema and the settings that its sections hold."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic_core
import yaml

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.describe import format_value, setting_rows
from adaprob_ray.recipe import Recipe
from adaprob_ray.search.search_file import SearchSection
from adaprob_ray.sweep.cell import Resources
from adaprob_ray.sweep.cell_settings import ArchitectureSettings, DatasetSettings
from adaprob_ray.sweep.checks import MAX_SEED
from adaprob_ray.sweep.schema import Section, sweep_file_model
from docs.markdown import prose, table

PATH = Path(__file__).resolve().parent / "sweep-file.md"
HEADER = ["key", "type", "default", "range", "meaning"]
INTRODUCTION = """\
# The sweep file

*Written by `make docs` from `adaprob_ray/sweep/schema.py` and the settings that it names; edit those.*

A sweep file says which models are trained, unlearned and evaluated: `adaprob-ray plan FILE` checks it and counts its cells,
`adaprob-ray run FILE` runs them. `adaprob-ray init sweep FILE` writes one with comments. Each unknown key and each value out of
range is an error of one line. This file is complete; all other keys have defaults:
"""

# The keys that a file must have. Each example below is checked together with those of them that it does not write itself.
REQUIRED = {
    "name": "name: first\n",
    "grid": """\
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.12}
  forget: {kind: selective, class: 3, count: 25}
  seed: [1, 2]
""",
    "methods": """\
methods:
  finetune: {lr: 0.01}
  scrub: {}
""",
    "metrics": "metrics: [errors, membership]\n",
}

EXAMPLES = {
    "name": "name: four_rates_of_finetune\n",
    "about": "about: Which learning rate of Finetune forgets, and what does it cost?\n",
    "grid": """\
grid:
  dataset: [digits, {name: cifar5, test_pool: paper}]
  architecture: [allcnn, {name: resnet18, filters: 0.4}]    # or torchvision:resnet18, my_package.nets:small
  forget: [{kind: class, class: 4}, {kind: selective, class: 3, count: 25}, {indices: [3, 14, 159]},
    {sequence: [{kind: class, class: 0}, {kind: class, class: 1}]}]
  seed: [1, 2, 3]
""",
    "train": "train: {recipe: large, epochs: 10, lr: 0.02, batch_size: 64}\n",
    "pretrain": "pretrain: {recipe: pretrain, epochs: 20, seed: 1}     # or: pretrain: false\n",
    "original": """\
original:
  weights: net.pt
  sha256: 85dc983f3fed1824705cae76112975601fcf0814dcae7b17ca1406ea7b5ffe6f     # optional
""",
    "methods": """\
methods:
  retrain: {}                             # a label that is a method's name needs no `method`
  finetune: {lr: [0.01, 0.02, 0.04]}      # a list: one model for each value
  adaprob_eq1: {method: adaprob, reference: original, totals: pseudo}
  scrub_tuned:                            # settings that depend on the grid point: exactly one entry must match each
    - where: {forget: selective}
      with: {method: scrub, lr: 0.005}
    - where: {forget: class}
      with: {method: scrub, lr: 0.0005}
""",
    "primary_label": """\
methods:
  adaprob_eq1: {method: adaprob, reference: original}
  adaprob_script: {method: adaprob, reference: pseudo, pseudo: random}
primary_label: adaprob_eq1
""",
    "metrics": "metrics: [errors, membership, kl_to_retrain, seconds]\n",
    "precision": "precision: bfloat16\n",
    "repeats": "repeats: 3\n",
    "resources": """\
resources:
  train: {cpu: 2, gpu: auto}     # as much of a card as earlier cells like it needed; a whole one for the first
  unlearn: {cpu: 1, gpu: 0.25, timeout_seconds: 600.0, exclusive: false}
""",
    "keep": "keep: {unlearn: weights}\n",
    "expect": "expect: {cells: 20}\n",
    "relearn": """\
metrics: [errors, relearn]
keep: {unlearn: weights}         # relearning starts from the weights of the unlearned models
relearn: {lr: 0.02, epochs: 50, rows: 200, batch_size: 64}
""",
    "probe": """\
metrics: [errors, probe]
keep: {unlearn: weights}         # features are those of the unlearned models
probe: {inverse_regularization: 0.1}
""",
    "search": """\
methods:
  retrain: {}
  finetune: {batch_size: 64}     # what is written here is not searched
search:
  trials: 20
  seeds: [11, 12, 13, 14, 15]
  rule: oracle
  objective: {kl_forget_nats: minimize}
  prune: {p: 0.1}
  space:
    finetune: {lr: {log: [1.0e-3, 1.0e-1]}, epochs: {int: [1, 10]}}
metrics: [errors, kl_to_retrain]
""",
}

NOTES = {
    "grid": "A data set or a network is its name, or a mapping. Another seed means another split, other initial weights and "
    "another order of the samples. All labels at one point of the grid start from the same original. `indices` are positions "
    "in the training set, from 0, as `adaprob-ray data indices` lists it: since the seed decides which images validate, an "
    "index is another image under another seed. A file is looked up next to the sweep file; it is a JSON list (`.json`) or "
    "has an index per line. The requests of a sequence must name different samples; results have one group for each. A "
    "*path* is `package.module:name` of your own package ([`your-method.md`](your-method.md#in-a-package-of-your-own)). A "
    "network may also be `torchvision:NAME` or `timm:NAME`, with random weights, as "
    '`{{name: "timm:vit_tiny_patch16_224", img_size: 32}}`: what stands next to `name` are its arguments, and classes and '
    "channels are those of the data set.",
    "train": "`recipe` gives the values of all other keys that are not written (`adaprob-ray list recipes NAME`).",
    "pretrain": "Only data sets with a data set to pretrain on are pretrained (`adaprob-ray list datasets NAME`); the others "
    "start from random weights.",
    "original": "The network is `grid.architecture`'s; prefixes of DataParallel and `torch.compile`, and another name of the "
    "last layer, are understood. Retrained models are trained from random weights as `train` says. Methods that need the "
    "initial weights of the original are left out, and `plan` says so. The split is the seed's: if the original was trained "
    "on the images that validate, their errors are those of training images.",
    "methods": "Settings of each method: [`methods.md`](methods.md), or `adaprob-ray list methods NAME`. A list multiplies: "
    "`lr: [0.01, 0.02]` gives two models under one label, and `--only lr=0.01` selects one. AdaProb's `lr` also takes the word "
    "`auto`, its default: a trial chooses the rate for each network, and `max_drop` bounds the rise of the validation error "
    "([`methods.md`](methods.md#adaprob), difference 8). A path in place of a label, as "
    "`my_package.mine:MyMethod: {{}}`, has the class's name as its label.",
    "resources": "By stage: {stages}. `cpu` and `gpu` are what Ray reserves. Each process limits its memory to its share "
    "of the card.",
    "relearn": "The section is allowed where `metrics` lists `relearn`.",
    "probe": "The section is allowed where `metrics` lists `probe`.",
    "search": "With this key a file is a search file, for `adaprob-ray search`: [`search.md`](search.md).",
}

# Keys below `methods`, which the schema leaves open.
METHOD_KEYS = (
    (
        "LABEL",
        "settings, or a list",
        "",
        "",
        "A line of the tables: nothing or `{}` (the defaults), settings, or a list of `{where: …, with: …}`.",
    ),
    ("LABEL.method", "name", "the label", "", "The method by name or path, where the label is not its name."),
    (
        "LABEL.SETTING",
        "value or list",
        "the method's",
        "",
        "A setting of the method; a list gives one model for each value.",
    ),
    ("LABEL.where", "mapping", "", "", "The points of the grid for which the settings in `with` hold."),
    ("LABEL.with", "settings", "", "", "The settings there; `method` included."),
)
GRID_TYPES = {
    "dataset": "name, settings or list",
    "architecture": "name, settings or list",
    "forget": "settings or list",
    "seed": "integer or list",
}
# Defaults that are words rather than values.
INHERITED = ("the recipe's", "the method's", "the label")
TYPES = {str: "text", int: "integer", float: "number", type(None): "null"}


def completed(example: str) -> str:
    """An example with the keys that every file must have and it does not write."""
    given = yaml.safe_load(example)
    return example + "".join(text for key, text in REQUIRED.items() if key not in given)


@dataclass(frozen=True, kw_only=True)
class Key:
    """One row of a table, as text; `default` is empty for a required key."""

    path: str
    type: str
    default: str
    range: str
    meaning: str

    def cells(self) -> list[str]:
        default = self.default if self.default in ("required", "", *INHERITED) else f"`{self.default}`"
        return [f"`{self.path}`", self.type, default, prose(self.range), prose(self.meaning)]


def type_words(annotation: Any) -> str:
    """A type of the schema in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(type_words, arguments))
    if origin is typing.Literal:
        return "false" if arguments == (False,) else "word"
    if origin is list:
        return f"list of {'names' if arguments[0] is str else 'integers'}"
    if origin is dict or issubclass(annotation, Section):
        return "mapping"
    return TYPES[annotation]


def words_of(annotation: Any) -> str:
    """The words that a Literal allows."""
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(str(word) for word in typing.get_args(annotation))
    return ""


def model_keys(model: type[Section], prefix: str = "") -> Iterator[Key]:
    """The keys of one model, without those of its sections."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for name, field in model.model_fields.items():
        bounds = [
            f"{signs[bound]} {getattr(item, bound):.10g}"
            for item in field.metadata
            for bound in signs
            if hasattr(item, bound)
        ]
        is_plain = field.default is not pydantic_core.PydanticUndefined and not isinstance(field.default, Section)
        pattern = any(getattr(item, "pattern", None) for item in field.metadata)
        yield Key(
            path=f"{prefix}{name}",
            type=GRID_TYPES[name] if prefix == "grid." else type_words(field.annotation),
            default="required" if field.is_required() else (format_value(field.default) if is_plain else "{}"),
            range="letters, digits, `_`, `.`, `-`" if pattern else words_of(field.annotation) or ", ".join(bounds),
            meaning=field.description or SECTION_MEANINGS[name],
        )


SECTION_MEANINGS = {
    "relearn": "How models are trained for the metric `relearn`.",
    "probe": "How a linear classifier is fitted to features for the metric `probe`.",
}


def setting_keys(cls: type, prefix: str, *, skip: tuple[str, ...] = (), default: str | None = None) -> Iterator[Key]:
    """The fields of settings as keys. `default`: in place of the class's own, where others hold."""
    for row in setting_rows(cls):
        if row.name not in skip:
            meaning = row.help + (f" ({row.unit})" if row.unit and row.unit not in row.help else "")
            value = row.default if default is None else default
            yield Key(path=f"{prefix}{row.name}", type=row.type, default=value, range=row.range, meaning=meaning)


def recipe_keys(section: str, default: str) -> Iterator[Key]:
    """The keys of `train` or `pretrain`."""
    names = ", ".join(REGISTRY.recipes)
    yield Key(
        path=f"{section}.recipe", type="name", default=default, range=names, meaning="The values of the keys below."
    )
    yield from setting_keys(Recipe, f"{section}.", default="the recipe's")


def section_keys(name: str) -> list[Key]:
    """The keys below one key of the file."""
    fields = sweep_file_model(REGISTRY.metric_stages).model_fields
    if name == "grid":
        grid = typing.cast(type[Section], fields["grid"].annotation)
        names = (("dataset", DatasetSettings), ("architecture", ArchitectureSettings))
        settings = [key for axis, cls in names for key in setting_keys(cls, f"grid.{axis}.")]
        return [*model_keys(grid, "grid."), *(required_name(key) for key in settings)]
    if name == "train":
        return list(recipe_keys("train", "large"))
    if name == "pretrain":
        limits = f"≥ 1, ≤ {MAX_SEED}"
        meaning = "Seed of the pretraining, which all seeds of the grid share."
        seed = Key(path="pretrain.seed", type="integer", default="1", range=limits, meaning=meaning)
        return [*recipe_keys("pretrain", "pretrain"), seed]
    if name == "methods":
        return [
            Key(path=f"methods.{path}", type=kind, default=default, range=span, meaning=meaning)
            for path, kind, default, span, meaning in METHOD_KEYS
        ]
    if name == "resources":
        return list(setting_keys(Resources, "resources.STAGE."))
    if name in REGISTRY.metric_stages:
        return list(setting_keys(REGISTRY.metric_stages[name].options, f"{name}."))
    if name == "search":
        (prune,) = (
            arm for arm in typing.get_args(SearchSection.model_fields["prune"].annotation) if arm is not type(None)
        )
        return [*model_keys(SearchSection, "search."), *model_keys(prune, "search.prune.")]
    annotation = fields[name].annotation
    annotation = next((arm for arm in typing.get_args(annotation) if hasattr(arm, "model_fields")), annotation)
    is_section = isinstance(annotation, type) and issubclass(annotation, Section)
    return list(model_keys(typing.cast(type[Section], annotation), f"{name}.")) if is_section else []


def required_name(key: Key) -> Key:
    """A key whose class has a default only to be constructed without it."""
    if not key.path.endswith(".name"):
        return key
    return Key(path=key.path, type="name", default="required", range=key.range, meaning=key.meaning)


def section(name: str) -> str:
    """Keys, remark and example of one key of the file."""
    keys = section_keys(name)
    note = NOTES.get(name, "").format(stages=", ".join(f"`{stage}`" for stage in REGISTRY.stages))
    parts = [table(HEADER, [key.cells() for key in keys]) if keys else "", f"{note}\n" if note else ""]
    example = f"```yaml\n{EXAMPLES[name]}```\n"
    return "\n".join([f"## {name}\n", *(part for part in parts if part), example])


def page() -> str:
    """The whole page."""
    top = list(model_keys(sweep_file_model(REGISTRY.metric_stages)))
    complete = "```yaml\n" + "".join(REQUIRED.values()) + "```\n"
    search = Key(path="search", type="mapping", default="", range="", meaning="Makes the file a search file.")
    rows = [[f"[{key.cells()[0]}](#{key.path})", *key.cells()[1:]] for key in (*top, search)]
    names = [*(key.path for key in top), "search"]
    return "\n".join([INTRODUCTION, complete, table(HEADER, rows), *(section(name) for name in names)])
