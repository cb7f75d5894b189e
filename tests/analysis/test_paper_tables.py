"""The paper's numbers beside made-up ones: transcription, verdicts by hand, and what is never judged."""

from __future__ import annotations

import csv
import math
from collections import Counter

import pytest
from scipy.stats import t
from synthetic_records import frame, seeds

from analysis import fidelity
from analysis.artefacts import ARTEFACTS
from analysis.columns import column
from analysis.fidelity import Judgement, judge, judgements
from analysis.paper_tables import FIELDS, judged_numbers, paper_page
from analysis.published import METHODS, Published, published
from analysis.tables import Table, tables

TABLES = ("1", "2", "3", "4", "5", "sec5.6")
GROUP = {"dataset": "cifar10", "architecture": "allcnn", "filters": 1.0, "forget": "100of5"}


def entry(value: float = 20.0, column: str = "test_error_percent", **changes: object) -> Published:
    known = next(e for e in published("2") if e.method == "scrub" and e.dataset == "cifar10")
    return Published(**{**vars(known), "value": value, "column": column, "rounding": 0.005, "runs": 1, **changes})


def table_of(*values: float, name: str = "test_error_percent", **columns: object) -> Table:
    records = frame(*seeds("scrub_notebook", name, *values, **{**GROUP, "method": "scrub", **columns}))
    return tables(records, [column(name)], ["scrub_notebook"])[0]


def judged(published_value: float, *values: float, name: str = "test_error_percent", **changes: object) -> Judgement:
    table = table_of(*values, name=name)
    found = judge(entry(published_value, name, **changes), table.rows[0], column(name))
    assert found is not None
    return found


def test_every_number_of_the_paper_is_there() -> None:
    assert {name: len(published(name)) for name in TABLES} == {"1": 10, "2": 60, "3": 12, "4": 40, "5": 8, "sec5.6": 4}
    retrain = [e for e in published("2") if e.method == "retrain" and e.dataset == "cifar10"]
    assert [(e.column, e.value, e.text) for e in retrain] == [
        ("test_error_percent", 16.71, "16.71"),
        ("retain_error_percent", 0.0, "0.00"),
        ("forget_error_percent", 26.67, "26.67"),
    ]
    assert {e.method for name in TABLES for e in published(name)} == set(METHODS.values())
    assert {e.forgets for e in published("2")} == {("100of5",)}
    assert [e.lam for e in published("5")] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_runs_are_three_where_the_grid_of_the_entries_says_so() -> None:
    assert {e.runs for e in published("2") if e.method != "adaprob"} == {3}
    assert {e.runs for name in TABLES for e in published(name) if e.method == "adaprob"} == {1}
    assert {e.runs for name in ("1", "3", "5", "sec5.6") for e in published(name)} == {1}


@pytest.mark.parametrize("runs", [1, 3])
def test_the_verdict_follows_the_prediction_interval(runs: int) -> None:
    values = (19.0, 20.0, 21.0, 20.5, 19.5)
    half = t.ppf(0.975, 4) * math.sqrt(2.5 / 4) * math.sqrt(1 / 5 + 1 / runs)
    found = judged(20.0 + half - 0.01, *values, runs=runs)
    assert found.prediction.half_width == pytest.approx(half)
    assert found.verdict == (fidelity.UNDETERMINED if half > 2 else fidelity.REPRODUCED)
    assert judged(20.0 + half + 0.1, *values, runs=runs).verdict == fidelity.NOT_REPRODUCED
    assert judged(20.0 - half - 0.1, *values, runs=runs).verdict == fidelity.NOT_REPRODUCED


def test_margins_are_two_points_three_points_and_a_quarter() -> None:
    narrow, wide = (10.0, 10.5, 11.0), (10.0, 10.9, 11.8)  # predictions within 2.5 and 4.5 points
    assert judged(10.5, *narrow).verdict == fidelity.UNDETERMINED
    assert judged(10.5, *narrow, name="membership_accuracy_percent").verdict == fidelity.REPRODUCED
    assert judged(10.5, *wide, name="membership_accuracy_percent").verdict == fidelity.UNDETERMINED
    nats = "kl_forget_same_seed_nats"
    assert judged(10.5, *narrow, name=nats).verdict == fidelity.REPRODUCED  # within 2.6
    assert judged(9.9, *narrow, name=nats).verdict == fidelity.UNDETERMINED  # within 2.475


def test_the_papers_rounding_is_no_difference_and_a_single_seed_no_evidence() -> None:
    assert judged(0.0, 0.004, 0.004).verdict == fidelity.REPRODUCED
    assert judged(0.0, 0.006, 0.006).verdict == fidelity.NOT_REPRODUCED
    assert judged(20.0, 20.0).verdict == fidelity.UNDETERMINED


def test_stand_ins_and_contradictions_have_no_verdict() -> None:
    values = (19.0, 20.0, 21.0)
    other = judged(20.0, *values, paper_dataset="Lacuna-10", dataset="faces10", contradiction="x")
    assert (other.verdict, other.why) == (fidelity.OTHER_DATA, "faces10 stands in for Lacuna-10")
    assert judged(20.0, *values, contradiction="why").verdict == fidelity.CONTRADICTS
    found = Counter(bool(e.contradiction) for e in published("4"))
    assert found == {True: 18, False: 22}
    assert [e.value for e in published("5") if e.contradiction] == [23.0, 30.0]
    assert [e.value for e in published("sec5.6") if e.contradiction] == [5.19]


def test_lambda_selects_its_own_number_and_both_scores_are_set_beside_it() -> None:
    where = {"dataset": "cifar5", "architecture": "resnet18", "filters": 0.4, "forget": "25of0", "method": "adaprob"}
    rows = [
        record | {"target_forget_error_percent": 80.0}
        for lam in (1.0, 2.0)
        for record in seeds("adaprob", "forget_error_percent", 70.0 + lam, 74.0 + lam, **where, **{"method.lam": lam})
    ]
    names = ("forget_error_percent", "target_forget_error_percent")
    (table,) = tables(frame(*rows), [column(name) for name in names], ["adaprob"])
    found = {(j.published.lam, j.column): j for j in judgements(published("5"), table)}
    assert set(found) == {(lam, name) for lam in (1.0, 2.0) for name in names}
    assert [found[lam, names[0]].published.value for lam in (1.0, 2.0)] == [80.0, 56.0]
    assert found[1.0, names[1]].verdict == fidelity.REPRODUCED


def test_the_page_has_three_columns_for_a_number_and_says_what_is_not_measured() -> None:
    table = table_of(17.0, 17.2, 16.8)
    page = paper_page(table, published("2"), 300)
    (piece,) = page.pieces
    assert piece.head[1:] == [column("test_error_percent").header() + ", paper", "ours", "verdict"]
    assert piece.lines == [["scrub_notebook", "17.01", "17.00 ± 0.50", fidelity.REPRODUCED]]
    text = "\n".join(page.caption)
    assert "not measured: retrain test_error_percent 16.71" in text
    assert "scrub retain_error_percent 0.00" in text


def test_a_narrow_page_is_cut_between_metrics() -> None:
    names = ("test_error_percent", "retain_error_percent", "forget_error_percent")
    rows = [
        r | dict.fromkeys(names[1:], 1.0) for r in seeds("scrub_notebook", names[0], 1.0, 2.0, **GROUP, method="scrub")
    ]
    (table,) = tables(frame(*rows), [column(name) for name in names], ["scrub_notebook"])
    pieces = paper_page(table, published("2"), 80).pieces
    assert [len(piece.head) for piece in pieces] == [4, 4, 4]
    assert all(sum(piece.widths) + 2 * (len(piece.widths) - 1) <= 80 for piece in pieces)


def test_numbers_go_to_csv_with_their_verdict() -> None:
    table = table_of(17.0, 17.2, 16.8)
    found = [(table, judgement) for judgement in judgements(published("2"), table)]
    (line,) = csv.DictReader(judged_numbers(found).splitlines())
    assert tuple(line) == FIELDS
    assert (line["paper"], line["verdict"], line["paper_runs"], line["n"]) == ("17.01", "reproduced", "3", "3")
    assert (line["dataset"], line["forget"], line["label"]) == ("cifar10", "100of5", "scrub_notebook")


@pytest.mark.parametrize("name", [name for name, artefact in ARTEFACTS.items() if artefact.published in TABLES])
def test_an_artefact_has_a_column_for_every_number(name: str) -> None:
    artefact = ARTEFACTS[name]
    assert {e.column for e in published(artefact.published)} <= set(artefact.columns)
