"""Frozen settings against the defaults: a rule's value of every Record, and differences seed by seed."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.search.tables.frozen import frozen_page, frozen_rows

POINT = {"dataset": "digits", "test_pool": "clean", "architecture": "allcnn", "filters": 0.1, "forget": "25of3"}
ORIGINAL = {
    "original_validation_forget_class_error_percent": 8.0,
    "original_retain_error_percent": 1.0,
    "original_validation_error_percent": 6.0,
}


def record(label: str, seed: int, **columns: float) -> dict[str, Any]:
    errors = {"forget_error_percent": 10.0, "retain_error_percent": 1.0, "test_error_percent": 5.0}
    others = {"validation_error_percent": 6.0, "validation_auc_percent": 50.0}
    return {**POINT, "label": label, "seed": seed, **errors, **others, **ORIGINAL, **columns}


def records(*, auc: float = 54.0) -> pd.DataFrame:
    """Retrain has forget error 10; the default is 9 and 12 points off in it, the frozen settings 3 and 3."""
    rows = []
    for seed, gap in ((1, 9.0), (2, 12.0)):
        rows += [
            record("retrain", seed),
            record("scrub_default", seed, forget_error_percent=10.0 - gap, validation_auc_percent=60.0),
            record("scrub", seed, forget_error_percent=13.0, validation_auc_percent=auc),
        ]
    return pd.DataFrame(rows)


def row_of(rule: str, frame: pd.DataFrame) -> dict[str, Any]:
    (row,) = (row for row in frozen_rows(frame) if row["rule"] == rule)
    return row


def test_the_oracle_is_the_mean_gap_to_retrain() -> None:
    row = row_of("oracle", records())
    assert row["gap.default"] == pytest.approx((9 / 3 + 12 / 3) / 2)
    assert row["gap.frozen"] == pytest.approx(3 / 3)
    assert row["difference"] == pytest.approx(((1 - 3) + (1 - 4)) / 2)
    # Two differences, −2 and −3: t(0.975, 1) = 12.706 times 0.7071 / √2.
    assert row["difference_half_width"] == pytest.approx(12.706 * 0.5, rel=1e-3)


def test_the_validation_rule_reads_the_auc_and_the_forget_error() -> None:
    row = row_of("validation", records())
    assert row["gap.frozen"] == pytest.approx((abs(54 - 50) + abs(13 - 8)) / 2)
    assert row["gap.default"] == pytest.approx(((10 + 7) / 2 + (10 + 10) / 2) / 2)
    assert row["retain_error_percent_above_original.frozen"] == 0


def test_errors_above_the_original_are_means_over_the_seeds() -> None:
    frame = records()
    frame.loc[(frame["label"] == "scrub") & (frame["seed"] == 2), "retain_error_percent"] = 4.5
    row = row_of("validation", frame)
    assert row["retain_error_percent_above_original.frozen"] == pytest.approx(3.5 / 2)
    assert row["validation_error_percent_above_original.default"] == 0
    assert row["gap.frozen"] == pytest.approx((abs(54 - 50) + abs(13 - 8)) / 2)


def test_only_labels_with_a_default_are_compared() -> None:
    frame = records()
    assert {row["label"] for row in frozen_rows(frame)} == {"scrub"}
    assert frozen_rows(frame[frame["label"] != "scrub_default"]) == []


def test_a_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="must have validation_auc_percent in the Records, got none; add errors"):
        frozen_rows(records().drop(columns="validation_auc_percent"))


def test_the_page_has_a_line_for_each_rule_with_signs() -> None:
    page = frozen_page("tuned", frozen_rows(records()))
    lines = page.blocks[0].body
    assert [line[0] for line in lines] == ["oracle", "validation"]
    assert lines[0][2:] == ["3.50 ± 6.35", "1.00 (all equal)", "−2.50 ± 6.35", "–", "–"]
    assert lines[1][5:] == ["+0.00, +0.00", "+0.00, +0.00"]
