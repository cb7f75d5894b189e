"""t-SNE of several models' outputs on the same rows: figures 2 (test set) and 3 (forget set), at the settings of protocol §6.5.

    softmax outputs of G models stacked, n rows each → columns standardised → PCA to min(50, K) → t-SNE to 2

Axes: G models, n rows of each, K classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.metrics.outputs import Outputs

SEED = 42  # of PCA and of t-SNE
COMPONENTS = 50
ITERATIONS = 650
# scikit-learn 1.5 gave n_iter another name.
_ITERATIONS = "max_iter" if "max_iter" in inspect.signature(TSNE).parameters else "n_iter"


@dataclass(frozen=True)
class Embedding:
    """Model → its points [n, 2] (no unit), in the order given; all lie in one map."""

    points: dict[str, NDArray[np.float64]]
    part: str
    perplexity: float


def embedding(
    groups: Mapping[str, Outputs],
    part: Literal["forget", "test"],
    forget: Sequence[int] | NDArray[np.integer[Any]] = (),
) -> Embedding:
    """One map of all groups. `forget` are positions in the training part, needed for `part="forget"` only.

    The same on every run: one thread, as sums over several depend on how they are shared out. Raises InputError if groups
    differ in their rows or classes, and if the rows are too few for the perplexity.
    """
    outputs = {name: _probabilities(outputs, part, forget) for name, outputs in groups.items()}
    _check(outputs)
    stacked = np.concatenate(list(outputs.values()))
    perplexity = min(30.0, max(5.0, len(stacked) / 4))
    components = min(COMPONENTS, stacked.shape[1])
    if len(stacked) <= max(perplexity, components - 1):
        raise InputError(
            f"t-SNE of {len(stacked)} rows: more than {max(perplexity, components - 1):g} are needed in all groups together"
        )
    with threadpool_limits(1):
        reduced = PCA(n_components=components, random_state=SEED).fit_transform(StandardScaler().fit_transform(stacked))
        placed = _map(perplexity).fit_transform(reduced).astype(np.float64)
    return Embedding(dict(zip(outputs, np.split(placed, len(outputs)), strict=True)), part, perplexity)


def _map(perplexity: float) -> Any:
    settings = {_ITERATIONS: ITERATIONS, "perplexity": perplexity, "random_state": SEED}
    return TSNE(n_components=2, metric="euclidean", init="pca", learning_rate="auto", **settings)


def _probabilities(
    outputs: Outputs, part: str, forget: Sequence[int] | NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Softmax outputs [n, K] in float64."""
    if part not in ("forget", "test"):
        raise InputError(unknown_name("part", part, ("forget", "test")))
    if part == "test":
        return softmax(outputs.logits["test"].astype(np.float64), axis=1)
    rows, count = np.asarray(forget, dtype=np.int64), len(outputs.logits["train"])
    if not len(rows) or rows.min() < 0 or rows.max() >= count:
        raise InputError(f"forget: positions from 0 to {count - 1} are needed, at least one; given {rows.tolist()[:5]}")
    return softmax(outputs.logits["train"][rows].astype(np.float64), axis=1)


def _check(outputs: Mapping[str, NDArray[np.float64]]) -> None:
    if len({values.shape for values in outputs.values()}) == 1:
        return
    shapes = ", ".join(f"{name} {values.shape[0]} × {values.shape[1]}" for name, values in outputs.items())
    raise InputError(f"t-SNE needs groups of as many rows and classes; given {shapes or 'none'}")
