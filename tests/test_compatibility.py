"""What docs/compatibility.md promises is there; numbers, keys of cells and the store have tests of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import adaprob_ray
from adaprob_ray.catalogue import METRICS
from adaprob_ray.cli import COMMANDS, _exit_codes
from adaprob_ray.sweep.schema import SweepFile, deprecated_key, sweep_file_model

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")

# Never shorten these lists: what is named here is in files, stores and scripts of users.
PUBLIC_NAMES = {"Store", "load_records", "load_search", "load_study", "load_trials", "project"}
METRIC_COLUMNS = {
    "backward_examples",
    "forget_error_percent",
    "forward_examples",
    "kl_forget_centroid_nats",
    "kl_forget_centroid_reverse_nats",
    "kl_forget_nats",
    "kl_forget_reverse_nats",
    "kl_forget_same_seed_nats",
    "kl_test_centroid_nats",
    "kl_test_centroid_reverse_nats",
    "kl_test_nats",
    "kl_test_reverse_nats",
    "kl_test_same_seed_nats",
    "membership_accuracy_percent",
    "membership_auc_high_percent",
    "membership_auc_low_percent",
    "membership_auc_percent",
    "membership_tpr_at_1_percent",
    "parameter_distance",
    "relearn_steps",
    "retain_error_percent",
    "start_distance",
    "test_error_percent",
    "unlearn_seconds",
}
IDENTITY_COLUMNS = {
    "key",
    "lineage",
    "label",
    "method",
    "dataset",
    "architecture",
    "forget",
    "seed",
    "repeat",
    "commit",
}


def listed(after: str) -> list[str]:
    """The names in backticks after a phrase of the page, to the end of the sentence."""
    return re.findall(r"`(\w+)`", re.split(r"\.\s", PAGE.partition(after)[2], maxsplit=1)[0])


def test_the_promised_keys_of_sweep_files_are_known() -> None:
    names = listed("Top-level keys of a sweep file:")
    assert set(SweepFile.model_fields) <= set(names)
    sections = {name for metric in METRICS.values() for name in metric.needs}
    assert set(names) <= set(sweep_file_model(sections).model_fields)


def test_the_promised_commands_exist() -> None:
    names = listed("Commands:")
    assert len(names) >= 8
    assert set(names) <= set(COMMANDS)


def test_the_promised_exit_codes_are_those_of_the_command_line() -> None:
    table = PAGE.partition("| exit code |")[2].partition("\n\n")[0]
    codes = {value for name, value in vars(_exit_codes).items() if name.isupper()}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes


def test_every_public_name_can_be_imported() -> None:
    assert set(adaprob_ray.__all__) >= PUBLIC_NAMES
    for name in PUBLIC_NAMES:
        assert getattr(adaprob_ray, name)


def test_every_column_of_a_metric_is_still_filled() -> None:
    assert {column for metric in METRICS.values() for column in metric.columns} >= METRIC_COLUMNS


def test_published_records_have_the_promised_columns() -> None:
    lines = (ROOT / "results" / "quickstart.jsonl").read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, lines):
        assert set(record) >= IDENTITY_COLUMNS
        assert set(record) & METRIC_COLUMNS


@pytest.mark.parametrize(("old", "new"), re.findall(r"`(\w+):` in sweep files, for `(\w+):`", PAGE))
def test_what_is_deprecated_still_works_and_says_what_to_write(old: str, new: str) -> None:
    document = {old: "value"}
    assert deprecated_key(document, old, new) == [f"{old}: is deprecated, write {new}"]
    assert document == {new: "value"}
    assert new in SweepFile.model_fields
