"""Distance to Retrain against cost, and which rows are within the noise floor, by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from synthetic_records import frame, record

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.figures.cost import (
    DISTANCE,
    ERRORS,
    PASSES,
    CostPoint,
    compute_cost,
    draw_cost,
    floor_summary,
    floor_verdicts,
    spread_costs,
)
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.report.build import render_report
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.model import Table, tables

# label: errors (test, retain, forget) minus Retrain's by seed, KL forget by seed, passes of all seeds
ROWS: dict[str, tuple[tuple[float, float], tuple[float, float] | None, int]] = {
    "original": ((9.0, 9.0), (0.9, 1.1), 1000),
    "retrain": ((0.0, 0.0), (0.1, 0.3), 1000),
    "retrain_independent": ((1.0, -3.0), None, 1000),
    "near": ((2.0, -2.0), (0.1, 0.2), 250),
    "middle": ((2.0, 2.0), (0.3, 0.5), 500),
    "far": ((2.0, 2.1), (0.3, 0.3), 100),
}


def records(*labels: str, **changes: Any) -> pd.DataFrame:
    rows = []
    for label in labels:
        differences, distances, passes = ROWS[label]
        for seed, difference in enumerate(differences, 1):
            values = {column.name: 40.0 + difference for column in ERRORS}
            values |= {} if distances is None else {DISTANCE.name: distances[seed - 1]}
            values |= {PASSES[0]: passes * 0.6, PASSES[1]: passes * 0.4}
            rows.append(record(label, seed, **{**values, **changes}))
    return frame(*rows)


def table(*labels: str) -> Table:
    columns = [*ERRORS, DISTANCE, *map(metric_format, PASSES)]
    (result,) = tables(records(*labels), columns, labels)
    return result


REFERENCES = ("original", "retrain", "retrain_independent")


def test_a_row_is_within_the_floor_if_its_mean_distance_is_at_most_that_of_the_second_retrained_model() -> None:
    verdicts = {verdict.name: verdict for verdict in floor_verdicts(table(*REFERENCES, "near", "middle", "far"))}
    assert list(verdicts) == ["original", "near", "middle", "far"]
    errors = tuple(column.words for column in ERRORS)
    # The floor is 2 points of each error, and 0.2 nats.
    assert (verdicts["near"].within, verdicts["near"].outside) == ((*errors, "KL forget"), ())
    assert (verdicts["middle"].within, verdicts["middle"].outside) == (errors, ("KL forget",))
    assert (verdicts["far"].within, verdicts["far"].outside) == ((), (*errors, "KL forget"))
    assert [verdicts[name].cost for name in ("near", "middle", "far")] == [0.25, 0.5, pytest.approx(0.1)]


def test_the_summary_names_what_is_within_the_floor_else_the_closest() -> None:
    metrics = "test error, retain error, forget error and KL forget"
    assert floor_summary(table(*REFERENCES, "near", "far")) == (
        f"Within the noise floor in {metrics}: near (0.25 × Retrain's passes)."
    )
    assert floor_summary(table(*REFERENCES, "far", "middle")) == (
        f"No method is within the noise floor in all of {metrics}. Closest: middle (0.5 × Retrain's passes), in all but "
        "KL forget."
    )
    assert floor_summary(table(*REFERENCES, "far")) == f"No method is within the noise floor in any of {metrics}."
    assert "no noise floor" in floor_summary(table("original", "retrain", "near"))
    assert "no noise floor" in floor_summary(table(*REFERENCES))


def test_a_method_that_forgets_nothing_or_costs_as_much_as_retraining_is_not_the_closest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def errors(label: str, *, forget: float, kl: float, passes: int) -> pd.DataFrame:
        monkeypatch.setitem(ROWS, label, ((1.0, 1.0), (kl, kl), passes))
        return records(label, forget_error_percent=40.0 + forget)

    references = records("retrain", "retrain_independent")
    columns = [*ERRORS, DISTANCE, *map(metric_format, PASSES)]

    def summary(*frames: pd.DataFrame) -> str:
        joined = pd.concat([references, *frames], ignore_index=True)
        (result,) = tables(joined, columns, dict.fromkeys(map(str, joined["label"])))
        return floor_summary(result)

    original = errors("original", forget=-40.0, kl=5.0, passes=1000)
    idle = errors("idle", forget=-40.0, kl=5.0, passes=100)
    dear = errors("dear", forget=0.0, kl=5.0, passes=1100)
    cheap = errors("cheap", forget=0.0, kl=5.0, passes=500)
    assert summary(original, idle, dear).endswith(
        "No method with fewer passes than Retrain is within it in forget error or KL forget."
    )
    assert summary(original, idle, dear, cheap).endswith(
        "Closest: cheap (0.5 × Retrain's passes), in all but KL forget."
    )


def test_an_original_within_the_floor_is_called_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS, "original", ((1.0, 1.0), (0.1, 0.1), 1000))
    summary = floor_summary(table(*REFERENCES, "near"))
    assert summary.endswith("So is the original model: this setting cannot tell unlearning from doing nothing.")


def test_the_panel_has_the_methods_and_retrain_at_cost_1() -> None:
    (panel,) = compute_cost(records(*REFERENCES, "near", "far")).values()
    assert [(point.name, point.cost) for point in panel.points] == [
        ("retrain", 1.0),
        ("near", 0.25),
        ("far", pytest.approx(0.1)),
    ]
    assert panel.floor.mean == pytest.approx(0.2)
    assert panel.original is not None
    assert panel.original.mean == pytest.approx(1.0)


@pytest.mark.parametrize("labels", [("near", "far"), REFERENCES])
def test_without_retrain_or_a_method_the_figure_names_what_it_needs(labels: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="cost: must have kl_forget_nats, forward_examples and backward_examples"):
        compute_cost(records(*labels))


def test_equal_costs_are_drawn_next_to_each_other() -> None:
    points = [CostPoint(str(cost), "scrub", cost, Estimate(1.0, None, 1)) for cost in (0.2, 0.2, 0.5, 1.0, 0.2)]
    costs = spread_costs(points)
    assert sorted(costs[index] for index in (0, 1, 4)) == [costs[0], costs[1], costs[4]]
    assert len(set(costs)) == 5
    assert (costs[2], costs[3]) == (0.5, 1.0)
    assert costs[1] == pytest.approx(0.2)
    assert all(abs(cost / point.cost - 1) < 0.1 for cost, point in zip(costs, points, strict=True))


def test_the_drawing_names_every_row_and_the_original() -> None:
    chosen = records(*REFERENCES, "near", "far").replace({"method": {"near": "scrub", "far": "adaprob"}})
    figure = draw_cost(compute_cost(chosen), chosen)
    (axes,) = figure.axes
    assert "original" in {text.get_text() for text in axes.texts}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["retrain", "near", "far"]


def test_the_report_begins_with_the_summary_and_the_picture_of_each_table() -> None:
    text = render_report(records(*REFERENCES, "near", "far"), missing=(), title="tiny")
    overview, _, rest = text.partition('<form class="search"')
    assert "Within the noise floor in test error, retain error, forget error and KL forget: near (0.25" in overview
    assert "KL forget (nats) against passes relative to Retrain" in overview
    assert 'data-name="near"' in overview
    assert 'class="facts"' not in overview
    assert 'class="facts"' in rest.partition('id="cells"')[2], "metadata comes last"


def test_a_report_of_many_tables_begins_with_the_first_six() -> None:
    requests = [records(*REFERENCES, "near", forget=f"class{number}", key=f"k{number}") for number in range(8)]
    joined = pd.concat(requests, ignore_index=True)
    joined["key"] = [f"key{index}" for index in range(len(joined))]
    overview = render_report(joined, missing=(), title="many").partition('<form class="search"')[0]
    assert overview.count("<article>") == 6
    assert "2 more tables are in the contents below." in overview
