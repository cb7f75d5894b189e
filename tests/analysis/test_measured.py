"""Benchmarks' tables and marked sentences: made by hand from made-up numbers, and each kind of stale page noticed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from synthetic_records import frame, seeds

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.tables.model import Table, tables
from analysis.verify.marks import Mark, parse_marks
from analysis.verify.sentences import coverage_table, projection_table, sentence_faults


def measurement(**columns: float) -> dict[str, object]:
    known = {"rows": 500, "classes": 5, "tolerance": 1e-6, "newton_passes": 5, "L-BFGS_passes": 9, "L-BFGS": 1.04}
    return {**known, "scaling": 13.4, "dual ascent": 9.96, "POT": 8.04, "limit": 19.0, **columns}


def test_the_projections_table_by_hand() -> None:
    rows = [
        measurement(),
        measurement(newton_passes=6, scaling=20.6, POT=float("nan")),
        measurement(tolerance=1e-9),
        measurement(rows=50_000, classes=10, limit=1.26),
        measurement(rows=50_000, classes=1000, scaling=float("nan")),
    ]
    lines = projection_table(pd.DataFrame(rows)).splitlines()[2:]
    assert lines == [
        "| 2 of 500 x 5 | 1e-6 | 5-6 | 9 | 1.0 (1.0-1.0) | 17 (13-21) | 10 (10-10) | 8.0 (8.0-8.0) | – |",
        "|  | 1e-9 | 5 | 9 | 1.0 (1.0-1.0) | 13 (13-13) | 10 (10-10) | 8.0 (8.0-8.0) | – |",
        "| 1 of 50,000 x 10 | 1e-6 | 5 | 9 | 1.0 (1.0-1.0) | 13 (13-13) | 10 (10-10) | 8.0 (8.0-8.0) | 1.3 (1.3-1.3) |",
        "| 1 of 50,000 x 1,000 | 1e-6 | 5 | 9 | 1.0 (1.0-1.0) | – | 10 (10-10) | 8.0 (8.0-8.0) | – |",
    ]


def test_the_coverage_table_by_hand() -> None:
    row = {"wrong_percent": 0.2, "n": 3, "t": 44.61, "bootstrap": 44.5, "rule": 97.8}
    assert coverage_table(pd.DataFrame([row])).splitlines()[2:] == ["| 0.2 % | 3 | 44.6 % | 44.5 % | 97.8 % |"]


def made(file: Path, names: Sequence[str]) -> list[Table]:
    records = frame(
        *seeds("scrub", "retain_error_percent", 1.26, 1.44, 49.5),
        *seeds("other", "retain_error_percent", 2.0, 4.0, 6.0),
    )
    return tables(records, list(map(metric_format, dict.fromkeys(names))), ["scrub", "other"])


def times(file: Path) -> pd.DataFrame:
    """The first network starts a minute before midnight, the last Record is written 21.5 minutes later."""
    return pd.DataFrame(
        {
            "started_at": ["2026-11-24T23:59:00+00:00", "2026-11-25T00:10:00+00:00"],
            "run_committed_at": ["2026-11-25T00:20:30.000+00:00", "2026-11-25T00:12:00.500+00:00"],
        }
    )


def faults(claims: str, paragraph: str) -> list[str]:
    mark = mark_in(f"Before.\n\n<!-- says results/some.jsonl: {claims} -->\n{paragraph}\n\nAfter 7 lines.\n")
    return sentence_faults(mark, times, made, Path())


def mark_in(text: str) -> Mark:
    (mark,) = parse_marks(text, "page.md")
    return mark


def test_a_sentence_that_its_records_bear_out() -> None:
    claims = (
        "scrub retain_error_percent seed 1 = 1.3;\nscrub retain_error_percent seed 2 = 1; "
        "other retain_error_percent = 4.0 (0–9.0); run minutes = 21.5"
    )
    assert faults(claims, "It ends at 1.3 %, then at\n1 %, and the other at 4.0 (0–9.0) %, after 21.5 minutes.") == []


@pytest.mark.parametrize(
    ("claims", "paragraph", "expected"),
    [
        (
            "scrub retain_error_percent seed 1 = 1.4",
            "At 1.4 %.",
            ["scrub retain_error_percent seed 1 is 1.3 in results/some.jsonl, the page's mark says 1.4"],
        ),
        (
            "scrub retain_error_percent seed 1 = 1.3",
            "At 11.3 %, 1.31 % or 1.3.2.",
            ["the paragraph below the mark of results/some.jsonl does not say 1.3 (scrub retain_error_percent seed 1)"],
        ),
        (
            "scrub retain_error_percent seed 1 = 1.3",
            "At −1.3, -1.3, 1.3,000 and 7,1.3 %.",
            ["the paragraph below the mark of results/some.jsonl does not say 1.3 (scrub retain_error_percent seed 1)"],
        ),
        (
            "scrub retain_error_percent seed 2 = 1",
            "With seed 1, and seeds 2, 1 and 1, at 5 %.",
            ["the paragraph below the mark of results/some.jsonl does not say 1 (scrub retain_error_percent seed 2)"],
        ),
        (
            "scrub retain_error_percent seed 9 = 1.3",
            "At 1.3 %.",
            ["scrub retain_error_percent seed 9 is nan in results/some.jsonl, the page's mark says 1.3"],
        ),
        ("run minutes = 21", "In 21 minutes.", ["run minutes is 22 in results/some.jsonl, the page's mark says 21"]),
    ],
)
def test_a_stale_sentence_is_noticed(claims: str, paragraph: str, expected: list[str]) -> None:
    assert faults(claims, paragraph) == expected


def test_a_mark_that_is_none_is_said() -> None:
    with pytest.raises(InputError, match=r"mark: must be LABEL COLUMN = WORDS .*, got 'scrub is 7'"):
        faults("scrub is 7", "At 7 %.")
    with pytest.raises(InputError, match="unknown label 'scub'; did you mean 'scrub'"):
        faults("scub retain_error_percent = 7", "At 7 %.")


def test_minutes_are_of_one_whole_run() -> None:
    mark = mark_in("<!-- says results/some.jsonl, dataset digits: run minutes = 21.5 -->\nIn 21.5 minutes.\n")
    with pytest.raises(InputError, match="run minutes: must be of a whole file, got conditions"):
        sentence_faults(mark, times, made, Path())
    mark = mark_in("<!-- says results/some.jsonl: run minutes = 21.5 -->\nIn 21.5 minutes.\n")
    assert sentence_faults(mark, times, made, Path()) == []
    with pytest.raises(InputError, match="a training was interrupted"):
        sentence_faults(mark, lambda file: times(file).assign(run_continued_after_epochs=[0.0, 3.0]), made, Path())
