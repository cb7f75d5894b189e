"""Recomputes what a record says, from the weights and the data, and names every difference."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from adaprob_ray.errors import InputError
from adaprob_ray.models.weights import weights_digest
from adaprob_ray.training.loop import distance
from adaprob_ray.unlearning.evidence import evidence, exposed_samples
from adaprob_ray.unlearning.merkle import merkle_root
from adaprob_ray.unlearning.network import AdaptedNetwork
from adaprob_ray.unlearning.outputs import measure
from adaprob_ray.unlearning.prepare import Plan
from adaprob_ray.unlearning.record import normalization
from adaprob_ray.unlearning.run import Run
from adaprob_ray.unlearning.save import RECORD_FILE, SALT_FILE

# Relative difference up to which two numbers agree: other processors add in another order.
TOLERANCE = 1e-4
# Keys of a record's predicate that are recomputed, or say how.
RECOMPUTED = {"request", "weights", "method", "parameterDistance", "evidence", "mostExposed"}


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
    predicate = record.get("predicate") if isinstance(record, dict) else None
    if not isinstance(predicate, dict) or "subject" not in record or not predicate.keys() >= RECOMPUTED:
        raise InputError(f"{folder / RECORD_FILE}: must be a record that `adaprob-ray unlearn` wrote, got other keys")
    try:
        return record, bytes.fromhex(salt["salt"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / SALT_FILE}: must hold a salt in hexadecimal, got {salt!r}") from error


def audit(folder: Path, plan: Plan, model: nn.Module) -> list[Check]:
    """Recompute the numbers of a record.

    Args:
        folder: with record.json, salt.json and the files of the new weights.
        plan: of the same arguments, with the original weights.
        model: with the new weights.

    Returns:
        A check for each digest, count and measured number. Times, costs and what the method noted cannot be recomputed.
    """
    record, salt = read_record(folder)
    predicate = record["predicate"]
    checks = [*check_files(folder, record), *_request(predicate, plan, salt)]
    if "data" in predicate:  # absent from older records
        for name, values in normalization(plan).items():
            checks.append(Check(f"normalization: {name}", predicate["data"]["normalization"][name], values))
    weights = predicate["weights"]
    checks.append(Check("weights", weights["sha256"], weights_digest(model.state_dict())))
    checks.append(Check("original weights", weights["parent"]["sha256"], plan.parent_digest))
    unlearned = AdaptedNetwork(model, forward=plan.network.forward_function, device=plan.device)
    run = _run(plan, unlearned)
    checks.append(Check("parameter distance", predicate["parameterDistance"], run.distance))
    checks += _numbers(predicate["evidence"], [item.document() for item in evidence(run)])
    recomputed = exposed_samples(run)
    for position, line in enumerate(predicate["mostExposed"]):
        other = recomputed[position] if position < len(recomputed) else {}
        checks += [
            Check(f"most exposed {position + 1}: {name}", value, other.get(name)) for name, value in line.items()
        ]
    return checks


def check_files(folder: Path, record: Mapping[str, Any]) -> Iterator[Check]:
    """Digests of the files of the new weights."""
    for subject in record["subject"]:
        path = folder / subject["name"]
        data = path.read_bytes() if path.is_file() else None
        digest = None if data is None else hashlib.sha256(data).hexdigest()
        yield Check(f"file {subject['name']}", subject["digest"]["sha256"], digest)


def _request(predicate: Mapping[str, Any], plan: Plan, salt: bytes) -> Iterator[Check]:
    request = predicate["request"]
    yield Check("forgotten samples", request["count"], len(plan.forget.rows))
    yield Check("Merkle root of the forgotten samples", request["merkleRoot"], merkle_root(salt, plan.forget_digests))
    yield Check("retained samples", request["retainCount"], len(plan.subsets["retain"]))


def _run(plan: Plan, unlearned: AdaptedNetwork) -> Run:
    """The outputs of both models; what cannot be recomputed is empty."""
    return Run(
        plan=replace(plan, warnings=[]),
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


def _numbers(recorded: list[dict[str, Any]], recomputed: list[dict[str, Any]]) -> Iterator[Check]:
    """Evidence by metric, model and what it is compared with."""
    others = {_name(item): item for item in recomputed}
    for item in recorded:
        other = others.get(_name(item), {})
        for field in ("value", "interval95", "samples"):
            if field in item:
                yield Check(f"{_name(item)}: {field}", item[field], other.get(field))
    for name in others.keys() - {_name(item) for item in recorded}:
        yield Check(name, None, others[name]["value"])


def _name(item: Mapping[str, Any]) -> str:
    against = f" against {item['against']}" if "against" in item else ""
    return f"{item['metric']} of {item['model']}{against}"


def _agree(recorded: Any, recomputed: Any) -> bool:
    if isinstance(recorded, list) and isinstance(recomputed, list):
        return len(recorded) == len(recomputed) and all(map(_agree, recorded, recomputed))
    if isinstance(recorded, float) or isinstance(recomputed, float):
        numbers = isinstance(recorded, (int, float)) and isinstance(recomputed, (int, float))
        return numbers and math.isclose(recorded, recomputed, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(recorded == recomputed)
