"""The texts that tell the rows of one label apart."""

from __future__ import annotations

import pandas as pd

from adaprob_ray.reporting.records.grouping import setting_texts


def test_a_setting_that_records_leave_out_at_its_default_needs_no_words() -> None:
    records = pd.DataFrame([{"method.lr": 0.1, "method.schedule": "cosine"}, {"method.lr": 0.1}])
    assert setting_texts(records, ["method.lr", "method.schedule"]) == ["schedule=cosine", ""]


def test_a_missing_setting_of_a_recipe_or_a_stage_is_named() -> None:
    records = pd.DataFrame([{"relearn.epochs": 1}, {"relearn.epochs": None}])
    assert setting_texts(records, ["relearn.epochs"]) == ["relearn.epochs=1", "relearn.epochs=none"]
