"""The space that a search draws from: a range for each field, or named alternatives that set several fields at once."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adaprob_ray.errors import unknown_name
from adaprob_ray.settings import Choice, Int, Log, Range, Uniform, expected_value, hyperparameters, parse_settings
from adaprob_ray.sweep.cell import canonical
from adaprob_ray.sweep.checks import Faults

# The combinations of choices that are tried before a search starts, so that no trial meets settings that exclude each other.
MAX_COMBINATIONS = 1000
# Optuna calculates with floats: larger integers would lose their last digits.
MAX_NUMBER = 1e15
_KINDS = ("log", "uniform", "int", "choice")


@dataclass(frozen=True)
class Alternatives:
    """Named settings of which a search takes one, such as the readings of AdaProb: {eq1: {reference: original, …}, …}."""

    options: Mapping[str, Mapping[str, Any]]


Parameter = Range | Alternatives
Space = Mapping[str, Parameter]


def declared_space(method: type, fixed: Mapping[str, Any]) -> dict[str, Parameter]:
    """The ranges that a method declares for its fields, without those that are fixed.

    >>> from adaprob_ray.methods.finetune import Finetune
    >>> declared_space(Finetune, {"epochs": 5})
    {'lr': Log(low=0.001, high=0.1)}
    """
    fields = hyperparameters(method)
    return {name: item.search for name, item in fields.items() if item.search is not None and name not in fixed}


def parse_space(
    method: type, fixed: Mapping[str, Any], section: Mapping[str, Any], where: str, faults: Faults
) -> dict[str, Parameter]:
    """The space of one label: what its section gives, or else what its method declares.

    Args:
        method: A settings dataclass.
        fixed: The fields that the label sets; a range of the section for one of them is a fault.
        section: The label's part of `search.space`; empty for the declared ranges.
        where: For messages.
        faults: Gets one line for each fault.

    Returns:
        The parameters by name, in order.
    """
    known = Faults()
    space = {
        name: parameter
        for name, value in section.items()
        if (parameter := _parameter(method, name, value, f"{where}.{name}", known)) is not None
    } or declared_space(method, fixed)
    if not section and not space:
        known.add(f"{where}: must have at least one range: the method declares none for the fields that are not fixed")
    for name, fields in _fields_of(space).items():
        known.add(
            *(f"{where}.{name}: {field} is fixed under methods; remove one of them" for field in fields & set(fixed))
        )
    owners = [field for fields in _fields_of(space).values() for field in fields]
    twice = sorted({field for field in owners if owners.count(field) > 1})
    known.add(*(f"{where}: {field} is searched more than once" for field in twice))
    if not known:
        known.add(*_impossible_settings(method, fixed, space, where))
    faults.add(*known)
    return space


def settings_of(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the values of a trial's parameters set.

    >>> space = {"lr": Log(1e-3, 1e-1), "reading": Alternatives({"script": {"reference": "pseudo", "totals": "pseudo"}})}
    >>> settings_of(space, {"lr": 0.01, "reading": "script"})
    {'lr': 0.01, 'reference': 'pseudo', 'totals': 'pseudo'}
    """
    settings: dict[str, Any] = {}
    for name, parameter in space.items():
        if isinstance(parameter, Alternatives):
            settings |= parameter.options[values[name]]
        else:
            settings[name] = values[name]
    return settings


def default_values(method: type, fixed: Mapping[str, Any], space: Space) -> dict[str, Any] | None:
    """The parameters' values at the method's default settings; None if these lie outside the space.

    Where a default is no number of a range, as `lr: auto`, it is the number that the field declares as `search_start`.
    """
    fields = hyperparameters(method)
    defaults = {name: item.default for name, item in fields.items()} | dict(fixed)
    values: dict[str, Any] = {}
    for name, parameter in space.items():
        if isinstance(parameter, Alternatives):
            options = [
                option
                for option, fields in parameter.options.items()
                if all(canonical(value) == canonical(defaults[field]) for field, value in fields.items())
            ]
            if not options:
                return None
            values[name] = options[0]
        else:
            value = defaults[name] if isinstance(parameter, Choice) else fields[name].search_start
            if not _contains(parameter, value):
                return None
            values[name] = value
    return values


def first_values(space: Space) -> dict[str, Any]:
    """One point of the space: the lower end of each range and the first of each choice."""
    return {name: _corners(parameter)[0] for name, parameter in space.items()}


def values_outside(space: Space, values: Mapping[str, Any]) -> list[str]:
    """What keeps these from being values of the space: a line for each name that is missing, unknown or has another value."""
    outside = [name for name, parameter in space.items() if not _contains(parameter, values.get(name))]
    outside += [name for name in values if name not in space]
    return [f"{name} = {values[name]!r}" if name in values else f"no {name}" for name in outside]


def space_document(space: Space) -> list[Any]:
    """The space for JSON, as lists, because a sampler's draws depend on the order of parameters and of options."""
    document: list[Any] = []
    for name, parameter in space.items():
        if isinstance(parameter, Alternatives):
            options = [[option, dict(fields)] for option, fields in parameter.options.items()]
            document.append([name, "choice", options])
        elif isinstance(parameter, Choice):
            document.append([name, "choice", list(parameter.values)])
        else:
            document.append([name, type(parameter).__name__.lower(), [parameter.low, parameter.high]])
    return document


# -- parsing ---------------------------------------------------------------------------------------------------------------


def _parameter(method: type, name: str, value: Any, where: str, faults: Faults) -> Parameter | None:
    """One parameter of a search file; None and a fault if it is none."""
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in _KINDS:
        example = "{log: [low, high]}, {uniform: [low, high]}, {int: [low, high]} or {choice: [a, b]}"
        faults.add(f"{where}: must be {example}, got {value!r}")
        return None
    ((kind, content),) = value.items()
    if kind == "choice" and isinstance(content, Mapping):
        return _alternatives(content, where, faults)
    fields = hyperparameters(method)
    if name not in fields:
        hint = "; a name that is not a field takes {choice: {option: {field: value}}}" if kind == "choice" else ""
        faults.add(f"{where}: {unknown_name('field', name, fields)}{hint}")
        return None
    return _choice(content, where, faults) if kind == "choice" else _range(fields[name], kind, content, where, faults)


def _range(field: Any, kind: str, content: Any, where: str, faults: Faults) -> Range | None:
    number_type = int if kind == "int" else float
    numbers = content if isinstance(content, list) else []
    if len(numbers) != 2 or not all(type(number) in (int, number_type) for number in numbers):
        number = "integers" if kind == "int" else "numbers"
        text = "; YAML reads 1e-3 as text: write 1.0e-3" if any(isinstance(item, str) for item in numbers) else ""
        faults.add(f"{where}: {kind}: must be two {number} [low, high], got {content!r}{text}")
        return None
    if any(abs(number) > MAX_NUMBER for number in numbers):
        faults.add(f"{where}: {kind}: must be numbers of at most {MAX_NUMBER:g}, got {content!r}")
        return None
    low, high = (number_type(number) for number in numbers)
    before = len(list(faults))
    if not low < high:
        faults.add(f"{where}: {kind}: low must be less than high, got {content!r}")
    if kind == "log" and low <= 0:
        faults.add(f"{where}: log: low must be greater than 0, got {numbers[0]!r}")
    takes = {arm for arm in (typing.get_args(field.annotation) or (field.annotation,)) if arm in (int, float)}
    if number_type not in takes:
        faults.add(f"{where}: {kind}: {field.name} takes {expected_value(field)}")
    if len(list(faults)) > before:
        return None
    if kind == "int":
        return Int(int(low), int(high))
    return Log(low, high) if kind == "log" else Uniform(low, high)


def _choice(content: Any, where: str, faults: Faults) -> Choice | None:
    if not isinstance(content, list) or len(content) < 2:
        faults.add(f"{where}: choice: must be a list of at least two values, got {content!r}")
        return None
    structured = [item for item in content if isinstance(item, (list, Mapping))]
    if structured:
        faults.add(
            f"{where}: choice: must be words or numbers, got {structured[0]!r}; "
            "give others a name, as in {choice: {short: {milestones: [3, 5]}, …}}"
        )
        return None
    if any(item in content[:number] for number, item in enumerate(content)):  # also 1 and 1.0, which Optuna confuses
        faults.add(f"{where}: choice: each value must be given once, got {content!r}")
        return None
    return Choice(*content)


def _alternatives(content: Mapping[str, Any], where: str, faults: Faults) -> Alternatives | None:
    if len(content) < 2 or not all(isinstance(fields, Mapping) and fields for fields in content.values()):
        faults.add(f"{where}: choice: must be at least two options {{option: {{field: value}}}}, got {dict(content)!r}")
        return None
    return Alternatives({option: dict(fields) for option, fields in content.items()})


def _fields_of(space: Space) -> dict[str, set[str]]:
    """The fields that each parameter sets."""
    return {
        name: set().union(*parameter.options.values()) if isinstance(parameter, Alternatives) else {name}
        for name, parameter in space.items()
    }


def _impossible_settings(method: type, fixed: Mapping[str, Any], space: Space, where: str) -> Iterator[str]:
    """A line for each fault of settings at corners of the space: the ends of the ranges with each combination of choices."""
    axes = [[(name, value) for value in _corners(parameter)] for name, parameter in space.items()]
    choices = [axis for (axis, parameter) in zip(axes, space.values(), strict=True) if _is_discrete(parameter)]
    ranges = [axis for (axis, parameter) in zip(axes, space.values(), strict=True) if not _is_discrete(parameter)]
    reported: set[str] = set()
    for combination in itertools.islice(itertools.product(*choices), MAX_COMBINATIONS):
        for end in (0, 1):
            values = dict(combination) | {axis[end][0]: axis[end][1] for axis in ranges}
            _, lines = parse_settings(method, {**fixed, **settings_of(space, values)}, where)
            choice = f" (with {', '.join(f'{name}={value}' for name, value in combination)})" if combination else ""
            yield from (f"{line}{choice}" for line in lines if line not in reported)
            reported.update(lines)
            if lines:
                break  # the other end of the ranges often has the same fault


def _is_discrete(parameter: Parameter) -> bool:
    return isinstance(parameter, (Choice, Alternatives))


def _corners(parameter: Parameter) -> list[Any]:
    if isinstance(parameter, Alternatives):
        return list(parameter.options)
    return list(parameter.values) if isinstance(parameter, Choice) else [parameter.low, parameter.high]


def _contains(parameter: Parameter, value: Any) -> bool:
    if isinstance(parameter, Alternatives):
        return isinstance(value, str) and value in parameter.options
    if isinstance(parameter, Choice):
        return value in parameter.values
    kinds = (int,) if isinstance(parameter, Int) else (int, float)
    return isinstance(value, kinds) and parameter.low <= value <= parameter.high
