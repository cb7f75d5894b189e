"""docs/fidelity.md has each number of the paper once, docs/fidelity.csv every reading of it, and the choice is blind."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from synthetic_records import frame, seeds

from adaprob_ray.reporting.records.load import read_lines
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.tables.model import Table, tables
from analysis.paper.training_recipes import RecipeSetting
from analysis.paper.values import PaperValue, paper_values
from analysis.registry import RESULTS, ROOT
from analysis.verify.fidelity_page import TITLES, fidelity_text
from analysis.verify.fidelity_readings import FIELDS, PAPER_TABLES, measured_judgements, readings_csv, shown_judgement
from analysis.verify.pages import TRACES

PAGE, READINGS = ROOT / "docs" / "fidelity.md", ROOT / "docs" / "fidelity.csv"
SMALL = {"dataset": "cifar5", "architecture": "resnet18", "filters": 0.4, "forget": "25of0", "method": "adaprob"}
EQUATION_1 = {"reference": "original", "totals": "pseudo", "pseudo": "uniform", "source": "original", "lam": 1.0}
NAMES = ("retain_error_percent", "forget_error_percent", "target_forget_error_percent", "kl_forget_same_seed_nats")


def adaprob_table(*rows: tuple[str, float, dict[str, object]]) -> Table:
    """A table with a label for each (name, value of every column, settings other than those of Eq. (1))."""
    records = []
    for label, value, changed in rows:
        settings = {f"method.{name}": setting for name, setting in {**EQUATION_1, **changed}.items()}
        records += [
            record | dict.fromkeys(NAMES, value + record["seed"]) | {"forget_rows": 25}
            for record in seeds(label, NAMES[0], value, value, value, **SMALL, **settings)
        ]
    (table,) = tables(frame(*records), [metric_format(name) for name in NAMES], [label for label, _, _ in rows])
    return table


def chosen(number: PaperValue, **by_file: Table) -> tuple[str, str, str]:
    """The label, column and file of the reading that the page would show."""
    judged = measured_judgements(number.table, {name: [table] for name, table in by_file.items()})
    item = shown_judgement(number, judged)
    assert item is not None
    return item.judgement.row.label, item.judgement.column, item.records


def number_of(table: str, column: str, value: float) -> PaperValue:
    return next(number for number in paper_values(table) if (number.column, number.value) == (column, value))


@pytest.mark.parametrize("scale", [0.0, 79.0])
def test_the_reading_shown_is_equation_1_whatever_the_values_are(scale: float) -> None:
    """80 % is the paper's number: the reading with that value is not preferred, nor the one without."""
    number = number_of("5", "forget_error_percent", 80.0)
    random = {"reference": "pseudo", "pseudo": "random"}
    table = adaprob_table(("script", 79.0 - scale, random), ("eq1", scale, {}), ("again", 79.0 - scale, {}))
    assert chosen(number, some=table) == ("eq1", "forget_error_percent", "some")
    scrub = adaprob_table(("on_scrub", scale, {"source": "scrub"}), ("eq1", 5.0, {}))
    assert chosen(number, some=scrub)[0] == "eq1"


def test_files_come_in_the_order_of_the_registry_and_then_of_the_alphabet() -> None:
    number = number_of("1", "kl_forget_same_seed_nats", 2.56)
    table = adaprob_table(("eq1", 1.0, {}))
    assert chosen(number, cifar5=table, figure2=table, small_all=table)[2] == "small_all"
    assert chosen(number, cifar5=table, figure2=table)[2] == "figure2"
    assert chosen(number, cifar5=table, other=table)[2] == "cifar5"


def test_another_lambda_than_the_papers_default_is_not_its_own_words() -> None:
    """Except in Table 5, whose numbers say their λ."""
    table = adaprob_table(("first", 1.0, {"lam": 2.0}), ("second", 1.0, {}))
    assert chosen(number_of("1", "kl_forget_same_seed_nats", 2.56), some=table)[0] == "second"
    assert chosen(number_of("5", "forget_error_percent", 56.0), some=table)[0] == "first"


def test_what_is_shown_without_being_equation_1_says_so() -> None:
    table = adaprob_table(("script", 50.0, {"reference": "pseudo", "pseudo": "random"}))
    judged = {name: measured_judgements(name, {"some": [table]}) for name in PAPER_TABLES}
    text = fidelity_text(judged, [], {})
    line = "| 80.00 | 52.0 ± 2.5 | 3 | not reproduced | `script` (pseudo/pseudo, random, source original) in"
    assert line in text.replace("\u00a0", " ")
    assert re.search(r"Of the 134 numbers .* 3 are measured .*none is reproduced", text)


def test_other_readings_do_not_count_and_are_below_their_number_in_the_csv() -> None:
    where = {"dataset": "cifar10", "architecture": "allcnn", "filters": 1.0, "forget": "100of5", "method": "retrain"}
    name = "membership_accuracy_percent"
    (table,) = tables(frame(*seeds("retrain", name, 55.0, 55.2, 54.8, **where)), [metric_format(name)], ["retrain"])
    judged = {paper: measured_judgements(paper, {"some": [table]}) for paper in PAPER_TABLES}
    lines = fidelity_text(judged, [], {}).splitlines()
    summary = next(line for line in lines if line.startswith("| Table 4"))
    header = next(line for line in lines if line.startswith("|  | reproduced |"))
    assert cells(header) == ["", "reproduced", "contradicts itself", "not measured"]
    assert cells(summary) == ["Table 4 (40 numbers)", "–", "1", "39"]
    of_retrain = [
        (line["paper"], line["forget"], line["read_as"], line["shown"], line["verdict"])
        for line in csv.DictReader(readings_csv(judged).splitlines())
        if (line["table"], line["architecture"], line["method"]) == ("4", "allcnn", "retrain")
    ]
    assert of_retrain == [
        ("55.00 ± 4.00", "class5", "", "yes", "not measured"),
        ("55.00 ± 4.00", "100of5", "ALL-CNN's columns interchanged", "no", "reproduced"),
        ("48.73 ± 0.24", "100of5", "", "yes", "contradicts itself"),
    ]


def test_networks_with_equal_settings_share_a_line() -> None:
    names = ["ResNet (CIFAR5)", "ALLCNN (CIFAR5)", "ResNet (CIFAR10)", "ALLCNN (CIFAR10)"]
    rates = ["0.001", "0.001", "0.01", "0.01"]
    filters = ["0.4", "1.0", "1.0", "1.0"]
    lines = [
        *(RecipeSetting(name, "learning_rate", rate, rate, rate) for name, rate in zip(names, rates, strict=True)),
        *(RecipeSetting(name, "filter", width, width, width) for name, width in zip(names, filters, strict=True)),
        *(RecipeSetting(name, "seed", "3", "3", "1, 2, 3") for name in names),
    ]
    text = fidelity_text({name: [] for name in PAPER_TABLES}, [], {"7": lines})
    table = page_tables(text.partition("## Table 7")[2])[0]
    assert [line[:3] for line in table] == [
        ["setting", "of", "paper"],
        ["filter", "ResNet (CIFAR5)", "0.4"],
        ["filter", "all others", "1.0"],
        ["learning rate", "CIFAR5 and Lacuna5", "0.001"],
        ["learning rate", "CIFAR10 and Lacuna10", "0.01"],
        ["seed", "all 4", "3"],
    ]


# -- the page and the file as committed ------------------------------------------------------------------------------------


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip()[1:-1].split("|")]


def count(text: str) -> int:
    return 0 if text == "–" else int(text)


def page_tables(section: str) -> list[list[list[str]]]:
    """The tables of a section: their lines, the header first."""
    found = re.findall(r"(?:^\|.*\n?)+", section, re.M)
    return [[cells(line) for at, line in enumerate(text.splitlines()) if at != 1] for text in found]


def printed(section: str) -> list[str]:
    """Every number of the paper in a section: the `paper` column of the measured, every cell of the others."""
    texts: list[str] = []
    for header, *body in page_tables(section):
        columns = [1] if "ours" in header else range(1, len(header))
        texts += [line[column] for line in body for column in columns]
    return [re.sub("[¹²³]$", "", text) for text in texts if text != "–"]


@pytest.mark.parametrize("name", PAPER_TABLES)
def test_each_number_of_the_paper_is_on_the_page_once(name: str) -> None:
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {TITLES[name]}\n")[2].partition("\n## ")[0]
    assert Counter(printed(section)) == Counter(number.text for number in paper_values(name))
    words = sum(map(int, re.findall(r"Not measured, (\d+) of", section)))
    assert words == sum(
        number_line["verdict"] == "not measured" for number_line in shown_lines() if number_line["table"] == name
    )
    marks = Counter(re.findall("[¹²³](?= [|])", section))
    assert sum(marks.values()) == sum(bool(number.contradiction) for number in paper_values(name))


def test_no_table_of_the_page_has_more_than_six_columns() -> None:
    found = page_tables(PAGE.read_text(encoding="utf-8"))
    assert len(found) > 10
    assert {len(line) for table in found for line in table} <= {2, 3, 4, 5, 6}


def readings() -> Sequence[dict[str, str]]:
    with READINGS.open(newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def shown_lines() -> Sequence[dict[str, str]]:
    return [line for line in readings() if line["shown"] == "yes"]


def test_the_csv_shows_each_number_once_and_the_page_counts_these() -> None:
    numbers = [number for name in PAPER_TABLES for number in paper_values(name)]
    assert [(line["table"], line["method"], line["metric"], line["paper"]) for line in shown_lines()] == [
        (number.table, number.method, number.column, number.text) for number in numbers
    ]
    header, *body, total = page_tables(PAGE.read_text(encoding="utf-8"))[0]
    counts = dict(zip(header[1:], map(count, total[1:]), strict=True))
    assert counts == {"reproduced": 0, **Counter(line["verdict"] for line in shown_lines())}
    for column in range(1, len(header)):
        assert sum(count(line[column]) for line in body) == count(total[column])
    assert sum(map(count, total[1:])) == len(numbers) == 134
    assert total[0] == "all (134 numbers)"


def test_the_csv_has_a_line_for_every_group_of_records_that_a_reading_is_about() -> None:
    """Nothing is lost: Records of each file, compared with each reading of each number, without tables or verdicts."""
    expected = Counter()
    for path in sorted(RESULTS.glob("*.jsonl")):
        if path.stem not in TRACES:
            expected += lines_about(path)
    found = Counter(
        (
            line["table"],
            line["paper"],
            line["read_as"],
            line["metric"],
            line["records"],
            line["label"].partition(" ")[0],
        )
        for line in readings()
        if line["records"]
    )
    assert found == expected
    assert tuple(readings()[0]) == FIELDS


def lines_about(path: Path) -> Counter[tuple[str, ...]]:
    """The label of each group of Records, for each reading of a number that has its data set, network, request and method."""
    records, lines = read_lines(path), Counter[tuple[str, ...]]()
    varying = [name for name in records if name.startswith("method.") and name != "method.name"]
    keys = records[["label", "dataset", "forget", *varying]].map(str).agg("/".join, axis=1)
    for _, group in records.groupby(keys):
        first = group.iloc[0]
        for name in PAPER_TABLES:
            for reading in (r for number in paper_values(name) for r in (number, *number.alternatives)):
                dataset = re.sub(r"-\d+$", "", first["dataset"])  # cifar10-600 is a part of cifar10, at any width
                filters = reading.filters if dataset != first["dataset"] else first["filters"]
                about = (
                    dataset in reading.datasets
                    and first["forget"] in reading.forgets
                    and (first["architecture"], filters) == (reading.architecture, reading.filters)
                    and first["method"] == reading.method
                    and reading.lam in (None, first.get("method.lam"))
                )
                targets = [f"target_{reading.column}"] if name == "5" else []
                for column in [reading.column, *targets] if about else []:
                    if column in group and group[column].notna().any():
                        key = (
                            name,
                            reading.text,
                            reading.reading,
                            reading.column,
                            f"results/{path.name}",
                            first["label"],
                        )
                        lines[key] += 1
    return lines
