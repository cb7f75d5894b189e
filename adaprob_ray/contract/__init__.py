"""The contract of a method as tests, for the methods of this package and of any other.

    pytest --pyargs adaprob_ray.contract --method my_package.mine:MyMethod

runs every test of the contract for that method: weights move, seeds reproduce, undeclared needs raise, the cost is as declared,
frozen layers stay frozen. Without `--method` all methods of the catalogue are tested. pytest must be installed.

The names below are the bench of these tests, for tests of one's own: a small split, a trained original, and runs of a method.
"""

from adaprob_ray.contract.bench import (
    CPU,
    FILTERS,
    FORGET,
    PIXELS,
    RECIPE,
    REQUEST,
    ROWS,
    SEED,
    SETTINGS,
    changed_parameters,
    digest,
    forget_rows,
    make_parts,
    new_model,
    original,
    shrunk,
    sizes,
    state,
    updated_buffers,
)
from adaprob_ray.contract.cases import Case, cases, methods
from adaprob_ray.contract.cells import (
    MemoryStore,
    clear_caches,
    planned,
    train_cell,
    train_product,
    trained,
    weights_digest,
)
from adaprob_ray.contract.trials import (
    Trial,
    attempt,
    check_cost,
    is_finite,
    make_context,
    make_split,
    trial,
)

__all__ = [
    "CPU",
    "FILTERS",
    "FORGET",
    "PIXELS",
    "RECIPE",
    "REQUEST",
    "ROWS",
    "SEED",
    "SETTINGS",
    "Case",
    "MemoryStore",
    "Trial",
    "attempt",
    "cases",
    "changed_parameters",
    "check_cost",
    "clear_caches",
    "digest",
    "forget_rows",
    "is_finite",
    "make_context",
    "make_parts",
    "make_split",
    "methods",
    "new_model",
    "original",
    "planned",
    "shrunk",
    "sizes",
    "state",
    "train_cell",
    "train_product",
    "trained",
    "trial",
    "updated_buffers",
    "weights_digest",
]
