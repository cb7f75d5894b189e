"""t-SNE of several models' outputs on the same rows, of the test set or of the forget set (the paper's figures 2 and 3).

    softmax outputs of G models stacked, n rows each → columns standardised → PCA to min(50, K) → t-SNE to 2

Axes: G models, n rows of each, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.figures import style
from adaprob_ray.reporting.records.archive import evaluation_in, source_of
from adaprob_ray.reporting.records.grouping import only_group_title
from adaprob_ray.reporting.records.provenance import figure_notes
from adaprob_ray.reporting.records.selection import Selection, shown_seed
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.sweep.method_choices import REFERENCES

if TYPE_CHECKING:
    from adaprob_ray.metrics.outputs import Outputs

METHODS = {"AdaProb": "adaprob", "SCRUB": "scrub", "Retrain": "retrain"}
SEED = 42  # of PCA and of t-SNE
COMPONENTS = 50
MAX_METHODS = len(style.EMBEDDING_STYLES) - 1  # with Retrain
ITERATIONS = 650
Subset = Literal["forget", "test"]
Rows = Sequence[int] | NDArray[np.integer[Any]]  # positions in the training part


@dataclass(frozen=True)
class Embedding:
    """Model → its points [n, 2] (no unit), in the order given; all lie in one map. `subset`: test or forget."""

    points: dict[str, NDArray[np.float64]]
    subset: str
    perplexity: float


def build_embedding(
    selection: Selection,
    out: Path,
    *,
    subset: Subset = "test",
    methods: Mapping[str, str] | None = METHODS,
    name: str = "embedding",
) -> Output:
    """Write the figure of one model of each method to `out`/`name`, from Outputs in a store or an archive.

    Args:
        subset: The samples that are shown.
        methods: Name in the legend → method. Of several labels of a method the sweep's primary one is shown, or the first.
            None: Retrain with AdaProb and SCRUB, or, where neither is there, with up to four other methods.
    """
    gathered, source = selection.gather_some(name), source_of(selection.location)
    records = gathered.records
    only_group_title(records, "outputs")
    shown = default_methods(records) if methods is None else methods
    records_by_name = _shown_records(records, shown, selection.primary_label)
    first = next(iter(records_by_name.values()))
    outputs = {name: source.outputs(str(record["model_key"])) for name, record in records_by_name.items()}
    same_seed = records[records["seed"] == first["seed"]]
    evaluation = evaluation_in({str(column): value for column, value in first.items()}, same_seed, source)
    embedding = compute_embedding(outputs, subset, evaluation.forget)
    labels = ", ".join(f"{name}: {record['label']}" for name, record in records_by_name.items())
    caption = [labels, *figure_notes(pd.DataFrame(records_by_name.values()))]
    figure = draw_embedding(embedding, f"{first['dataset']} ({first['architecture']})", caption)
    return style.save_output(figure, out / name, gathered.missing, is_noted=False)


def default_methods(records: pd.DataFrame) -> dict[str, str]:
    """Retrain with AdaProb and SCRUB, or with up to four other methods, as far as there are Records of them."""
    available = [*dict.fromkeys(map(str, records["method"]))]
    unlearning = [name for name in available if name not in REFERENCES]
    preferred = [name for name in METHODS.values() if name in unlearning] or unlearning[:MAX_METHODS]
    return {name: name for name in [*preferred, "retrain"] if name in available}


def _shown_records(
    records: pd.DataFrame, methods: Mapping[str, str], primary_label: str | None
) -> dict[str, pd.Series[Any]]:
    """A Record of each method, all of one seed."""
    seed = shown_seed(records)
    records_by_name = {}
    for name, method in methods.items():
        candidates = records[(records["method"] == method) & (records["seed"] == seed)]
        if candidates.empty:
            raise InputError(f"{name}: must have a Record of method {method} and seed {seed}, got none")
        is_primary = candidates["label"] == primary_label
        records_by_name[name] = candidates.iloc[int(is_primary.argmax())]  # the first, if none is
    return records_by_name


def compute_embedding(groups: Mapping[str, Outputs], subset: Subset, forget: Rows = ()) -> Embedding:
    """One map of all groups. `forget` are positions in the training part, needed for `subset="forget"` only.

    Deterministic: it runs in one thread, as the order of sums over several threads varies. Raises InputError if groups
    differ in their rows or classes, or if there are too few rows for the perplexity.
    """
    outputs = {name: _probabilities(outputs, subset, forget) for name, outputs in groups.items()}
    if len({values.shape for values in outputs.values()}) != 1:
        shapes = ", ".join(f"{name} {values.shape[0]} × {values.shape[1]}" for name, values in outputs.items())
        raise InputError(f"t-SNE: must have groups of one shape, got {shapes or 'none'}")
    stacked = np.concatenate(list(outputs.values()))
    perplexity = min(30.0, max(5.0, len(stacked) / 4))
    components = min(COMPONENTS, stacked.shape[1])
    if len(stacked) <= (most := max(perplexity, components - 1)):
        raise InputError(f"t-SNE: must have more than {most:g} samples in all groups, got {len(stacked)}")
    with threadpool_limits(1):
        reduced = PCA(n_components=components, random_state=SEED).fit_transform(StandardScaler().fit_transform(stacked))
        settings: dict[str, Any] = {"max_iter": ITERATIONS, "perplexity": perplexity, "random_state": SEED}
        tsne = TSNE(n_components=2, metric="euclidean", init="pca", learning_rate="auto", **settings)
        points = tsne.fit_transform(reduced).astype(np.float64)
    return Embedding(dict(zip(outputs, np.split(points, len(outputs)), strict=True)), subset, perplexity)


def _probabilities(outputs: Outputs, subset: str, forget: Rows) -> NDArray[np.float64]:
    """Softmax outputs [n, K] in float64."""
    if subset not in get_args(Subset):
        raise InputError(unknown_name("subset", subset, get_args(Subset)))
    logits = outputs.logits["test" if subset == "test" else "train"]
    if subset == "forget":
        rows, count = np.asarray(forget, dtype=np.int64), len(logits)
        if not len(rows) or rows.min() < 0 or rows.max() >= count:
            raise InputError(f"forget: must be positions from 0 to {count - 1}, at least one, got {rows.tolist()[:5]}")
        logits = logits[rows]
    return softmax(logits.astype(np.float64), axis=1)


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_embedding(embedding: Embedding, title: str, caption: Sequence[str] = ()) -> Figure:
    """8 × 8 in, marker area 18 without edges, a square window with 5 % margin. At most five groups."""
    if len(embedding.points) > (most := len(style.EMBEDDING_STYLES)):
        raise InputError(f"t-SNE: must have at most {most} groups, got {', '.join(embedding.points)}")
    figure = style.new_figure(8, 8)
    axes = figure.subplots()
    for (name, points), (colour, marker) in zip(embedding.points.items(), style.EMBEDDING_STYLES, strict=False):
        dots: dict[str, Any] = {"s": 18, "linewidths": 0, "color": colour, "marker": marker}
        axes.scatter(points[:, 0], points[:, 1], label=f"{name} (n = {len(points)})", **dots)
    # A square window: 5 % beyond the points on every side of the wider span.
    points = np.concatenate(list(embedding.points.values()))
    low, high = points.min(0), points.max(0)
    half = float((high - low).max()) / 2 * 1.1
    x, y = (low + high) / 2
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
    axes.set_title(title, fontsize=style.TEXT + 3)
    axes.set_xlabel("t-SNE 1 (no unit)", fontsize=style.TEXT)
    axes.set_ylabel("t-SNE 2 (no unit)", fontsize=style.TEXT)
    axes.tick_params(labelsize=style.SMALL)
    axes.legend(loc="upper right", fontsize=style.TEXT, markerscale=1.6, framealpha=0.9)
    note = f"t-SNE of softmax outputs on the {embedding.subset} set, perplexity {embedding.perplexity:g}"
    style.add_caption(figure, [note, *caption])
    return figure
