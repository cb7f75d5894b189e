"""The abstract's claims from made-up Records, by hand."""

from __future__ import annotations

import csv
import math

import pytest
from scipy.stats import t
from synthetic_records import frame, seeds

from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.tables.model import Table, tables
from analysis.paper.claims import FORGET, NOT_DEFINED, SECONDS, Claim, claim_numbers, claims
from analysis.paper.verdicts import NOT_REPRODUCED, REPRODUCED, UNDETERMINED


def table_of(ratios: tuple[float, ...], forget: float = 30.0, **columns: object) -> Table:
    """SCRUB takes 10, 20, … s and forgets 40 %; Retrain forgets 25 %."""
    times = [10.0 * (at + 1) for at in range(len(ratios))]
    rows = [
        *seeds("retrain", SECONDS, *[100.0] * len(ratios), **{FORGET: 25.0, "method": "retrain", **columns}),
        *seeds("scrub", SECONDS, *times, **{FORGET: 40.0, "method": "scrub", **columns}),
        *seeds(
            "eq1",
            SECONDS,
            *[a * b for a, b in zip(times, ratios, strict=True)],
            **{FORGET: forget, "method": "adaprob", **columns},
        ),
    ]
    return tables(frame(*rows), [metric_format(FORGET), metric_format(SECONDS)], ["scrub", "eq1"])[0]


def time_claim(ratios: tuple[float, ...]) -> Claim:
    return next(claim for claim in claims(table_of(ratios)) if claim.unit == "%")


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((0.3, 0.31, 0.3, 0.32, 0.3), REPRODUCED),
        ((0.8, 0.81, 0.8, 0.82, 0.8), NOT_REPRODUCED),
        ((0.4, 0.6, 0.4, 0.5, 0.6), UNDETERMINED),
        ((0.3, 0.3, 0.3), UNDETERMINED),
        ((0.68, 0.8, 0.95), NOT_REPRODUCED),  # 80 %, from 53 to 122: the near end of the interval decides
    ],
)
def test_time_is_judged_by_the_interval_of_the_ratio(ratios: tuple[float, ...], verdict: str) -> None:
    claim = time_claim(ratios)
    assert claim.verdict == verdict
    logs = [math.log(ratio) for ratio in ratios]
    mean = sum(logs) / len(logs)
    assert claim.mean == pytest.approx(100 * math.exp(mean))
    if claim.low is not None:
        deviation = math.sqrt(sum((own - mean) ** 2 for own in logs) / (len(logs) - 1))
        half = t.ppf(0.975, len(logs) - 1) * deviation / math.sqrt(len(logs))
        assert (claim.low, claim.high) == pytest.approx((100 * math.exp(mean - half), 100 * math.exp(mean + half)))


def test_forgetting_is_shown_in_points_and_not_judged() -> None:
    (claim,) = [claim for claim in claims(table_of((0.5, 0.5))) if claim.unit == "pp"]
    assert claim.mean == pytest.approx(15 - 5)  # |40 − 25| − |30 − 25|
    assert claim.verdict == NOT_DEFINED
    (claim,) = [claim for claim in claims(table_of((0.5, 0.5), forget=80.0)) if claim.unit == "pp"]
    assert claim.mean == pytest.approx(15 - 55)


def test_numbers_as_csv() -> None:
    table = table_of((0.3, 0.4))
    lines = list(csv.DictReader(claim_numbers([(table, claim) for claim in claims(table)]).splitlines()))
    assert [line["verdict"] for line in lines] == [NOT_DEFINED, UNDETERMINED]
    assert {line["reading"] for line in lines} == {"eq1"}
