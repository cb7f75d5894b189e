"""A small search on the digits, and studies of it whose trials are scored by a function instead of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.search.search_file import SearchFile
from adaprob_ray.search.study import Study, Trial

SEARCH: Mapping[str, Any] = {
    "name": "small",
    "grid": {
        "dataset": "digits",
        "architecture": {"name": "allcnn", "filters": 0.02},
        "forget": {"kind": "selective", "class": 3, "count": 25},
        "seed": [1, 2],
    },
    "train": {"recipe": "large", "epochs": 1},
    "methods": {"retrain": {}, "finetune": {}, "scrub": {}, "adaprob": {}},
    "metrics": ["errors", "kl_to_retrain", "passes"],
    "search": {
        "trials": 20,
        "seeds": [11, 12],
        "rule": "oracle",
        "lag": 4,
        "space": {"finetune": {"lr": {"log": [1e-4, 1.0]}, "epochs": {"int": [1, 10]}}},
    },
}
Objective = Callable[[Mapping[str, Any]], Sequence[float]]


def parse(document: Mapping[str, Any]) -> SearchFile:
    return SearchFile.parse(yaml.safe_dump(dict(document), sort_keys=False), REGISTRY)


def study_of(document: Mapping[str, Any] = SEARCH, label: str = "finetune") -> Study:
    search = parse(document)
    (target,) = (target for target in search.targets if target.label == label)
    return Study.create(search, target, REGISTRY)


def bowl(params: Mapping[str, Any]) -> Sequence[float]:
    """Least at lr 1e-3 and 4 epochs."""
    return ((math.log10(params["lr"]) + 3) ** 2 + 0.1 * abs(params["epochs"] - 4),)


def ended(number: int, params: Mapping[str, Any], values: Sequence[float] | None) -> Trial:
    """A trial with its result; None for one that diverged."""
    if values is None:
        return Trial(number=number, params=params, state="diverged")
    return Trial(number=number, params=params, state="complete", values=tuple(values), seed_values=(tuple(values),))


def in_order(study: Study, count: int, objective: Objective = bowl) -> list[Trial]:
    """Trials that are asked and end one after another."""
    trials: list[Trial] = []
    for number in range(count):
        params = study.ask(trials)
        trials.append(ended(number, params, objective(params)))
    return trials
