"""The README's numbers that no mark checks, against the pages and Records that they come from."""

from __future__ import annotations

import re
from pathlib import Path

from adaprob_ray.catalogue import METHODS
from adaprob_ray.reporting.figures.cost import ERRORS, PASSES, floor_verdicts
from adaprob_ray.reporting.records.load import all_records
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.tables.model import tables

ROOT = Path(__file__).parents[2]
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
MAX_LINES = 140
NUMERALS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def test_the_counts_of_the_papers_numbers_are_those_of_the_fidelity_page() -> None:
    page = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8").partition("**")[2].partition("**")[0]
    counts = re.search(
        r"Of the (\d+) numbers in the paper's tables, (\d+) are measured \((\d+) of them on a stand-in", page
    )
    assert counts is not None, page
    total, measured, other = map(int, counts.groups())
    comparable = NUMERALS[measured - other]
    assert f"{measured} of the {total} numbers in the paper's tables. {comparable.title()} are comparable" in README
    assert ("none is reproduced" in page) == (f"**none of the {comparable} is reproduced**" in README)
    assert f"{NUMERALS[other]} were measured on other data, without a verdict" in README
    assert f"{total - measured} were not measured" in README


def test_the_baselines_are_counted() -> None:
    not_baselines = {"adaprob", "random_label", "bias_shift"}  # the last two are controls
    unlearning = [name for name, method in METHODS.items() if method.stage == "unlearn" and name not in not_baselines]
    for page in (README, " ".join((ROOT / "docs" / "index.md").read_text(encoding="utf-8").split())):
        assert f"{NUMERALS[len(unlearning)]} unlearning baselines" in page


def test_the_costs_are_those_of_the_records() -> None:
    records = all_records(str(ROOT / "results" / "quickstart.jsonl"))
    columns = [*ERRORS, metric_format("kl_forget_nats"), *map(metric_format, PASSES)]
    (table,) = (
        t for t in tables(records, columns, dict.fromkeys(map(str, records["label"]))) if t.group["forget"] == "class5"
    )
    verdicts = {verdict.name: verdict for verdict in floor_verdicts(table)}
    assert [name for name, verdict in verdicts.items() if not verdict.outside] == ["scrub"]
    assert set(verdicts["scrub"].within) == {"test error", "retain error", "forget error", "KL forget"}
    assert "SCRUB is within the noise floor in test, retain and forget error and in KL forget" in README
    assert f"at {verdicts['scrub'].cost:.2g} times Retrain's passes" in README
    assert f"come near it at {verdicts['adaprob_eq1'].cost:.2g} times" in README
    assert verdicts["finetune"].distance > verdicts["original"].distance


def test_it_is_a_short_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES
