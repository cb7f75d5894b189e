"""The record of an unlearning: an in-toto statement about the new weights, unsigned, so that anyone may sign it.

`subject` is the file of the new weights; `predicate` says what was asked for, what was done, and what is known of the result.
Keys are in camelCase, as the attestation framework has them (in-toto Statement v1).
"""

from __future__ import annotations

import datetime
import hashlib
import platform
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from adaprob_ray._version import __version__
from adaprob_ray.models.weights import WEIGHTS_FILE, weights_bytes, weights_digest
from adaprob_ray.runtime.provenance import device_name
from adaprob_ray.settings import as_mapping
from adaprob_ray.unlearning.evidence import evidence, exposed_samples, limits
from adaprob_ray.unlearning.merkle import merkle_root
from adaprob_ray.unlearning.prepare import Plan
from adaprob_ray.unlearning.run import Run
from adaprob_ray.user_code.source import loaded_sources

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:adaprob-ray:unlearning:2"


def make_record(
    run: Run, model: nn.Module, *, salt: bytes | None = None, files: Mapping[str, bytes] | None = None
) -> dict[str, Any]:
    """The statement.

    Args:
        run: what was done.
        model: with the new weights.
        salt: of the Merkle root; None leaves the root out.
        files: weights as they are written, by file name; by default the safetensors file.
    """
    contents = files or {WEIGHTS_FILE: weights_bytes(model.state_dict())}
    subject = [
        {"name": name, "digest": {"sha256": hashlib.sha256(data).hexdigest()}} for name, data in contents.items()
    ]
    return {
        "_type": STATEMENT,
        "subject": subject,
        "predicateType": PREDICATE,
        "predicate": _predicate(run, model, salt),
    }


def normalization(plan: Plan) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel, as given; empty lists where only the data set itself may normalize."""
    return {name: [float(value) for value in getattr(plan.normalization, name)] for name in ("mean", "std")}


def request(plan: Plan, salt: bytes | None) -> dict[str, Any]:
    """Kind and number of the forgotten samples, their Merkle root if there is a salt, and what is retained."""
    return {
        "kind": plan.forget.kind,
        **({} if plan.forget.class_index is None else {"class": plan.forget.class_index}),
        "count": len(plan.forget.rows),
        **({} if salt is None else {"merkleRoot": merkle_root(salt, plan.forget_digests)}),
        "retain": plan.retain_argument,
        "retainCount": len(plan.subsets["retain"]),
    }


def _method_source(method: type) -> dict[str, Any]:
    """Where a method of another package comes from, and the digest of its source; nothing for those of this package."""
    digest = loaded_sources().get(method.__module__)
    if method.__module__.startswith("adaprob_ray.") or digest is None:
        return {}
    return {"path": f"{method.__module__}:{method.__qualname__}", "sourceDigest": digest}


def _predicate(run: Run, model: nn.Module, salt: bytes | None) -> dict[str, Any]:
    plan = run.plan
    items = evidence(run)
    return {
        "request": request(plan, salt),
        "data": {"normalization": normalization(plan)},
        "weights": {"sha256": weights_digest(model.state_dict()), "parent": {"sha256": plan.parent_digest}},
        "method": {
            "name": plan.method.name,
            "revision": plan.method.revision,
            **_method_source(type(plan.method)),
            "settings": as_mapping(plan.method),
            "seed": plan.seed,
            "precision": plan.precision,
            "batchNorm": plan.batch_norm,
            "maxDrop": plan.max_drop,
            "stopped": run.stopped,
            **({"tuning": dict(plan.tuning)} if plan.tuning else {}),
        },
        "software": {"adaprob_ray": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "hardware": {"device": device_name(plan.device), "machine": platform.machine()},
        "time": {
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": {name: round(value, 3) for name, value in run.seconds.items()},
        },
        "cost": {name: value for name, value in run.cost.items() if name != "seconds"},
        "parameterDistance": float(f"{run.distance:.10g}"),
        "facts": {name: float(f"{value:.10g}") for name, value in run.facts.items()},
        "evidence": [item.document() for item in items],
        "mostExposed": exposed_samples(run),
        "warnings": run.warnings,
        "limits": limits(run),
    }
