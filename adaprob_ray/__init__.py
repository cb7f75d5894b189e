"""adaprob_ray: distributed, resumable sweeps for machine unlearning of image classifiers.

Importing this package loads neither torch nor Ray; the names below are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from adaprob_ray._version import __version__

_PUBLIC = {
    "project": "adaprob_ray.projection",
    "load_records": "adaprob_ray.store.records",
    "load_search": "adaprob_ray.runtime.search_results",
    "load_study": "adaprob_ray.runtime.search_results",
    "load_trials": "adaprob_ray.runtime.search_results",
    "Store": "adaprob_ray.store",
    "Unlearned": "adaprob_ray.unlearning.api",
    "unlearn": "adaprob_ray.unlearning.api",
}

__all__ = [
    "Store",
    "Unlearned",
    "__version__",
    "load_records",
    "load_search",
    "load_study",
    "load_trials",
    "project",
    "unlearn",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'adaprob_ray' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
