"""The keys of a sweep file and their types, one line for each fault."""

from __future__ import annotations

import copy
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.sweep.forget_files import with_index_files_read
from adaprob_ray.sweep.yaml_document import YamlDocument, load_document
from adaprob_ray.user_code.source import is_path


class Section(pydantic.BaseModel):
    """A part of a file: a mapping with these keys and no others."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class Grid(Section):
    """The axes of the grid, each one value or a list; sweep/checks.py checks them."""

    dataset: Any = pydantic.Field(
        description="Data sets by name or path; a mapping sets `test_pool` and `train_per_class` too."
    )
    architecture: Any = pydantic.Field(
        description="Networks by name or path; a mapping sets the width multiplier `filters`, or a path's arguments, too."
    )
    forget: Any = pydantic.Field(
        description="What is to be forgotten: `{kind: class, class: C}`, a whole class, "
        "`{kind: selective, class: C, count: N}`, N of its samples, drawn by the seed, or `{indices: FILE}` or "
        "`{indices: [3, 14]}`, training samples by their position. `{sequence: [A, B]}`: first A, then B from the model that "
        "has forgotten A."
    )
    seed: Any = pydantic.Field(
        description="Seeds, from 1, of the split, the initial weights and the order of the samples."
    )


class OriginalSection(Section):
    weights: str = pydantic.Field(
        description="A safetensors file or a state dict of `torch.save`, looked up next to the sweep file. Its weights are the "
        "original's, at each seed."
    )
    sha256: str | None = pydantic.Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="Digest of the weights, as `plan` prints it. With it, results can be read when the file is gone.",
    )


class KeepSection(Section):
    unlearn: Literal["outputs", "weights"] = pydantic.Field(
        default="outputs", description="What is stored of unlearned models; `weights` includes the outputs."
    )


class ExpectSection(Section):
    cells: int | None = pydantic.Field(
        default=None, description="Number of cells that the file must expand to; another number is an error."
    )


class SweepFile(Section):
    """The keys of a sweep file and their types; `sweep_file_model` adds the section of each stage that metrics may need."""

    name: str = pydantic.Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", description="Name of the sweep, in tables, logs and TensorBoard."
    )
    about: str = pydantic.Field(default="", description="A remark for readers of the file.")
    grid: Grid = pydantic.Field(description="The axes of the grid, each one value or a list; all combinations are run.")
    train: dict[str, Any] = pydantic.Field(
        default_factory=dict, description="How the original and the retrained models are trained."
    )
    pretrain: dict[str, Any] | Literal[False] = pydantic.Field(
        default_factory=dict,
        description="How networks are pretrained, for data sets that have another one to pretrain on; `false`: no pretraining.",
    )
    original: OriginalSection | None = pydantic.Field(
        default=None, description="A file with the weights of the original, in place of training it."
    )
    methods: dict[str, Any] = pydantic.Field(
        description="The methods to compare, under labels; original, retrain and retrain_independent are always run."
    )
    primary_label: str | None = pydantic.Field(
        default=None, description="Of several labels of one method, the one that tables compare with Retrain."
    )
    metrics: list[str] = pydantic.Field(
        description="What is measured of each model, by name or path: see `adaprob-ray list metrics`."
    )
    precision: Literal["float32", "bfloat16"] = pydantic.Field(
        default="float32", description="Of the forward and backward passes; weights are float32 either way."
    )
    # More repeats than 1,000 would be a slip of the keyboard, and never end.
    repeats: int = pydantic.Field(
        default=1, ge=1, le=1000, description="Unlearnings of each original that differ in their randomness alone."
    )
    resources: dict[str, dict[str, Any]] = pydantic.Field(
        default_factory=dict, description="What a cell of each stage holds while it runs."
    )
    keep: KeepSection = pydantic.Field(default=KeepSection(), description="What the store keeps.")
    expect: ExpectSection = pydantic.Field(default=ExpectSection(), description="What is checked before anything runs.")

    @pydantic.field_validator("methods", mode="before")
    @classmethod
    def _accept_short_forms(cls, methods: Any) -> Any:
        """`scrub:` with nothing after it, which YAML reads as null, means `scrub: {}`, the defaults.

        A path in place of a label, as `my_package.mine:MyMethod: {}`, means `MyMethod: {method: my_package.mine:MyMethod}`.
        """
        if not isinstance(methods, dict):
            return methods
        labelled: dict[Any, Any] = {}
        for name, settings in methods.items():
            settings = {} if settings is None else settings
            label = name
            if is_path(name):
                label, settings = name.rpartition(":")[2], _with_method(settings, name)
            if label in labelled:
                raise ValueError(f"{name}: must have a label of its own, because {label!r} is one already")
            labelled[label] = settings
        return labelled


def _with_method(settings: Any, path: str) -> Any:
    """The settings of a label, or each of a where/with list, with the method's path; malformed ones are reported later."""
    if isinstance(settings, dict):
        return {"method": path, **settings}
    if isinstance(settings, list):
        return [
            {**entry, "with": {"method": path, **entry["with"]}}
            if isinstance(entry, dict) and isinstance(entry.get("with"), dict)
            else entry
            for entry in settings
        ]
    return settings


def sweep_file_model(sections: Iterable[str]) -> type[SweepFile]:
    """SweepFile with a further optional section, a mapping of settings, for each name."""
    fields: dict[str, Any] = {name: (dict[str, Any], pydantic.Field(default_factory=dict)) for name in sections}
    return pydantic.create_model("SweepFile", __base__=SweepFile, **fields)


def deprecated_key(document: dict[str, Any], old: str, new: str) -> list[str]:
    """Move the value of a renamed key to its new name; what to tell the user, empty where the old key is not used.

    Raises:
        InputError: if both keys are given.
    """
    if old not in document:
        return []
    if new in document:
        raise InputError(f"{old}: is the former name of {new}; give one of them, got both")
    document[new] = document.pop(old)
    return [f"{old}: is deprecated, write {new}"]


@dataclass(frozen=True, kw_only=True)
class ParsedFile:
    """A sweep file and the faults of its structure. What is at fault is left out, so that the rest can be checked too.

    `values`: of the whole file, with the indices of its files. `deprecations`: one line for each key that is given under a
    former name.
    """

    file: SweepFile
    values: dict[str, Any]
    faults: tuple[str, ...]
    deprecations: tuple[str, ...]


def parse_file(text: str, sections: Iterable[str] = (), folder: Path = Path()) -> ParsedFile:
    """Parse the YAML text of a sweep file; files that it names are looked up in `folder`.

    Raises:
        InputError: where nothing can be checked: not YAML, not a mapping, or a required key is missing.
    """
    document = load_document(text)
    if "search" in document.values:
        raise InputError("search: is a key of search files; for one of these use `adaprob-ray search`")
    return parse_document(document, sections, folder)


def parse_document(document: YamlDocument, sections: Iterable[str] = (), folder: Path = Path()) -> ParsedFile:
    """As `parse_file`, from the mapping."""
    values = _with_weights_path(with_index_files_read(document.values, folder), folder)
    deprecations = deprecated_key(values, "reading", "primary_label")
    file, faults = _validate(values, sweep_file_model(sections))
    faults = [*document.faults, *faults]
    if file is None:
        raise InputError(*faults)
    return ParsedFile(file=file, values=values, faults=tuple(faults), deprecations=tuple(deprecations))


def _with_weights_path(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A copy in which the path of the original's weights is relative to the working directory, not to the sweep file."""
    original = values.get("original")
    if not isinstance(original, dict) or not isinstance(original.get("weights"), str):
        return values
    return {**values, "original": {**original, "weights": str(folder / Path(original["weights"]).expanduser())}}


def label_settings(settings: Any) -> list[Mapping[str, Any]]:
    """The settings under a label, those of each entry of a where/with list; malformed ones are reported where they are used."""
    entries = (
        [entry.get("with") for entry in settings if isinstance(entry, dict)]
        if isinstance(settings, list)
        else [settings]
    )
    return [entry for entry in entries if isinstance(entry, dict)]


def _validate(document: dict[str, Any], model: type[SweepFile]) -> tuple[SweepFile | None, list[str]]:
    """The file without what is at fault, and the faults; no file if a required key is missing or at fault."""
    try:
        return model.model_validate(document), []
    except pydantic.ValidationError as error:
        faults = list(dict.fromkeys(_structure_fault(item, model) for item in error.errors()))
        valid = copy.deepcopy(document)
        for item in error.errors():
            _drop(valid, item["loc"])
    try:
        return model.model_validate(valid), faults
    except pydantic.ValidationError:
        return None, faults


def _methods_example(value: Any) -> str:
    """How the labels of a list would be written as a mapping; without such, an example."""
    items = value if isinstance(value, list) else []
    names = [name for item in items for name in (item if isinstance(item, dict) else [item]) if isinstance(name, str)]
    return "{" + ", ".join(f"{name}: {{}}" for name in names or ["scrub"]) + "}"


def section_faults(error: pydantic.ValidationError, section: type[Section]) -> list[str]:
    """One line for each error that pydantic reports of a section."""
    return list(dict.fromkeys(_structure_fault(item, section) for item in error.errors()))


def _drop(document: Any, location: Sequence[Any]) -> None:
    """Delete the innermost mapping key on the way to a faulty value."""
    *path, last = location
    for name in path:
        if not isinstance(document, dict) or not isinstance(document.get(name), dict):
            last = name
            break
        document = document[name]
    if isinstance(document, dict):
        document.pop(last, None)


def _structure_fault(item: Any, model: type[Section]) -> str:
    """One line for an error that pydantic reports."""
    where = ".".join(str(name) for name in item["loc"])
    # Of `pretrain`, the only union, pydantic reports one error for each type.
    if item["loc"][0] == "pretrain":
        return f"pretrain: must be a mapping {{name: value}} or false, got {item['input']!r}"
    if item["type"] == "extra_forbidden":
        section: Any = model
        for name in item["loc"][:-1]:
            annotation = section.model_fields[str(name)].annotation
            section = next((arm for arm in typing.get_args(annotation) if hasattr(arm, "model_fields")), annotation)
        prefix = "".join(f"{name}: " for name in item["loc"][:-1])
        return prefix + unknown_name("key", item["loc"][-1], section.model_fields)
    if item["type"] == "missing":
        return f"{where}: is missing"
    if item["type"] == "value_error":
        return f"{where}: {item['ctx']['error']}"
    if where == "methods":
        example = _methods_example(item["input"])
        return f"methods: must be a mapping {{label: settings}}, as {example}, got {item['input']!r}"
    limits = item.get("ctx", {})
    kind = "a number" if any(isinstance(limit, float) for limit in limits.values()) else "an integer"
    expected = {
        "dict_type": "a mapping {name: value}",
        "model_type": "a mapping {name: value}",
        "list_type": "a list",
        "string_type": "text",
        "int_type": "an integer",
        "float_type": "a number",
        "too_short": f"a list of at least {limits.get('min_length')}",
        "literal_error": str(limits.get("expected")),
        "string_pattern_mismatch": "64 hexadecimal digits"
        if where.endswith("sha256")
        else "letters, digits, '_', '.' and '-', beginning with a letter or digit",
        "greater_than_equal": f"{kind} of at least {limits.get('ge')}",
        "less_than_equal": f"{kind} of at most {limits.get('le')}",
    }
    if item["type"] not in expected:
        return f"{where}: {item['msg'][0].lower()}{item['msg'][1:]}, got {item['input']!r}"
    return f"{where}: must be {expected[item['type']]}, got {item['input']!r}"
