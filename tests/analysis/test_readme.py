"""The README's numbers that no mark checks, against the pages and Records that they come from."""

from __future__ import annotations

import re
from pathlib import Path

from adaprob_ray.catalogue import METHODS
from adaprob_ray.reporting.figures.cost import relative_cost
from adaprob_ray.reporting.records.load import all_records
from adaprob_ray.reporting.tables.model import tables
from analysis.paper.equivalence import equivalence_columns, equivalence_rows

ROOT = Path(__file__).parents[2]
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
MAX_LINES = 140
NUMERALS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def test_the_counts_of_the_papers_numbers_are_those_of_the_fidelity_page() -> None:
    whole_page = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    page = whole_page.partition("**")[2].partition("**")[0]
    counts = re.search(
        r"Of the (\d+) numbers in the paper's tables, (\d+) are measured \((\d+) of them on a stand-in", page
    )
    assert counts is not None, page
    total, measured, other = map(int, counts.groups())
    comparable = NUMERALS[measured - other]
    assert f"{measured} of the {total} numbers in the paper's tables. {comparable.title()} are comparable" in README
    assert ("none is reproduced" in page) == (f"**none of the {comparable} is reproduced**" in README)
    assert f"{NUMERALS[other]} were measured on other data, without a verdict" in README
    only_reduced = int(re.findall(r"For (\d+) there is a number at reduced scale", whole_page)[0])
    missing = total - measured - only_reduced
    assert f"{only_reduced} were measured only at reduced scale, and {missing} not at all" in README


def test_the_baselines_are_counted() -> None:
    not_baselines = {"adaprob", "random_label", "bias_shift"}  # the last two are controls
    unlearning = [name for name, method in METHODS.items() if method.stage == "unlearn" and name not in not_baselines]
    for page in (README, " ".join((ROOT / "docs" / "index.md").read_text(encoding="utf-8").split())):
        assert f"{NUMERALS[len(unlearning)]} unlearning baselines" in page


def test_what_is_said_of_the_table_is_what_the_records_say() -> None:
    records = all_records(str(ROOT / "results" / "reduced_tuned.jsonl"))
    (table,) = tables(records, equivalence_columns(), dict.fromkeys(map(str, records["label"])))
    rows = {row.name: row for row in table.rows}
    passes = {name: relative_cost(rows[name], rows["retrain"]) for name in ("adaprob_tuned", "scrub_tuned")}
    adaprob, scrub = passes["adaprob_tuned"], passes["scrub_tuned"]
    assert adaprob is not None
    assert scrub is not None
    assert round(adaprob / scrub, 1) == 0.4
    assert "AdaProb stays within a point of Retrain's test error with two fifths of SCRUB's passes" in README
    fast = relative_cost(rows["adaprob_tuned_fast"], rows["retrain"])
    assert fast is not None
    assert round(fast, 2) == 0.1
    test_error, auc, kl = (
        {name: row.values[column].mean for name, row in rows.items() if column in row.values}
        for column in ("test_error_percent", "membership_auc_percent", "kl_forget_nats")
    )
    assert abs(test_error["adaprob_tuned"] - test_error["retrain"]) < 1
    assert "less sure of forgotten dogs than of unseen ones (AUC below 50 %). SCRUB undershoots" in README
    assert auc["adaprob_tuned"] < 50 < auc["scrub_tuned"]
    assert "In KL both are farther from Retrain than the original" in README
    assert min(kl["adaprob_tuned"], kl["scrub_tuned"]) > kl["original"]
    assert "No method is equivalent to Retrain" in README
    assert not any(row.verdict for row in equivalence_rows(table))


def test_it_is_a_short_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES
