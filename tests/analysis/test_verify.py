"""README, docs and results/ of a made-up checkout: what is right passes, and each number that is moved is noticed."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_records import Memory, of_cells, tiny_sweep

from adaprob_ray.errors import InputError
from adaprob_ray.metrics.divergence import kl_to_retrain
from adaprob_ray.metrics.error_rate import errors
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.reporting.records.archive import Archive, record_lines, rows_of, write_archive
from adaprob_ray.reporting.records.load import load_sweep
from adaprob_ray.reporting.rescore import rescore
from analysis.paper.equivalence import equivalence_columns
from analysis.registry import NOTEBOOKS, ROOT
from analysis.verify.pages import verify

pytestmark = pytest.mark.slow  # whole checkouts, ours among them

SWEEP = tiny_sweep("{finetune: {epochs: 1}}", "[errors, kl_to_retrain]")
PAGE = """# A page

<!-- from results/tiny.jsonl: test_error_percent, kl_forget_nats -->
<!-- end -->

| a table | without intervals |
| -- | -- |
| 1 | 2 |
"""


def outputs_of(seed: int) -> Outputs:
    generator = np.random.default_rng(seed)
    counts = {"train": 400, "validation": 100, "test": 100}
    labels = {part: np.arange(count) % 10 for part, count in counts.items()}
    logits = {part: generator.normal(size=(count, 10)).astype("float32") for part, count in counts.items()}
    return Outputs(logits=logits, labels=labels)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A README, a page of docs, a sweep, and results/ with Records that Outputs bear out."""
    for folder in ("results", "docs", "sweeps"):
        (tmp_path / folder).mkdir()
    for name in ("tiny", *NOTEBOOKS):
        (tmp_path / "sweeps" / f"{name}.yaml").write_text(SWEEP.replace("name: tiny", f"name: {name}"))
    records = of_cells(load_sweep(tmp_path / "sweeps" / "tiny.yaml"), [])
    source = Memory({key: outputs_of(at) for at, key in enumerate(sorted(set(records["model_key"])))})
    for metric in (errors, kl_to_retrain):
        scored = rescore(metric, records, source).set_index("key")
        names = [name for name in scored if name not in records]
        records = records.join(scored[names], on="key")
    (tmp_path / "results" / "tiny.jsonl").write_text(record_lines(records))
    write_archive(records, source, tmp_path / "results" / "tiny.zip")
    (tmp_path / "README.md").write_text(PAGE)
    (tmp_path / "docs" / "page.md").write_text("no table here\n")
    verify(tmp_path, rewrite=True)
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_mark_shows_the_rows_of_its_labels(checkout: Path) -> None:
    page = checkout / "README.md"
    assert "| original |" in page.read_text()
    replace(page, "tiny.jsonl: ", "tiny.jsonl, labels retrain+finetune: ")
    verify(checkout, rewrite=True)
    rows = [line.split(" | ")[0] for line in page.read_text().splitlines() if line.startswith("| ")]
    assert rows[2:5] == ["| retrain", "| finetune", "| noise floor"]
    replace(page, "retrain+finetune", "retrain+scrub")
    with pytest.raises(InputError, match="unknown label 'scrub'"):
        verify(checkout)


def test_what_is_written_is_right(checkout: Path) -> None:
    checked = verify(checkout)
    assert checked.faults == []
    assert checked.tables == 6  # three files of compare-tiny, one in the README, docs/fidelity.md and .csv
    assert checked.numbers > 40
    text = (checkout / "README.md").read_text()
    assert text.count("| retrain |") == 1
    assert "| 1 | 2 |" in text
    assert sorted(path.name for path in (checkout / "results").iterdir()) == [
        "compare-tiny.csv", "compare-tiny.md", "compare-tiny.tex", "tiny.jsonl", "tiny.zip",
    ]  # fmt: skip


def test_a_table_of_equivalence_is_verified_if_there_is_one(checkout: Path) -> None:
    text = tiny_sweep("{finetune: {epochs: 1}}", "[errors, membership_auc, kl_to_retrain, passes, seconds]")
    (checkout / "sweeps" / "compared.yaml").write_text(text.replace("name: tiny", "name: compared"))
    columns = [column.name for column in equivalence_columns()]
    records = of_cells(load_sweep(checkout / "sweeps" / "compared.yaml"), columns)
    (checkout / "results" / "compared.jsonl").write_text(record_lines(records))
    verify(checkout, rewrite=True)
    table = checkout / "results" / "equivalence-compared.csv"
    assert not table.exists()
    table.write_text("old\n")
    faults = verify(checkout).faults
    assert [fault.partition(":")[0] for fault in faults] == [
        "results/equivalence-compared.md", "results/equivalence-compared.tex", "results/equivalence-compared.csv",
    ]  # fmt: skip
    verify(checkout, rewrite=True)
    assert table.read_text().count("\n") > 1
    assert verify(checkout).faults == []


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("README.md", "README.md: the table <!-- from results/tiny.jsonl"),
        ("results/compare-tiny.md", "results/compare-tiny.md: differs from its Records"),
        ("results/compare-tiny.tex", "results/compare-tiny.tex: differs from its Records"),
        ("docs/fidelity.md", "docs/fidelity.md: differs from its Records"),
        ("docs/fidelity.csv", "docs/fidelity.csv: differs from its Records"),
    ],
)
def test_a_moved_number_is_noticed_and_written_back(checkout: Path, file: str, words: str) -> None:
    right = (checkout / file).read_text()
    digit = next(sign for sign in "123456789" if f".{sign}" in right)
    replace(checkout / file, f".{digit}", ".0")
    (fault,) = verify(checkout).faults
    assert fault.startswith(words)
    verify(checkout, rewrite=True)
    assert (checkout / file).read_text() == right


def test_a_record_that_its_outputs_do_not_bear_out_is_noticed(checkout: Path) -> None:
    path = checkout / "results" / "tiny.zip"
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    lines = members["records.jsonl"].decode().splitlines()
    value = next(row for row in rows_of(pd.read_json((checkout / "results" / "tiny.jsonl"), lines=True)))[
        "test_error_percent"
    ]
    lines[0] = lines[0].replace(f'"test_error_percent":{value:g}', f'"test_error_percent":{value + 1:g}')
    members["records.jsonl"] = "\n".join(lines).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    other, fault = verify(checkout, rewrite=True).faults  # Records are never rewritten
    assert other == "tiny.zip: its Records differ from those of the same seeds in tiny.jsonl"
    assert "test_error_percent is" in fault
    assert "from its Outputs" in fault


def test_lines_that_are_not_the_archives_are_noticed(checkout: Path) -> None:
    replace(checkout / "results" / "tiny.jsonl", '"retain_error_percent":', '"retain_error_percent":1')
    assert (
        "tiny.zip: its Records differ from those of the same seeds in tiny.jsonl"
        in verify(checkout, rewrite=True).faults
    )


def test_an_archive_of_one_seed_must_hold_all_records_of_that_seed(checkout: Path) -> None:
    path, numbers = checkout / "results" / "tiny.zip", verify(checkout).numbers
    archive = Archive(path)
    first = archive.records[archive.records["seed"] == archive.records["seed"].min()]
    assert len(first) < len(archive.records)
    write_archive(first, archive, path)
    checked = verify(checkout)
    assert checked.faults == []
    assert checked.numbers < numbers
    assert checked.notes == ["tiny.zip has Outputs of 1 of 2 seeds"]
    write_archive(first[first["label"] != "finetune"], archive, path)
    assert verify(checkout).faults == ["tiny.zip: its Records differ from those of the same seeds in tiny.jsonl"]


def test_records_without_outputs_are_noted(checkout: Path) -> None:
    assert verify(checkout).notes == []
    (checkout / "results" / "tiny.zip").unlink()
    (checkout / "sweeps" / "tiny.yaml").write_text(SWEEP.replace("finetune: {epochs: 1}", "finetune: {epochs: 2}"))
    assert verify(checkout, rewrite=True).notes == [
        "2 of 8 Records of tiny.jsonl are of earlier revisions of the code",
        "tiny.jsonl has no archive of Outputs",
    ]


def test_a_table_with_intervals_and_no_mark_is_a_fault(checkout: Path) -> None:
    with (checkout / "README.md").open("a") as file:
        file.write("\n| method | error |\n| -- | -- |\n| mine | 1.0 ± 0.1 |\n")
    (fault,) = verify(checkout).faults
    assert "has no mark that names its source: | method | error |" in fault


@pytest.mark.parametrize("where", ["forget class5", "dataset cifar5, forget 25of3", "architecture resnet18"])
def test_a_mark_must_mean_one_table(checkout: Path, where: str) -> None:
    replace(checkout / "README.md", "tiny.jsonl:", f"tiny.jsonl, {where}:")
    with pytest.raises(
        InputError,
        match=r"must select one table, got 0 \(known: dataset digits, architecture allcnn, forget 25of3",
    ):
        verify(checkout)


def test_a_mark_says_which_table_it_means(checkout: Path) -> None:
    replace(checkout / "README.md", "tiny.jsonl:", "tiny.jsonl, dataset digits, architecture allcnn, forget 25of3:")
    assert verify(checkout).faults == []


def test_this_checkout_is_right() -> None:
    assert verify(ROOT).faults == []


def test_a_benchmarks_table_is_noticed_and_written_back(checkout: Path) -> None:
    numbers = "wrong_percent,n,t,bootstrap,rule\n10,3,94.3,77.7,95\n"
    (checkout / "results" / "coverage.csv").write_text(numbers)
    page = checkout / "docs" / "statistics.md"
    page.write_text("Text.\n\n<!-- from results/coverage.csv -->\n| old |\n<!-- end -->\n\nMore.\n")
    assert verify(checkout).faults == ["statistics.md: the table of coverage.csv differs from it"]
    assert verify(checkout, rewrite=True).faults == verify(checkout).faults == []
    assert "| 10 % | 3 | 94.3 % | 77.7 % | 95.0 % |\n<!-- end -->\n\nMore.\n" in page.read_text()


def test_a_stale_sentence_is_a_fault(checkout: Path) -> None:
    mark = "<!-- says results/tiny.jsonl: finetune test_error_percent seed 1 = 101.5 -->\nAt 101.5 %.\n"
    (checkout / "docs" / "page.md").write_text(mark)
    (fault,) = verify(checkout).faults
    assert fault.startswith("page.md: finetune test_error_percent seed 1 is ")
    assert fault.endswith(" in results/tiny.jsonl, the page's mark says 101.5")


COUNTED = "rows,passes,ratio,residual,kind\n500,3,1.25,2.514e-07,a\n500,7,2.5,1e-9,b\n50000,9,,1,b\n"
SENTENCE = (
    "At 500 rows 3 to 7 passes, to 2.5e-7, and 1.9 times faster in the median of 2, 1.88 in the mean; one above 2.\n"
)


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        ("passes range = 3 to 7; ratio median = 1.9; ratio count = 2; residual most = 2.5e-7; ratio mean = 1.88", None),
        ("ratio above 1.5 = 1", "paragraph below the mark of results/counted.csv does not say 1 (ratio above 1.5)"),
        ("ratio above 1 = 1", "ratio above 1 is 2 in results/counted.csv, the page's mark says 1"),
        ("passes range = 3 to 8", "passes range is 3 to 7 in results/counted.csv, the page's mark says 3 to 8"),
        ("passes most = 7; ratio least = 1.25", "paragraph below the mark of results/counted.csv does not say 1.25"),
    ],
)
def test_a_benchmarks_sentence_is_held_to_its_numbers(checkout: Path, claim: str, fault: str | None) -> None:
    (checkout / "results" / "counted.csv").write_text(COUNTED)
    (checkout / "docs" / "page.md").write_text(f"<!-- says results/counted.csv, rows 500: {claim} -->\n{SENTENCE}")
    faults = verify(checkout).faults
    assert (fault is None) == (faults == [])
    assert fault is None or any(fault in line for line in faults)


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("rows 7: passes most = 7", "rows 7: must have rows that meet these conditions, got none"),
        ("rows 500: speed most = 7", "'speed'"),
        ("colour 500: passes most = 7", "'colour'"),
        ("rows many: passes most = 7", "rows many: must have rows that meet these conditions, got none"),
        ("rows 50000: ratio above 2 = 0", "ratio: must be numbers for above 2, got nothing"),
        ("rows 500: kind most = 7", "kind: must be numbers for most, got words"),
        ("rows 500: passes mode = 7", "range|least|most|mean|median|count|above NUMBER = WORDS, got"),
    ],
)
def test_a_benchmarks_mark_that_means_nothing_is_refused(checkout: Path, mark: str, words: str) -> None:
    (checkout / "results" / "counted.csv").write_text(COUNTED)
    (checkout / "docs" / "page.md").write_text(f"<!-- says results/counted.csv, {mark} -->\n{SENTENCE}")
    with pytest.raises(InputError, match=re.escape(words)):
        verify(checkout)


def test_every_mark_above_a_paragraph_counts(checkout: Path) -> None:
    (checkout / "results" / "counted.csv").write_text(COUNTED)
    marks = "<!-- says results/counted.csv, rows 500: passes {} = 7 -->\n<!-- says results/counted.csv: passes most = {} -->\n"
    words = "7 passes, or 9.\n"
    for kind, most, fault in (("most", 9, None), ("least", 9, "passes least is 3"), ("most", 7, "passes most is 9")):
        (checkout / "docs" / "page.md").write_text(marks.format(kind, most) + words)
        faults = verify(checkout).faults
        assert [fault in actual for actual in faults] == ([True] if fault else [])


TABLE = "\n| 7 |\n<!-- end -->\n"


@pytest.mark.parametrize(
    "mark",
    [
        "<!-- from results/counted.csv: passes -->" + TABLE,  # a benchmark's table has one form
        "<!-- from results/tiny.jsonl -->" + TABLE,
        "<!-- from results/tiny.jsonl, precision float32: test_error_percent -->" + TABLE,
        "<!-- from results/tiny.jsonl: test_error_percent -->\n| 7 |\n",  # no end
        "<!-- from results/coverage.csv -->\n| 7 |\n\n<!-- from results/coverage.csv -->" + TABLE,
        "<!-- says results/tiny.jsonl, precision float32: finetune test_error_percent seed 1 = 7 -->\n7 %.\n",
        "<!-- says results/counted.csv: passes most = 9 -->\n",  # no paragraph
    ],
)
def test_a_mark_that_would_be_passed_over_is_refused_and_nothing_is_written(checkout: Path, mark: str) -> None:
    (checkout / "results" / "counted.csv").write_text(COUNTED)
    page = checkout / "docs" / "page.md"
    page.write_text(mark)
    (checkout / "docs" / "first.md").write_text("<!-- from results/coverage.csv -->\n| old |\n<!-- end -->\n")
    (checkout / "results" / "coverage.csv").write_text("wrong_percent,n,t,bootstrap,rule\n10,3,94.3,77.7,95\n")
    with pytest.raises(InputError, match=r"page\.md: mark: must be <!-- .*, got '<!-- "):
        verify(checkout, rewrite=True)
    assert page.read_text() == mark
    assert "| old |" in (checkout / "docs" / "first.md").read_text()
