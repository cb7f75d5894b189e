"""The paper's numbers against synthetic ones: transcription, verdicts computed by hand, and what is never judged."""

from __future__ import annotations

import csv
import math

import pytest
from scipy.stats import t
from synthetic_records import frame, seeds

from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.tables.model import Table, tables
from analysis.paper import verdicts
from analysis.paper.tables import FIELDS, judged_numbers, paper_page
from analysis.paper.values import METHODS, PaperValue, paper_values, with_alternatives
from analysis.paper.verdicts import Judgement, judge, judgements
from analysis.registry import ARTEFACTS

TABLES = ("1", "2", "3", "4", "5", "sec5.6")
GROUP = {"dataset": "cifar10", "architecture": "allcnn", "filters": 1.0, "forget": "100of5"}


def entry(value: float = 20.0, column: str = "test_error_percent", **changes: object) -> PaperValue:
    known = next(e for e in paper_values("2") if e.method == "scrub" and e.paper_dataset == "CIFAR-10")
    return PaperValue(**{**vars(known), "value": value, "column": column, "rounding": 0.005, "runs": 1, **changes})


def table_of(*values: float, name: str = "test_error_percent", **columns: object) -> Table:
    records = frame(*seeds("scrub_notebook", name, *values, **{**GROUP, "method": "scrub", **columns}))
    return tables(records, [metric_format(name)], ["scrub_notebook"])[0]


def judged(
    published_value: float,
    *values: float,
    name: str = "test_error_percent",
    dataset: str = "cifar10",
    filters: float = 1.0,
    **changes: object,
) -> Judgement:
    table = table_of(*values, name=name)
    group = {"dataset": dataset, "filters": filters}
    actual = judge(entry(published_value, name, **changes), table.rows[0], metric_format(name), group)
    assert actual is not None
    return actual


def test_every_number_of_the_paper_is_there() -> None:
    assert {name: len(paper_values(name)) for name in TABLES} == {
        "1": 10,
        "2": 60,
        "3": 12,
        "4": 40,
        "5": 8,
        "sec5.6": 4,
    }
    retrain = [e for e in paper_values("2") if e.method == "retrain" and e.paper_dataset == "CIFAR-10"]
    assert [(e.column, e.value, e.text) for e in retrain] == [
        ("test_error_percent", 16.71, "16.71"),
        ("retain_error_percent", 0.0, "0.00"),
        ("forget_error_percent", 26.67, "26.67"),
    ]
    assert {e.method for name in TABLES for e in paper_values(name)} == set(METHODS.values())
    assert {e.forgets for e in paper_values("2")} == {("100of5",)}
    assert [e.lam for e in paper_values("5")] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_runs_are_three_where_the_grid_of_the_entries_says_so() -> None:
    assert {e.runs for e in paper_values("2") if e.method != "adaprob"} == {3}
    assert {e.runs for name in TABLES for e in paper_values(name) if e.method == "adaprob"} == {1}
    assert {e.runs for name in ("1", "3", "5", "sec5.6") for e in paper_values(name)} == {1}


@pytest.mark.parametrize("runs", [1, 3])
def test_the_verdict_follows_the_prediction_interval(runs: int) -> None:
    values = (19.0, 20.0, 21.0, 20.5, 19.5)
    half = t.ppf(0.975, 4) * math.sqrt(2.5 / 4) * math.sqrt(1 / 5 + 1 / runs)
    actual = judged(20.0 + half - 0.01, *values, runs=runs)
    assert actual.prediction.half_width == pytest.approx(half)
    assert actual.verdict == (verdicts.UNDETERMINED if half > 2 else verdicts.REPRODUCED)
    assert judged(20.0 + half + 0.1, *values, runs=runs).verdict == verdicts.NOT_REPRODUCED
    assert judged(20.0 - half - 0.1, *values, runs=runs).verdict == verdicts.NOT_REPRODUCED


def test_margins_are_two_points_three_points_and_a_quarter() -> None:
    narrow, wide = (10.0, 10.5, 11.0), (10.0, 10.9, 11.8)  # predictions within 2.5 and 4.5 points
    assert judged(10.5, *narrow).verdict == verdicts.UNDETERMINED
    assert judged(10.5, *narrow, name="membership_accuracy_percent").verdict == verdicts.REPRODUCED
    assert judged(10.5, *wide, name="membership_accuracy_percent").verdict == verdicts.UNDETERMINED
    nats = "kl_forget_same_seed_nats"
    assert judged(10.5, *narrow, name=nats).verdict == verdicts.REPRODUCED  # within 2.6
    assert judged(9.9, *narrow, name=nats).verdict == verdicts.UNDETERMINED  # within 2.475


def test_the_papers_rounding_is_no_difference_and_a_single_seed_no_evidence() -> None:
    name = "membership_accuracy_percent"
    assert judged(50.0, 50.004, 50.004, name=name).verdict == verdicts.REPRODUCED
    assert judged(50.0, 50.006, 50.006, name=name).verdict == verdicts.NOT_REPRODUCED
    assert judged(20.0, 20.0).verdict == verdicts.UNDETERMINED


@pytest.mark.parametrize(
    ("paper", "rows", "runs", "verdict"),
    [
        (0.33, 100, 3, verdicts.REPRODUCED),  # one row of 300 against none of 500
        (4.0, 100, 3, verdicts.NOT_REPRODUCED),  # twelve of 300 against none of 500
        (4.0, 5, 1, verdicts.UNDETERMINED),  # nothing of 5 against nothing of 25: the bound is 11.3 %
        (0.0, 475, 1, verdicts.REPRODUCED),
    ],
)
def test_equal_seeds_are_judged_by_counts_and_not_by_a_spread_of_zero(
    paper: float, rows: int, runs: int, verdict: str
) -> None:
    name = "forget_error_percent"
    table = table_of(*[0.0] * 5, name=name, forget_rows=rows)
    actual = judge(
        entry(paper, name, runs=runs), table.rows[0], metric_format(name), {"dataset": "cifar10", "filters": 1.0}
    )
    assert actual is not None
    assert actual.verdict == verdict, actual.why


def test_stand_ins_and_contradictions_have_no_verdict() -> None:
    values = (19.0, 20.0, 21.0)
    other = judged(20.0, *values, dataset="faces10", paper_dataset="Lacuna-10", contradiction="x")
    assert (other.verdict, other.why) == (verdicts.OTHER_DATA, "faces10 stands in for Lacuna-10")
    contradicting = judged(20.0, *values, contradiction="why")
    assert (contradicting.verdict, contradicting.why) == (verdicts.CONTRADICTS, "why; taken as printed: undetermined")
    assert judged(20.0, *values, dataset="lacuna10", paper_dataset="Lacuna-10").verdict == verdicts.UNDETERMINED


def test_reduced_scale_is_neither_reproduced_nor_not() -> None:
    values = (19.0, 20.0, 21.0, 20.5, 19.5)
    for published in (20.0, 60.0):
        reduced = judged(published, *values, dataset="cifar10-600", filters=0.25, contradiction="why")
        assert reduced.verdict == verdicts.REDUCED_SCALE
        assert reduced.why == "600 training samples per class, width 0.25 (the paper's: 1)"
        narrow = judged(published, *values, dataset="cifar10", filters=0.25)
        assert (narrow.verdict, narrow.why) == (verdicts.REDUCED_SCALE, "width 0.25 (the paper's: 1)")


@pytest.mark.parametrize(
    ("changes", "applies"),
    [
        ({}, True),
        ({"filters": 0.25}, True),
        ({"filters": 2.0}, False),
        ({"dataset": "cifar10-600", "filters": 0.25}, True),
        ({"dataset": "cifar100-600", "filters": 0.25}, False),
        ({"dataset": "cifar10-600", "architecture": "resnet18"}, False),
        ({"dataset": "cifar10-600", "forget": "class5"}, False),
    ],
)
def test_narrower_networks_and_fewer_samples_are_reduced_scale(changes: dict[str, object], applies: bool) -> None:
    number = next(number for number in paper_values("2") if number.paper_dataset == "CIFAR-10")
    group = {"dataset": "cifar10", "architecture": "allcnn", "filters": 1.0, "forget": "100of5"}
    assert verdicts.applies_to(number, {**group, **changes}) == applies


def test_contradictions_are_those_of_the_protocol() -> None:
    """Written down from protocol §9, 22 and 23, and §6.3."""
    of_table_4 = {(e.architecture, e.method, e.forgets) for e in paper_values("4") if e.contradiction}
    swapped = {"retrain", "original", "finetune", "neggrad_plus", "cf_k", "eu_k", "scrub", "scrub_rewind", "adaprob"}
    assert of_table_4 == {("allcnn", method, (task,)) for method in swapped for task in ("class5", "100of5")} | {
        ("resnet18", "adaprob", ("100of5",))
    }
    actual = {name: [e.value for e in paper_values(name) if e.contradiction] for name in TABLES if name != "4"}
    assert actual == {"1": [], "2": [25.35, 0.05], "3": [], "5": [23.0, 30.0], "sec5.6": [5.19]}


def test_a_number_is_about_one_width_of_one_network_on_the_papers_data_or_its_stand_in() -> None:
    number = next(e for e in paper_values("1") if e.paper_dataset == "CIFAR-5")
    group = {"dataset": "cifar5", "architecture": "resnet18", "filters": 0.4, "forget": "25of0"}
    assert verdicts.applies_to(number, group)
    for changed in ({"filters": 1.0}, {"dataset": "cifar10"}, {"forget": "class0"}, {"architecture": "allcnn"}):
        assert not verdicts.applies_to(number, {**group, **changed})
    face = next(e for e in paper_values("1") if e.paper_dataset == "Lacuna-5" and e.architecture == "resnet18")
    assert all(verdicts.applies_to(face, {**group, "dataset": name}) for name in ("faces5", "lacuna5"))
    assert not verdicts.applies_to(face, group)
    assert not verdicts.applies_to(face, {**group, "dataset": "faces5", "filters": 0.1})


def test_the_interchanged_columns_are_compared_both_ways() -> None:
    """Protocol §9, 22: to both columns by their true names."""
    numbers = [e for e in paper_values("4") if e.architecture == "allcnn"]
    retrain = next(e for e in numbers if e.method == "retrain" and e.forgets == ("class5",))
    (other,) = retrain.alternatives
    assert (retrain.value, other.value, other.forgets) == (55.0, 55.0, ("100of5",))
    assert (retrain.runs, other.runs) == (3, 2)
    assert retrain.contradiction
    assert not other.contradiction
    assert {e.method for e in numbers if not e.alternatives} == {"bad_teacher"}
    where = {"dataset": "cifar10", "architecture": "allcnn", "filters": 1.0, "forget": "100of5", "method": "retrain"}
    table = table_of(55.0, 55.2, 54.8, 55.1, 54.9, name="membership_accuracy_percent", **where)
    actual = {j.published.reading: j for j in judgements(list(with_alternatives(paper_values("4"))), table)}
    assert actual[""].published.value == 48.73
    assert actual[""].verdict == verdicts.CONTRADICTS
    assert actual[other.reading].published.value == 55.0
    assert actual[other.reading].verdict == verdicts.REPRODUCED


def test_divergences_are_compared_under_every_formula_and_both_roles() -> None:
    """Protocol §9, 24: no formula is named, and the notebook of two numbers has other roles and another network."""
    number = next(e for e in paper_values("3") if e.paper_dataset == "CIFAR-5" and e.method == "scrub")
    assert [other.column for other in number.alternatives] == [
        "kl_test_nats",
        "kl_test_reverse_nats",
        "kl_test_centroid_nats",
        "kl_test_centroid_reverse_nats",
    ]
    for name in ("1", "3"):
        columns = {other.column for e in paper_values(name) for other in e.alternatives}
        assert columns <= set(ARTEFACTS[f"table{name}"].columns)
    faces = [e for e in paper_values("1") if e.paper_dataset == "Lacuna-5" and e.architecture == "resnet18"]
    roles = {(e.method, e.value): e.alternatives[0] for e in faces}
    assert roles["adaprob", 1.35].method == "scrub"
    assert roles["scrub", 3.65].method == "adaprob"
    assert {other.architecture for other in roles.values()} == {"allcnn"}


def test_only_table_5_is_compared_with_targets() -> None:
    scored = {name: {own for e in paper_values(name) for own in verdicts.scored_by(e)} for name in TABLES}
    assert {name for name, columns in scored.items() if any(own.startswith("target_") for own in columns)} == {"5"}


def test_lambda_selects_its_own_number_and_both_scores_are_set_beside_it() -> None:
    where = {"dataset": "cifar5", "architecture": "resnet18", "filters": 0.4, "forget": "25of0", "method": "adaprob"}
    rows = [
        record | {"target_forget_error_percent": 80.0, "forget_rows": 25}
        for lam in (1.0, 2.0)
        for record in seeds("adaprob", "forget_error_percent", 70.0 + lam, 74.0 + lam, **where, **{"method.lam": lam})
    ]
    names = ("forget_error_percent", "target_forget_error_percent")
    (table,) = tables(frame(*rows), [metric_format(name) for name in names], ["adaprob"])
    actual = {(j.published.lam, j.column): j for j in judgements(paper_values("5"), table)}
    assert set(actual) == {(lam, name) for lam in (1.0, 2.0) for name in names}
    assert [actual[lam, names[0]].published.value for lam in (1.0, 2.0)] == [80.0, 56.0]
    assert actual[1.0, names[1]].ours.count.rows == 50  # of the targets, as of the model
    assert actual[1.0, names[1]].verdict == verdicts.UNDETERMINED


def test_the_page_has_three_columns_for_a_number_and_says_what_is_not_measured() -> None:
    table = table_of(17.0, 17.2, 16.8)
    page = paper_page(table, paper_values("2"), 300)
    (block,) = page.blocks
    assert block.header[1:] == [metric_format("test_error_percent").header() + ", paper", "ours", "verdict"]
    assert block.body == [["scrub_notebook", "17.01", "17.00 ± 0.50", verdicts.REPRODUCED]]
    text = "\n".join(page.notes)
    assert "not measured: retrain test_error_percent 16.71" in text
    assert "scrub retain_error_percent 0.00" in text


def test_a_narrow_page_is_cut_between_metrics() -> None:
    names = ("test_error_percent", "retain_error_percent", "forget_error_percent")
    rows = [
        r | dict.fromkeys(names[1:], 1.0) for r in seeds("scrub_notebook", names[0], 1.0, 2.0, **GROUP, method="scrub")
    ]
    (table,) = tables(frame(*rows), [metric_format(name) for name in names], ["scrub_notebook"])
    blocks = paper_page(table, paper_values("2"), 80).blocks
    assert [len(block.header) for block in blocks] == [4, 4, 4]
    assert all(sum(block.widths) + 2 * (len(block.widths) - 1) <= 80 for block in blocks)


def test_numbers_go_to_csv_with_their_verdict() -> None:
    table = table_of(17.0, 17.2, 16.8)
    actual = [(table, judgement) for judgement in judgements(paper_values("2"), table)]
    (line,) = csv.DictReader(judged_numbers(actual).splitlines())
    assert tuple(line) == FIELDS
    assert (line["paper"], line["verdict"], line["paper_runs"], line["n"]) == ("17.01", "reproduced", "3", "3")
    assert (line["dataset"], line["forget"], line["label"]) == ("cifar10", "100of5", "scrub_notebook")


@pytest.mark.parametrize("name", [name for name, artefact in ARTEFACTS.items() if artefact.table in TABLES])
def test_an_artefact_has_a_column_for_every_number(name: str) -> None:
    artefact = ARTEFACTS[name]
    assert {e.column for e in paper_values(artefact.table)} <= set(artefact.columns)
