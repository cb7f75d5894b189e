"""The data of the figures against independent oracles; drawings: every label is there, in grey too, and the same bytes."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from synthetic_records import frame, record, seeds
from threadpoolctl import threadpool_limits

from adaprob_ray.catalogue import METHODS
from adaprob_ray.errors import InputError
from adaprob_ray.metrics.outputs import SUBSET_NAMES, Outputs
from adaprob_ray.reporting.figures.ablation import compute_ablation, draw_ablation
from adaprob_ray.reporting.figures.curves import compute_curves, compute_solver_curves, draw_curves
from adaprob_ray.reporting.figures.embedding import Embedding, compute_embedding, draw_embedding
from adaprob_ray.reporting.figures.ranks import compute_ranks, draw_ranks
from adaprob_ray.reporting.figures.style import METHOD_STYLES, OTHER_STYLES, plot_styles, save
from adaprob_ray.reporting.figures.time_bars import compute_time_bars, draw_time_bars
from adaprob_ray.reporting.figures.trade_off import compute_trade_off, draw_trade_off
from adaprob_ray.reporting.records.grouping import METHOD_ORDER
from adaprob_ray.reporting.stats.intervals import mean_interval

pytestmark = pytest.mark.slow  # Matplotlib and t-SNE: 20 s of one core

TITLE = "digits (allcnn × 0.12)\nforget 25 of class 3"
ERRORS = ("retain_error_percent", "forget_error_percent")


def texts(figure: Figure) -> str:
    """All words of a drawing: ticks, titles, axis labels, legends and annotations."""
    figure.draw_without_rendering()
    actual = [text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(actual)


# -- figures 2 and 3 ---------------------------------------------------------------------------------------------------


def outputs(seed: int, rows: int = 40, classes: int = 5) -> Outputs:
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    logits = {
        part: (generator.normal(size=(rows, classes)) + 4 * np.eye(classes)[labels]).astype("float32")
        for part in SUBSET_NAMES
    }
    return Outputs(logits=logits, labels=dict.fromkeys(SUBSET_NAMES, labels))


GROUPS = {"AdaProb": outputs(1), "SCRUB": outputs(2), "Retrain": outputs(3)}


def protocol_6_5(stacked: np.ndarray) -> np.ndarray:
    """The protocol's text, line by line: standardise, PCA, t-SNE."""
    iterations = "max_iter" if "max_iter" in inspect.signature(TSNE).parameters else "n_iter"
    total, classes = stacked.shape
    with threadpool_limits(1):
        scaled = StandardScaler().fit_transform(stacked)
        reduced = PCA(n_components=min(50, classes), random_state=42).fit_transform(scaled)
        return TSNE(
            n_components=2, metric="euclidean", init="pca", learning_rate="auto", random_state=42,
            perplexity=min(30, max(5, total / 4)), **{iterations: 650},
        ).fit_transform(reduced)  # fmt: skip


def test_embedding_is_protocol_6_5() -> None:
    rows = np.array([7, 3, 30, 31, 2, 11, 12, 20])
    stacked = np.concatenate([softmax(o.logits["train"][rows].astype(float), axis=1) for o in GROUPS.values()])
    actual = compute_embedding(GROUPS, "forget", rows)
    assert list(actual.points) == ["AdaProb", "SCRUB", "Retrain"]
    assert actual.perplexity == 6
    np.testing.assert_array_equal(np.concatenate(list(actual.points.values())), protocol_6_5(stacked))


def test_embedding_is_the_same_twice_and_keeps_models_apart_that_differ() -> None:
    first, second = compute_embedding(GROUPS, "test"), compute_embedding(GROUPS, "test")
    for name, points in first.points.items():
        assert points.shape == (40, 2)
        np.testing.assert_array_equal(points, second.points[name])
    assert first.perplexity == 30


def test_embedding_refuses_what_cannot_be_mapped() -> None:
    with pytest.raises(InputError, match="a 40 × 5, b 30 × 5"):
        compute_embedding({"a": outputs(1), "b": outputs(1, rows=30)}, "test")
    with pytest.raises(InputError, match="t-SNE: must have more than 5 samples in all groups, got 3"):
        compute_embedding(GROUPS, "forget", [1])
    with pytest.raises(InputError, match="positions from 0 to 39"):
        compute_embedding(GROUPS, "forget", [40])
    with pytest.raises(InputError, match="at least one"):
        compute_embedding(GROUPS, "forget")


# -- figure 4 ----------------------------------------------------------------------------------------------------------


def timed(**others: object) -> pd.DataFrame:
    return frame(
        *seeds("retrain", "unlearn_seconds", 90.0, 10.0, 12.0, 17.0, method="retrain", **others),
        *seeds("a", "unlearn_seconds", 9.0, 1.0, 1.0, 4.0, method="scrub", **others),
    )


def test_time_bars_have_the_standard_error_of_seeds_after_the_warm_up() -> None:
    (bars,) = compute_time_bars(timed(), warm_up=1).panels.values()
    for bar, values in zip(bars, ([10.0, 12.0, 17.0], [1.0, 1.0, 4.0]), strict=True):
        assert bar.n == 3
        assert bar.mean_seconds == pytest.approx(np.mean(values))
        assert bar.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(3))
    assert [bar.name for bar in bars] == ["retrain", "a"]
    assert compute_time_bars(timed()).panels[TITLE][0].n == 4
    with pytest.raises(InputError, match="warm_up: must be the first of several seeds, got 2"):
        compute_time_bars(timed(), warm_up=2)


def test_a_repeat_is_no_further_run_and_one_seed_has_no_error() -> None:
    records = frame(*(record("a", 1, repeat=i, method="scrub", unlearn_seconds=s) for i, s in enumerate((1.0, 3.0))))
    (bar,) = compute_time_bars(records).panels[TITLE]
    assert (bar.mean_seconds, bar.standard_error, bar.n) == (2.0, None, 1)


@pytest.mark.parametrize(
    ("column", "values"),
    [("device", ["cuda (A)", "cpu (a)"]), ("threads", [1, 2]), ("precision", ["float32", "bfloat16"])],
)
def test_time_bars_refuse_mixed_hardware(column: str, values: list[object]) -> None:
    records = timed()
    records[column] = [values[label == "a"] for label in records["label"]]
    with pytest.raises(InputError, match=re.escape(f"got {column} {values[0]}, {values[1]}")):
        compute_time_bars(records)


def test_only_models_made_alone_are_timed() -> None:
    records = timed()
    records.loc[(records["label"] == "a") & (records["seed"] == 4), "exclusive"] = False
    actual = compute_time_bars(records, warm_up=1)
    assert [bar.n for bar in actual.panels[TITLE]] == [3, 2]
    assert "1 models ran concurrently with other cells" in actual.caption[0]
    records.loc[records["label"] == "a", "exclusive"] = False
    with pytest.raises(InputError, match="a has no exclusive time"):
        compute_time_bars(records)


# -- ablations ---------------------------------------------------------------------------------------------------------


def ablated() -> pd.DataFrame:
    """Two labels, λ of 1 and 4, three seeds, two repeats; and retrain."""
    rows = [
        record(label, seed, repeat=repeat, method="adaprob", retain_error_percent=lam + seed, target_shift=lam / 10,
               forget_error_percent=10 * seed + repeat, **{"method.lam": lam, "method.lr": 0.1})
        for label in ("eq1", "script") for lam in (1.0, 4.0) for seed in (1, 2, 3) for repeat in (0, 1)
    ]  # fmt: skip
    errors = {"retain_error_percent": 1.0, "forget_error_percent": 2.0, "target_shift": None}
    return frame(*rows, *(record("retrain", seed, method="retrain", **errors) for seed in (1, 2, 3)))


def test_ablation_is_the_interval_over_seeds_of_means_over_repeats() -> None:
    actual = compute_ablation(ablated(), "method.lam")
    (curves,) = actual.panels.values()
    assert [curve.name for curve in curves] == ["eq1", "script"]
    for curve in curves:
        assert curve.values["retain_error_percent"][4.0] == mean_interval([5.0, 6.0, 7.0])
        assert curve.values["forget_error_percent"][1.0] == mean_interval([10.5, 20.5, 30.5])
        assert {lam: e.mean for lam, e in curve.values["target_shift"].items()} == pytest.approx({1.0: 0.1, 4.0: 0.4})
    (retrain,) = actual.references[TITLE]
    assert {name: e.mean for name, e in retrain.values.items()} == dict(zip(ERRORS, (1.0, 2.0), strict=True))


def test_a_line_of_the_same_method_without_the_setting_stands_beside_the_curves() -> None:
    records = ablated()
    records.loc[records["label"] == "script", "method.lam"] = None
    records = records.drop_duplicates(["label", "seed", "repeat", "method.lam"])
    actual = compute_ablation(records, "method.lam", ["target_shift"])
    assert [curve.name for curve in actual.panels[TITLE]] == ["eq1"]
    assert [line.name for line in actual.references[TITLE]] == ["retrain", "script"]
    assert actual.references[TITLE][1].values["target_shift"].mean == pytest.approx(0.1)
    assert "script" in texts(draw_ablation(actual))


def test_another_setting_that_varies_parts_curves_and_another_recipe_is_refused() -> None:
    more = ablated().assign(**{"method.lr": 0.2})
    both = pd.concat([ablated(), more[more["label"] == "eq1"]])
    (curves,) = compute_ablation(both, "method.lam").panels.values()
    assert [curve.name for curve in curves] == ["eq1 lr=0.1", "eq1 lr=0.2", "script"]
    with pytest.raises(InputError, match=r"would average over recipe\.lr"):
        compute_ablation(ablated().assign(**{"recipe.lr": [0.1] * 10 + [0.2] * 17}), "method.lam")
    with pytest.raises(InputError, match=r"two values, got method\.lr \(labels: eq1, script, retrain\)"):
        compute_ablation(ablated(), "method.lr")
    with pytest.raises(InputError, match=r"did you mean 'method\.lam'"):
        compute_ablation(ablated(), "method.lamb")


@pytest.mark.parametrize(
    ("factor", "labels"), [(1.0, ["1", "4"]), (8.0, ["8", "32"]), (0.00173, ["0.00173", "0.00692"])]
)
def test_ticks_are_at_the_settings_of_a_short_axis(factor: float, labels: list[str]) -> None:
    records = ablated()
    records["method.lam"] *= factor
    figure = draw_ablation(compute_ablation(records, "method.lam"))
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == labels


def test_ticks_with_long_labels_are_at_powers_of_ten() -> None:
    records = ablated()
    records["method.lam"] = records["method.lam"].map({1.0: 1.73e-5, 4.0: 0.00693})
    axes = draw_ablation(compute_ablation(records, "method.lam")).axes[0]
    assert axes.get_xscale() == "log"
    ticks = [tick for tick in axes.get_xticks() if 1.73e-5 <= tick <= 0.00693]
    assert ticks == pytest.approx([1e-4, 1e-3])


# -- trade-off and ranks -----------------------------------------------------------------------------------------------


def compared() -> pd.DataFrame:
    """Two seeds; |difference from retrain| of the retain error: (1, 1) independent, (3, 1) a, (0, 1) b, (3, 5) c."""
    values = {
        "original": (0.0, 0.0), "retrain": (10.0, 20.0), "retrain_independent": (11.0, 19.0), "a": (7.0, 21.0),
        "b": (10.0, 21.0), "c": (13.0, 25.0),
    }  # fmt: skip
    methods = {"a": "scrub", "b": "adaprob", "c": "adaprob"}
    rows = [
        record(label, seed, method=methods.get(label, label), retain_error_percent=value, retain_rows=100,
               forget_error_percent=40.0 + seed, test_error_percent=value)
        for label, pair in values.items() for seed, value in enumerate(pair, 1)
    ]  # fmt: skip
    return frame(*rows)


def test_trade_off_has_every_label_with_its_intervals() -> None:
    (points,) = compute_trade_off(compared()).panels.values()
    assert [point.name for point in points] == ["original", "retrain", "retrain_independent", "a", "b", "c"]
    retrain = points[1]
    assert retrain.retain == mean_interval([10.0, 20.0])
    assert retrain.forget == mean_interval([41.0, 42.0])
    assert points[0].retain.count is not None  # no row is wrong: counted, with a bound


def test_ranks_by_hand() -> None:
    actual = compute_ranks(compared(), ["retain_error_percent"])
    # Seed 1: b 0, independent 1, a = c = 3. Seed 2: independent = a = b = 1, c 5.
    expected = {"b": (1 + 2) / 2, "retrain_independent": (2 + 2) / 2, "a": (3.5 + 2) / 2, "c": (3.5 + 4) / 2}
    assert actual.by_column["retain_error_percent"] == pytest.approx(expected)
    assert list(actual.methods) == list(expected)
    assert (actual.cells, actual.independent) == (2, "retrain_independent")


def test_ranks_need_every_cell_and_skip_a_metric_that_does_not_apply() -> None:
    records = compared()
    records.loc[records["label"] == "retrain_independent", "test_error_percent"] = None
    actual = compute_ranks(records, ["retain_error_percent", "test_error_percent"])
    assert "retrain_independent" not in actual.by_column["test_error_percent"]
    assert actual.overall["retrain_independent"] == actual.by_column["retain_error_percent"]["retrain_independent"]
    records.loc[(records["label"] == "a") & (records["seed"] == 2), "test_error_percent"] = None
    with pytest.raises(InputError, match="test_error_percent: must have a value of a in all 2 cells, got 1"):
        compute_ranks(records, ["test_error_percent"])
    with pytest.raises(InputError, match="did you mean 'test_error_percent'"):
        compute_ranks(records, ["test_eror_percent"])


# -- trajectories ------------------------------------------------------------------------------------------------------

CURVE = pd.DataFrame({"solver": ["newton", "newton", "scaling"], "passes": [1, 3, 1], "residual": [0.1, 1e-9, 0.1]})


def test_a_curve_is_what_was_stored() -> None:
    stored = {"one": {"loss": [[1, 0.5], [2, None]]}, "two": {"loss": [[1, 0.25]]}}
    actual = compute_curves(stored, "loss", {"one": "scrub", "two": "adaprob"})
    assert actual.paths["two"] == [(1.0, 0.25)]
    assert math.isnan(actual.paths["one"][1][1])
    with pytest.raises(InputError, match=r"one: unknown series 'projection_residual' \(known: loss\)"):
        compute_curves(stored, "projection_residual", {})
    assert compute_solver_curves(CURVE).paths == {"newton": [(1.0, 0.1), (3.0, 1e-9)], "scaling": [(1.0, 0.1)]}


# -- styles and files ---------------------------------------------------------------------------------------------------------


def test_every_method_of_the_catalogue_has_a_style_and_a_place() -> None:
    """By name: a method that is added or moved changes the style of no other. One of your own needs neither."""
    assert tuple(METHOD_STYLES) == METHOD_ORDER
    assert tuple(name for name in METHODS if name in METHOD_STYLES) == METHOD_ORDER
    alone = plot_styles({"scrub": "scrub"})["scrub"]
    assert plot_styles({name: name for name in METHODS})["scrub"] == alone


def test_every_method_has_a_colour_and_a_marker_of_its_own_also_those_without_an_entry() -> None:
    names = [*METHOD_STYLES, *(f"mine_{place}" for place in range(len(OTHER_STYLES)))]
    actual = plot_styles({name: name for name in names})
    assert len({style.colour for style in actual.values()}) == len({s.marker for s in actual.values()}) == len(names)
    assert len({style.hatch for style in actual.values()}) == len(names)
    assert actual["scrub"] == plot_styles({"scrub": "scrub"})["scrub"], "theirs are not changed by others"
    assert plot_styles({name: name for name in reversed(names)}) == actual, "whatever their order"


def test_labels_of_one_method_are_told_apart_in_grey_whatever_their_order() -> None:
    names = {f"label{i:02d}": "adaprob" for i in range(12)} | {"other": "scrub"}
    actual = plot_styles(names)
    assert len({(style.marker, style.fill) for style in actual.values()}) == len(names)
    assert plot_styles(dict(reversed(names.items()))) == actual
    assert actual["label00"].colour == plot_styles({"adaprob": "adaprob"})["adaprob"].colour


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_the_same_figure_is_the_same_bytes(ending: str, tmp_path: Path) -> None:
    def saved(name: str) -> bytes:
        (path,) = save(
            draw_ranks(compute_ranks(compared(), ["retain_error_percent"])), tmp_path / "new" / name, [ending]
        )
        return path.read_bytes()

    assert saved("one") == saved("two")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [f"one.{ending}", f"two.{ending}"]


def test_no_other_format_and_300_dots_an_inch(tmp_path: Path) -> None:
    figure = draw_curves(compute_solver_curves(CURVE))
    with pytest.raises(InputError, match="unknown figure format 'pgn'; did you mean 'png'"):
        save(figure, tmp_path / "x", ["pgn"])
    (path,) = save(figure, tmp_path / "x", ["png"])
    assert matplotlib.image.imread(path).shape[:2] == (round(4.4 * 300), round(6.4 * 300))


# -- drawings ----------------------------------------------------------------------------------------------------------


def test_every_drawing_names_all_that_it_shows() -> None:
    drawings = {
        ("retrain", "a", "(n = 4)", "unlearning time (s)", "± 1.9"): draw_time_bars(compute_time_bars(timed())),
        ("eq1", "script", "retrain", "Table 5", "λ", "retain error", "target shift"): draw_ablation(
            compute_ablation(ablated(), "method.lam"), {"retain_error_percent": {1: 0.21, 4: 0.0}}
        ),
        ("original", "retrain", "a", "b", "c", "forget error (%)"): draw_trade_off(compute_trade_off(compared())),
        ("retrain_independent", "a", "b", "c", "retain error"): draw_ranks(
            compute_ranks(compared(), ["retain_error_percent"])
        ),
        ("newton", "scaling", "tolerance 1e-09", "passes"): draw_curves(compute_solver_curves(CURVE)),
    }
    for words, figure in drawings.items():
        actual = texts(figure)
        assert [word for word in words if word not in actual] == []
    for figure in list(drawings.values())[:4]:
        assert "device cpu (a)" in texts(figure)


def test_the_map_is_a_square_window_with_a_margin_of_5_percent() -> None:
    points = {"AdaProb": np.array([[0.0, 0.0], [10.0, 2.0]]), "SCRUB": np.array([[5.0, 1.0], [5.0, 1.0]])}
    figure = draw_embedding(Embedding(points, "forget", 5.0), "digits (allcnn)", ["seed 1"])
    (axes,) = figure.axes
    assert axes.get_xlim() == pytest.approx((-0.5, 10.5))
    assert axes.get_ylim() == pytest.approx((1 - 5.5, 1 + 5.5))
    assert tuple(figure.get_size_inches()) == (8, 8)
    assert {tuple(dots.get_sizes()) for dots in axes.collections} == {(18.0,)}
    assert [
        word for word in ("AdaProb (n = 2)", "SCRUB", "digits (allcnn)", "seed 1") if word not in texts(figure)
    ] == []
    with pytest.raises(InputError, match="at most 5"):
        draw_embedding(Embedding({str(i): points["SCRUB"] for i in range(6)}, "test", 5.0), "x")
