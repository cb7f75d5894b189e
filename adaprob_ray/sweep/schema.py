"""The keys of a sweep file, their types, and how one is read: YAML without surprises, faults in our words, one line each."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pydantic
import yaml

from adaprob_ray.errors import InputError, unknown_name


class _File(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class Grid(_File):
    dataset: Any
    architecture: Any
    forget: Any
    seed: Any


class Resources(_File):
    """What one cell of a stage holds while it runs. `exclusive`: no other cell of the run runs beside it.

    `timeout_seconds` bounds one attempt, not the whole of a training that is gone on with.
    """

    cpu: int = pydantic.Field(default=1, ge=1)
    gpu: float = pydantic.Field(default=0, ge=0)
    exclusive: bool = False
    timeout_seconds: float | None = pydantic.Field(default=None, gt=0)


class StageResources(_File):
    pretrain: Resources = Resources()
    train: Resources = Resources()
    unlearn: Resources = Resources()
    relearn: Resources = Resources()
    evaluate: Resources = Resources()


class Keep(_File):
    unlearn: Literal["outputs", "weights"] = "outputs"


class Expect(_File):
    cells: int | None = None


class SweepFile(_File):
    """The keys of a sweep file and their types."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    about: str = ""
    grid: Grid
    train: dict[str, Any] = pydantic.Field(default_factory=dict)
    pretrain: dict[str, Any] | Literal[False] = pydantic.Field(default_factory=dict)
    methods: dict[str, Any]
    reading: str | None = None  # of the labels that share a method the one that tables compare with Retrain
    metrics: list[str]
    relearn: dict[str, Any] = pydantic.Field(default_factory=dict)
    precision: Literal["float32", "bfloat16"] = "float32"
    repeats: int = pydantic.Field(default=1, ge=1)
    resources: StageResources = StageResources()
    keep: Keep = Keep()
    expect: Expect = Expect()


def alternatives(given: Any) -> list[Mapping[str, Any]]:
    """The settings under a label, those of a where/with list included; malformed ones are reported where they are used."""
    entries = [entry.get("with") for entry in given if isinstance(entry, dict)] if isinstance(given, list) else [given]
    return [entry for entry in entries if isinstance(entry, dict)]


class _PlainLoader(yaml.SafeLoader):
    """A YAML loader that refuses aliases, and a key given twice, of which plain YAML would silently take the last."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "no aliases: each value is written where it counts", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        odd = [name for name in names if not isinstance(name, (str, int, float, bool))]
        if odd:
            raise yaml.constructor.ConstructorError(
                None, None, f"a key must be a word, got {odd[0]!r}", node.start_mark
            )
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"key given twice: {sorted(map(str, twice))}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_file(text: str) -> tuple[SweepFile, list[str]]:
    """The file, and the faults of structure of what was left out of it so that the rest can be checked too.

    Raises InputError where nothing can be checked: not YAML, not a mapping, something missing that has no default.
    """
    try:
        document = yaml.load(text, Loader=_PlainLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise InputError(f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise InputError(f"a sweep file is a mapping of keys, got {type(document).__name__}")
    strange = list(_not_plain(document))
    if strange:
        raise InputError(*strange)
    file, faults = _validated(document)
    if file is None:
        raise InputError(*faults)
    return file, faults


def _not_plain(value: Any, where: str = "") -> Iterator[str]:
    """A line for each value that JSON, and so a key, cannot hold: dates, sets, NaN, infinities, names that are not words."""
    if isinstance(value, (dict, list)):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value, 1):
            inside = f"{where}.{name}" if where else str(name)
            if isinstance(value, dict) and not isinstance(name, str):
                yield f"{inside}: a key must be a word, got {name!r}; put it in quotes"
            yield from _not_plain(item, inside)
    elif not isinstance(value, (str, int, float, type(None))):
        yield f"{where}: expected text, a number, a list or a mapping, got {value!r}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where}: must be a finite number, got {value!r}"


def _validated(document: dict[str, Any]) -> tuple[SweepFile | None, list[str]]:
    """The file and its faults of structure; what is at fault is left out, so that the rest can be checked too."""
    faults: list[str] = []
    try:
        return SweepFile.model_validate(document), faults
    except pydantic.ValidationError as error:
        faults = _structure_faults(error)
        rest = copy.deepcopy(document)
        for item in error.errors():
            _drop(rest, item["loc"])
    try:
        return SweepFile.model_validate(rest), faults
    except pydantic.ValidationError:
        return None, faults  # something that cannot be done without is missing or wrong


def _drop(document: Any, location: Sequence[Any]) -> None:
    """Delete the innermost mapping key on the way to a faulty value."""
    *path, last = location
    for part in path:
        if not isinstance(document, dict) or not isinstance(document.get(part), dict):
            last = part
            break
        document = document[part]
    if isinstance(document, dict):
        document.pop(last, None)


def _structure_faults(error: pydantic.ValidationError) -> list[str]:
    """One line for each fault of structure that pydantic found, in our words."""
    faults = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            model = _model_at(item["loc"][:-1])
            prefix = ".".join(str(part) for part in item["loc"][:-1])
            line = unknown_name("key", item["loc"][-1], model.model_fields)
            faults.append(f"{prefix}: {line}" if prefix else line)
        elif item["type"] == "missing":
            faults.append(f"{where}: is missing")
        else:
            faults.append(f"{where}: {item['msg'][0].lower()}{item['msg'][1:]}, got {item['input']!r}")
    return faults


def _model_at(location: Sequence[Any]) -> type[pydantic.BaseModel]:
    model: type[pydantic.BaseModel] = SweepFile
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
            model = annotation
    return model
