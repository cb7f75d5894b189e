"""Settings: fields with units, bounds and search ranges, declared once and validated on construction.

    @settings_dataclass
    class Finetune:
        lr: float = hyperparameter(default=0.01, gt=0, search=Log(1e-3, 1e-1), help="constant learning rate")

    Finetune(lr=-1.0)    # InputError, a ValueError: lr: must be a number greater than 0, got -1.0

This module is a leaf: every other package may import it. It offers the search ranges, too.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.search_ranges import Choice as Choice
from adaprob_ray.search_ranges import Int as Int
from adaprob_ray.search_ranges import Log as Log
from adaprob_ray.search_ranges import Range as Range
from adaprob_ray.search_ranges import Uniform as Uniform

T = TypeVar("T")
PositiveInt = Annotated[int, Ge(1)]
# For a union with words, as in `PositiveFloat | Literal["auto"]`: the bounds of `hyperparameter` are for numbers alone.
PositiveFloat = Annotated[float, Gt(0)]

# Strict: YAML's 'yes', '1e-4' and 3.0 are refused where a number, a float or an integer is declared, instead of converted.
CONFIG = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


# -- declaration -----------------------------------------------------------------------------------------------------------


def hyperparameter(
    *,
    default: Any,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    unit: str = "",
    help: str = "",
    search: Range | None = None,
    search_start: float | None = None,
    omit_default: bool = False,
) -> Any:
    """A field of a `settings_dataclass`.

    A field that takes one of several words is annotated as a Literal, one that takes a list of numbers as a tuple.

    Args:
        default: of the field; every setting has one.
        ge, gt, le, lt: bounds, as pydantic's; of each item where the field is a tuple.
        unit: for the documentation.
        help: one phrase, for the documentation.
        search: the range that a search draws from.
        search_start: where a search starts, if the default is no number of that range.
        omit_default: leave the field out of `as_mapping`, and so out of keys, where it has its default. A field
            that is added to settings whose cells were published needs this, and a default that changes nothing, or keys move.

    Example:
        >>> @settings_dataclass
        ... class Options:
        ...     epochs: int = hyperparameter(default=5, ge=1, unit="epochs", search=Int(1, 10))
        >>> Options(epochs=0)
        Traceback (most recent call last):
        adaprob_ray.errors.InputError: epochs: must be an integer of at least 1, got 0
    """
    return pydantic.Field(
        default=default,
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
        description=help,
        json_schema_extra=typing.cast(
            dict[str, Any], {"unit": unit, "search": search, "search_start": search_start, "omit_default": omit_default}
        ),
        strict=False if isinstance(default, tuple) else None,  # YAML has lists, and a frozen dataclass tuples
    )


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(hyperparameter,))
def settings_dataclass(cls: type[T]) -> type[T]:
    """A frozen, keyword-only dataclass whose construction raises InputError, one line for each wrong field."""
    decorated: Any = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CONFIG)(cls)
    construct = decorated.__init__

    @functools.wraps(construct)
    def __init__(self: Any, /, **values: Any) -> None:  # a sweep file may have a key `self`
        try:
            construct(self, **values)
        except pydantic.ValidationError as error:
            raise InputError(*_faults(type(self), error)) from None

    decorated.__init__ = __init__
    decorated.__hyperparameters__ = {
        name: _describe(name, item) for name, item in decorated.__pydantic_fields__.items()
    }
    return typing.cast(type[T], decorated)


def from_mapping(cls: type) -> pydantic.BeforeValidator:
    """For the annotation of a field that holds other settings, as an instance or as a mapping {name: value}:
    `Annotated[Scrub | None, from_mapping(Scrub)]`."""

    def construct(value: Any) -> Any:
        return cls(**{str(name): item for name, item in value.items()}) if isinstance(value, Mapping) else value

    return pydantic.BeforeValidator(construct)


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """What a field declares: `annotation` is its type, `choices` the words of a Literal, `bounds` such as {"gt": 0}.

    `search_start` is the value at which a search starts, the default unless declared otherwise.
    """

    name: str
    annotation: Any
    default: Any
    unit: str
    help: str
    search: Range | None
    search_start: Any
    omit_default: bool
    choices: tuple[str, ...]
    bounds: Mapping[str, float]


def hyperparameters(cls: type) -> Mapping[str, Hyperparameter]:
    """The fields of a `settings_dataclass`, by name."""
    fields: Mapping[str, Hyperparameter] = cls.__hyperparameters__  # type: ignore[attr-defined]
    return fields


def _describe(name: str, field: FieldInfo) -> Hyperparameter:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    arguments = typing.get_args(field.annotation)
    is_tuple = typing.get_origin(field.annotation) is tuple
    is_literal = typing.get_origin(field.annotation) is typing.Literal
    arms = arguments[:1] if is_tuple else arguments if _is_union(field.annotation) else ()
    metadata = [*field.metadata, *(item for arm in arms for item in getattr(arm, "__metadata__", ()))]
    kinds = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt"}
    return Hyperparameter(
        name=name,
        annotation=_plain_union(arms) if _is_union(field.annotation) else field.annotation,
        default=field.default,
        unit=str(extra.get("unit", "")),
        help=field.description or "",
        search=typing.cast(Any, extra.get("search")),
        search_start=field.default if extra.get("search_start") is None else extra["search_start"],
        omit_default=bool(extra.get("omit_default")),
        choices=arguments if is_literal else (),
        bounds={kinds[type(item)]: getattr(item, kinds[type(item)]) for item in metadata if type(item) in kinds},
    )


def _is_union(annotation: Any) -> bool:
    return isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union


def _plain_union(arms: Iterable[Any]) -> Any:
    """The union of these types without their bounds: `float | None` of `Annotated[float, Gt(0)] | None`."""
    bare = (arm.__origin__ if typing.get_origin(arm) is Annotated else arm for arm in arms)
    return functools.reduce(operator.or_, bare)


# -- values to settings -----------------------------------------------------------------------------------------------------


def parse_settings(cls: type[T], values: Mapping[str, Any], where: str) -> tuple[T | None, list[str]]:
    """An instance of `cls` and no faults, or None and one line for each fault, each beginning with `where`."""
    names = hyperparameters(cls)
    faults = [f"{where}: {unknown_name('key', name, names)}" for name in values if name not in names]
    try:
        instance = cls(**{name: value for name, value in values.items() if name in names})
    except InputError as error:
        return None, faults + [f"{where}: {fault}" for fault in error.faults]
    return (None if faults else instance), faults


def expand_lists(cls: type, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One mapping for each combination of listed values. A list is one value where the field itself is a list.

    >>> from adaprob_ray.methods.scrub import Scrub
    >>> expand_lists(Scrub, {"lr": [0.1, 0.2], "milestones": [3, 5]})
    [{'lr': 0.1, 'milestones': [3, 5]}, {'lr': 0.2, 'milestones': [3, 5]}]
    """
    names = hyperparameters(cls)
    axes = []
    for name, value in values.items():
        is_tuple = name in names and typing.get_origin(names[name].annotation) is tuple
        multiplies = isinstance(value, list) and (
            not is_tuple or (len(value) > 0 and all(isinstance(item, list) for item in value))
        )
        axes.append([(name, item) for item in (value if multiplies else [value])])
    return [dict(combination) for combination in itertools.product(*axes)]


def as_mapping(settings: Any) -> dict[str, Any]:
    """All fields of a settings dataclass by name, nested ones as mappings: what is hashed into a cell's key.

    Fields that are declared with `omit_default` are left out where they have their default.
    """
    mapping = dataclasses.asdict(settings)
    fields = hyperparameters(type(settings)).values()
    omitted = {field.name for field in fields if field.omit_default and mapping[field.name] == field.default}
    return {name: value for name, value in mapping.items() if name not in omitted}


def all_settings(settings: Any) -> dict[str, Any]:
    """As `as_mapping`, with the fields that it leaves out."""
    return dataclasses.asdict(settings)


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as dotted names: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": item for inner, item in flatten(value).items()}
        else:
            flat[name] = value
    return flat


# -- error messages --------------------------------------------------------------------------------------------------------

_TYPES = {int: "an integer", float: "a number", str: "text", bool: "true or false"}
_BOUNDS = {"ge": "of at least", "gt": "greater than", "le": "of at most", "lt": "less than"}


def _faults(cls: type, error: pydantic.ValidationError) -> list[str]:
    lines: list[str] = []
    for item in error.errors():
        where = ".".join(str(name) for name in item["loc"] if not isinstance(name, int))
        cause = item.get("ctx", {}).get("error")
        if item["type"] == "value_error":  # of a nested settings dataclass, or of `__post_init__`
            causes = cause.faults if isinstance(cause, InputError) else (str(cause),)
            lines += [f"{where}: {line}" if where else line for line in causes]
        elif item["type"] == "unexpected_keyword_argument":
            lines.append(unknown_name("key", item["loc"][-1], hyperparameters(cls)))
        else:
            field, value = hyperparameters(cls)[str(item["loc"][0])], item["input"]
            if item["type"] == "literal_error" and not field.choices:
                continue  # of a union, for example of a number and a word, whose first arm has reported the value
            finite = "a finite number" if item["type"] == "finite_number" else expected_value(field)
            lines.append(f"{field.name}: must be {finite}, got {value!r}{_hint(value, field)}")
    return list(dict.fromkeys(lines))


def expected_value(field: Hyperparameter) -> str:
    """What a field takes, for a message: `a number greater than 0`, `one of sgd, adam`, `a list of integers …`."""
    if field.choices:
        return f"one of {', '.join(field.choices)}"
    kind = base_type(field.annotation)
    if dataclasses.is_dataclass(kind):
        return "settings as {name: value}"
    kind_name = "a list of integers" if typing.get_origin(kind) is tuple else _TYPES.get(kind, str(kind))
    limits = " and ".join(f"{_BOUNDS[name]} {bound:g}" for name, bound in field.bounds.items())
    words = "".join(f" or {word}" for arm in typing.get_args(field.annotation) for word in typing.get_args(arm))
    return (f"{kind_name} {limits}" if limits else kind_name) + ("" if typing.get_origin(kind) is tuple else words)


def base_type(annotation: Any) -> Any:
    """`float` of `float | None`."""
    arms = typing.get_args(annotation)
    return next(arm for arm in arms if arm is not type(None)) if _is_union(annotation) else annotation


def _hint(value: Any, field: Hyperparameter) -> str:
    """YAML 1.1 reads 1e-4 as text and `no` as false: say which spelling is meant."""
    kind = base_type(field.annotation)
    if isinstance(value, str) and kind in (int, float):
        try:
            number = float(value)
        except ValueError:
            return ""
        mantissa, _, exponent = value.lower().partition("e")
        mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
        sign = "" if exponent[:1] in "+-" else "+"
        spelling = f"{mantissa}e{sign}{exponent}" if exponent and kind is float else f"{number:g}"
        return f", which YAML reads as text; write {spelling}"
    if isinstance(value, bool) and (kind is str or field.choices):
        return ", as YAML reads yes, no, on and off as true and false; put it in quotes"
    return ""
