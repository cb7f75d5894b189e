"""The table of measured runs in docs/unlearn.md is that of the records in results/unlearn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "results" / "unlearn").glob("*.json"))
PAGE = (ROOT / "docs" / "unlearn.md").read_text(encoding="utf-8")


def line(predicate: dict[str, Any], model: str) -> str:
    """A row of the table: what was done, three errors with the intervals of the first, the attack, seconds in all."""
    values = {item["metric"]: item for item in predicate["evidence"] if item["model"] == model}
    is_class = predicate["request"]["kind"] == "class"
    what = "class 5" if is_class else f"{predicate['request']['count']} samples"
    name = "original" if model == "original" else predicate["method"]["name"]
    test = values["test_other_classes_error_percent" if is_class else "test_error_percent"]
    forgotten = values["test_forgotten_class_error_percent" if is_class else "forget_error_percent"]
    entries = [f"{item['value']:.1f} ({item['interval95'][0]:.1f}–{item['interval95'][1]:.1f})" for item in
               (forgotten, test, values["membership_auc_percent"])]  # fmt: skip
    seconds = "–" if model == "original" else f"{sum(predicate['time']['seconds'].values()):.0f}"
    return f"| {what}: {name} | {' | '.join(entries)} | {seconds} |"


@pytest.mark.parametrize("path", RECORDS, ids=[path.stem for path in RECORDS])
@pytest.mark.parametrize("model", ["original", "unlearned"])
def test_the_table_has_the_numbers_of_the_record(path: Path, model: str) -> None:
    predicate = json.loads(path.read_text(encoding="utf-8"))["predicate"]
    assert line(predicate, model) in PAGE


def test_there_are_records() -> None:
    assert len(RECORDS) >= 2
