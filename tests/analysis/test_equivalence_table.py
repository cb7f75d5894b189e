"""The table of methods against two retrained models, from made-up Records."""

from __future__ import annotations

import csv
from typing import Any

from synthetic_records import frame, record

from adaprob_ray.reporting.tables.model import Table, tables
from analysis.paper.equivalence import (
    EquivalenceRow,
    equivalence_columns,
    equivalence_numbers,
    equivalence_page,
    equivalence_rows,
)

RETRAIN, INDEPENDENT = (57.0, 51.0, 60.0, 49.0, 55.0), (54.0, 58.0, 55.0, 53.0, 52.0)


def records(
    label: str, forget: tuple[float, ...], auc: float, kl: float | None, test: float, passes: int
) -> list[dict[str, Any]]:
    """Seeds 1, 2, …; what is given once varies a little from seed to seed."""
    return [
        record(
            label,
            seed,
            method=label,
            forget_error_percent=error,
            membership_auc_percent=auc + 2 * (-1) ** seed,
            kl_forget_nats=None if kl is None else kl + 0.05 * (-1) ** seed,
            test_error_percent=test,
            unlearn_seconds=float(passes),
            forward_examples=passes,
            backward_examples=passes,
        )
        for seed, error in enumerate(forget, 1)
    ]


def independent(seeds: int = 5) -> list[dict[str, Any]]:
    rows = records("retrain_independent", INDEPENDENT[:seeds], 0, None, 35.0, 96)
    return [row | {"membership_auc_percent": 49.0 + row["seed"]} for row in rows]


def table_of(*methods: list[dict[str, Any]], seeds: int = 5) -> Table:
    references = [
        *records("original", (14.0, 7.0, 10.0, 9.0, 12.0)[:seeds], 72, 1.0, 34.0, 96),
        *records("retrain", RETRAIN[:seeds], 47, 0.4, 35.0, 96),
        *independent(seeds),
    ]
    rows = [*references, *(row for method in methods for row in method)]
    return tables(frame(*rows), equivalence_columns(), list(dict.fromkeys(row["label"] for row in rows)))[0]


def near(test: float = 35.5, seeds: int = 5) -> list[dict[str, Any]]:
    """As the independent retrained model in every column but test error."""
    own = records("near", INDEPENDENT[:seeds], 0, 0.4, test, 24)
    return [row | {"membership_auc_percent": 49.0 + row["seed"]} for row in own]


def rows_of(table: Table) -> dict[str, EquivalenceRow]:
    return {row.name: row for row in equivalence_rows(table)}


def test_a_method_as_near_as_a_retrained_model_is_equivalent_at_its_cost() -> None:
    rows = rows_of(table_of(near(), records("far", (20.0, 22.0, 18.0, 21.0, 19.0), 70, 0.9, 35.0, 48)))
    assert {name: row.verdict for name, row in rows.items()} == {"original": False, "near": True, "far": False}
    assert rows["near"].passes == 0.25
    assert rows["far"].passes == 0.5
    assert rows["original"].passes is None, "nothing was unlearned"


def test_more_than_a_point_of_test_error_is_not_equivalent() -> None:
    row = rows_of(table_of(near(test=36.5)))["near"]
    assert all(comparison is not None and comparison.is_equivalent for comparison in row.comparisons.values())
    assert row.verdict is False


def test_the_page_marks_each_metric_and_the_csv_has_every_number() -> None:
    table = table_of(near(), records("wide", (30.0, 80.0, 55.0, 35.0, 75.0), 47, 0.4, 35.0, 48))
    rows = list(equivalence_rows(table))
    body = {line[0]: line[1:] for line in equivalence_page(table, rows).blocks[0].body}
    assert body["near"][0] == "0.0 (all equal) ✓"
    assert body["near"][-1] == "yes"
    assert body["wide"][0].endswith("~")  # the mean of forget error is within the margin, its interval is not
    assert body["wide"][-1] == "no"
    # By hand: standard deviations of 5.196, 2.775 and 0.0548 over five seeds, times 2.776 / √5.
    assert body["margin"][:4] == ["± 6.5", "± 3.4", "≤ +0.07", "± 1"]
    lines = csv.DictReader(equivalence_numbers([(table, row) for row in rows]).splitlines())
    (line,) = [line for line in lines if line["row"] == "near"]
    assert float(line["forget_error_percent_difference"]) == 0
    assert float(line["relative_passes"]) == 0.25
    assert line["equivalent"] == "True"


def test_what_cannot_be_compared_is_shown_without_a_verdict() -> None:
    table = table_of(near(seeds=2), seeds=2)
    rows = list(equivalence_rows(table))
    assert [row.verdict for row in rows] == [None, None]
    assert [line[-1] for line in equivalence_page(table, rows).blocks[0].body] == ["–", "–", ""]
    without_auc = [{k: v for k, v in row.items() if k != "membership_auc_percent"} for row in near()]
    row = rows_of(table_of(without_auc))["near"]
    assert row.verdict is None
    assert [name for name, comparison in row.comparisons.items() if comparison is None] == ["membership_auc_percent"]


def test_without_retrained_models_there_is_no_row() -> None:
    (table,) = tables(frame(*records("scrub", RETRAIN, 47, 0.4, 35.0, 48)), equivalence_columns(), ["scrub"])
    assert list(equivalence_rows(table)) == []
