"""Recomputes what a record says, from the weights and the data, and names every difference."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from adaprob_ray._version import __version__
from adaprob_ray.errors import InputError
from adaprob_ray.models.weights import weights_digest
from adaprob_ray.training.loop import distance
from adaprob_ray.unlearning.evidence import evidence, exposed_samples, limits
from adaprob_ray.unlearning.network import AdaptedNetwork
from adaprob_ray.unlearning.outputs import measure
from adaprob_ray.unlearning.prepare import Plan
from adaprob_ray.unlearning.record import PREDICATE, normalization, request
from adaprob_ray.unlearning.run import Run
from adaprob_ray.unlearning.save import RECORD_FILE, SALT_FILE

# Relative and absolute difference up to which two numbers agree: other processors add in another order.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-4, 1e-7
# Keys of a record's predicate that are recomputed, or say how, and the kinds of their values.
RECOMPUTED: Mapping[str, type | tuple[type, ...]] = {
    "request": dict,
    "data": dict,
    "weights": dict,
    "method": dict,
    "parameterDistance": (int, float),
    "evidence": list,
    "mostExposed": list,
    "limits": list,
}
# Keys that the record states, and that weights and data do not show.
STATED = {"software", "hardware", "time", "cost", "facts", "warnings"}
REQUEST_WORDS = {
    "kind": "kind of request",
    "class": "class of the request",
    "count": "forgotten samples",
    "merkleRoot": "Merkle root of the forgotten samples",
    "retain": "choice of the retained samples",
    "retainCount": "retained samples",
}
# The same in words.
NOT_RECOMPUTED = "method and settings, software, hardware, times, passes, facts, warnings, record.html"


@dataclass(frozen=True)
class Check:
    """One entry of a record: what it says, and what was recomputed."""

    name: str
    recorded: Any
    recomputed: Any

    @property
    def agrees(self) -> bool:
        return _agree(self.recorded, self.recomputed)


def read_record(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The record of a folder and its salt. Raises InputError."""
    documents = []
    for name in (RECORD_FILE, SALT_FILE):
        path = folder / name
        try:
            documents.append(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise InputError(f"{folder}: must be a folder that `adaprob-ray unlearn` wrote, got no {name}") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error
    record, salt = documents
    _check_form(record, folder / RECORD_FILE)
    try:
        return record, bytes.fromhex(salt["salt"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / SALT_FILE}: must hold a salt in hexadecimal, got {salt!r}") from error


def _check_form(record: Any, path: Path) -> None:
    """Raises InputError if the entries that are recomputed are missing or of another kind."""
    predicate = record.get("predicate") if isinstance(record, dict) else None
    if not isinstance(predicate, dict) or "subject" not in record or not predicate.keys() >= RECOMPUTED.keys():
        raise InputError(f"{path}: must be a record that `adaprob-ray unlearn` wrote, got other keys")
    if record.get("predicateType") != PREDICATE:
        raise InputError(f"{path}: must be of the type {PREDICATE}, got {record.get('predicateType')!r}")
    wrong = [name for name, kind in RECOMPUTED.items() if not isinstance(predicate[name], kind)]
    wrong += [
        name
        for name in ("evidence", "mostExposed")
        if name not in wrong and not all(isinstance(entry, dict) for entry in predicate[name])
    ]
    if wrong:
        raise InputError(
            f"{path}: must have the entries that `adaprob-ray unlearn` writes, got malformed ones: {', '.join(wrong)}"
        )


def audit(folder: Path, plan: Plan, model: nn.Module) -> list[Check]:
    """Recompute the numbers of a record.

    Args:
        folder: with record.json, salt.json and the files of the new weights.
        plan: of the same arguments, with the original weights.
        model: with the new weights.

    Returns:
        A check for each digest, count and measured number, also for those that only one side has. See NOT_RECOMPUTED.
    """
    record, salt = read_record(folder)
    predicate = record["predicate"]
    plan = replace(plan, warnings=[], tuning=predicate["method"].get("tuning", {}))
    checks = [*check_files(folder, record), *_request(predicate["request"], request(plan, salt))]
    unknown = sorted(predicate.keys() - RECOMPUTED.keys() - STATED)
    checks.append(Check("entries of another program", unknown, []))
    checks += _fields("data: ", predicate["data"], {"normalization": normalization(plan)})
    weights = {"sha256": weights_digest(model.state_dict()), "parent": {"sha256": plan.parent_digest}}
    checks += _fields("weights: ", predicate["weights"], weights)
    unlearned = AdaptedNetwork(model, forward=plan.network.forward_function, device=plan.device)
    run = _run(plan, unlearned)
    checks.append(Check("parameter distance", predicate["parameterDistance"], run.distance))
    checks += _lists("evidence", predicate["evidence"], [item.document() for item in evidence(run)])
    checks += _lists("most exposed", predicate["mostExposed"], exposed_samples(run))
    if predicate.get("software", {}).get("adaprob_ray") == __version__:  # others may word them differently
        checks.append(Check("limits", predicate["limits"], limits(run)))
    return checks


def check_files(folder: Path, record: Mapping[str, Any]) -> Iterator[Check]:
    """Digests of the files of the new weights."""
    for subject in record["subject"]:
        path = folder / subject["name"]
        data = path.read_bytes() if path.is_file() else None
        digest = None if data is None else hashlib.sha256(data).hexdigest()
        yield Check(f"file {subject['name']}", subject["digest"]["sha256"], digest)


def _request(recorded: Mapping[str, Any], recomputed: Mapping[str, Any]) -> Iterator[Check]:
    for check in _fields("", recorded, recomputed):
        yield replace(check, name=REQUEST_WORDS.get(check.name, check.name))


def _run(plan: Plan, unlearned: AdaptedNetwork) -> Run:
    """The outputs of both models; what cannot be recomputed is empty."""
    return Run(
        plan=plan,
        before=measure(plan.network, plan.subsets),
        after=measure(unlearned, plan.subsets),
        references=[measure(reference, plan.subsets) for reference in plan.references],
        cost={},
        seconds={},
        facts={},
        series={},
        distance=distance(unlearned.parameters(), plan.network.parameters()),
        stopped=False,
        warnings=[],
    )


def _fields(prefix: str, recorded: Mapping[str, Any], recomputed: Mapping[str, Any]) -> Iterator[Check]:
    """A check for each key that one of the two has."""
    for name in dict.fromkeys([*recorded, *recomputed]):
        yield Check(f"{prefix}{name}", recorded.get(name), recomputed.get(name))


def _lists(
    name: str, recorded: Sequence[Mapping[str, Any]], recomputed: Sequence[Mapping[str, Any]]
) -> Iterator[Check]:
    """Whether there are as many entries, then those of the same title in their order."""
    yield Check(f"{name}: number of entries", len(recorded), len(recomputed))
    pairs: dict[str, tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]] = {}
    for side, entries in enumerate((recorded, recomputed)):
        for position, entry in enumerate(entries, 1):
            title = _title(entry) if "metric" in entry else f"{name} {position}"
            pairs.setdefault(title, ([], []))[side].append(entry)
    nothing: Mapping[str, Any] = {}
    for title, sides in pairs.items():
        for entry, other in itertools.zip_longest(*sides, fillvalue=nothing):
            yield from _fields(f"{title}: ", entry, other)


def _title(item: Mapping[str, Any]) -> str:
    against = f" against {item['against']}" if "against" in item else ""
    return f"{item['metric']} of {item['model']}{against}"


def _agree(recorded: Any, recomputed: Any) -> bool:
    if isinstance(recorded, list) and isinstance(recomputed, list):
        return len(recorded) == len(recomputed) and all(map(_agree, recorded, recomputed))
    if isinstance(recorded, float) or isinstance(recomputed, float):
        numbers = isinstance(recorded, (int, float)) and isinstance(recomputed, (int, float))
        return numbers and math.isclose(recorded, recomputed, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    return bool(recorded == recomputed)
