"""The report as text, against the Records that went in: nothing lost, nothing refused, nothing that is not escaped."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic_records import frame, record, seeds

from adaprob_ray.reporting.records.metric_format import all_columns
from adaprob_ray.reporting.report import build, write_report
from adaprob_ray.reporting.report.build import render_report
from adaprob_ray.reporting.report.content import report_tables
from adaprob_ray.reporting.report.html_tables import PAGE_WIDTH
from adaprob_ray.reporting.tables.format import table_blocks, table_notes
from adaprob_ray.reporting.tables.model import tables

pytestmark = pytest.mark.slow  # builds dozens of reports: 20 s of one core

VOID = {"meta", "input", "link", "br"}
NASTY = """<script>alert("x")</script> 'q' & \u2028 </SCRIPT>"""


class Page(HTMLParser):
    """Elements with their attributes, texts by element, the cells of each line; and proof that all is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.lines: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.lines.append([])
        elif tag in ("td", "th"):
            self.lines[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))
        if {"td", "th"} & set(self.open):
            self.lines[-1][-1] += data

    def all(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def embedded(text: str) -> dict[str, Any]:
    actual: dict[str, Any] = json.loads(text.partition('id="records">')[2].partition("</script>")[0])
    return actual


def plain_records() -> pd.DataFrame:
    """Three seeds; scrub lacks the third; two lr of finetune."""
    return frame(
        *seeds("original", "test_error_percent", 5.0, 6.0, 7.0, forget_error_percent=0.0, retain_error_percent=1.0),
        *seeds("retrain", "test_error_percent", 10.0, 11.0, 12.0, forget_error_percent=40.0, retain_error_percent=2.0),
        *seeds("finetune", "test_error_percent", 8.0, 8.5, 9.5, **{"method.lr": 0.1}),
        *(
            r | {"key": r["key"] + "b"}
            for r in seeds("finetune", "test_error_percent", 3.0, 4.0, 6.0, **{"method.lr": 0.2})
        ),
        *seeds("scrub", "test_error_percent", 20.0, 22.0, unlearn_seconds=0.5),
    )


def report(records: pd.DataFrame, holes: tuple[str, ...] = ()) -> str:
    return render_report(records, missing=holes, title="tiny")


def test_every_record_is_in_the_page_whole() -> None:
    records = plain_records()
    data = embedded(report(records))
    assert data["columns"]["key"] == list(records["key"])
    listed = [name for section in data["sections"] for name in section["columns"]]
    assert sorted(listed) == sorted(records)
    assert data["columns"]["method.lr"][6] == 0.1
    assert data["columns"]["unlearn_seconds"] == [None] * 12 + [0.5, 0.5]
    assert all(data["rows"])


def test_values_are_those_of_the_words() -> None:
    records = plain_records()
    (table,) = tables(records, all_columns(), list(dict.fromkeys(records["label"])))
    actual = Page(report(records))
    expected = [line for block in table_blocks(table, PAGE_WIDTH) for line in block.body]
    assert len(expected) == 9  # five rows, and four that differ from retrain
    assert all(line in actual.lines for line in expected)
    assert set(table_notes(table)) <= set(actual.all("li"))


def test_rows_name_the_records_that_they_average() -> None:
    records = plain_records()
    rows = [a for tag, a in Page(report(records)).elements if tag == "tr" and "data-cells" in a]
    actual = {a["data-name"]: a["data-cells"] for a in rows}
    assert actual["finetune lr=0.1"] == "6 7 8"
    assert actual["finetune lr=0.2"] == "9 10 11"
    assert actual["scrub"] == "12 13"


def test_a_label_without_some_seeds_is_marked() -> None:
    text = report(plain_records())
    assert "scrub: no Record of seed 3" in text
    assert re.search(r'class="fewer">21.0 \[n=2\]<', text)


def test_holes_are_counted_and_named() -> None:
    text = report(plain_records(), holes=("evaluate-scrub-s3", "evaluate-<i>-s3"))
    assert "2 of 16 Records are missing" in text
    assert {"evaluate-scrub-s3", "evaluate-<i>-s3"} <= set(Page(text).all("li"))
    assert 'id="holes"' not in report(plain_records())


def test_no_records_at_all() -> None:
    text = report(pd.DataFrame([]), holes=("evaluate-original-s1",))
    Page(text)
    assert "1 of 1 Records are missing" in text
    assert "There are no Records yet." in text
    assert embedded(text) == {"sections": [], "columns": {}, "rows": []}


def test_whatever_a_user_writes_is_text() -> None:
    label = NASTY + " and more"
    records = frame(
        *seeds("retrain", "test_error_percent", 1.0, 2.0),
        *seeds(label, "test_error_percent", 1.0, 3.0, host=NASTY, dataset="digits", device='"><b>'),
    )
    text = render_report(records, missing=[NASTY], title=NASTY)
    scripts = [attributes for tag, attributes in Page(text).elements if tag == "script"]
    assert [attributes.get("id") for attributes in scripts] == ["records", None]
    known = {tag for tag, _ in Page(report(plain_records(), holes=("one",))).elements}
    assert {tag for tag, _ in Page(text).elements} <= known
    assert embedded(text)["columns"]["label"][2] == label
    assert "\u2028" not in text.partition('id="records">')[2].partition("</script>")[0]
    assert label.strip() in Page(text).all("button")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("recipe.lr", (0.1, 0.2)),
        ("precision", ("float32", "bfloat16")),
        ("pretrain.seed", (1, 2)),
        ("relearn.epochs", (1, None)),
    ],
)
def test_mixed_settings_are_tables_of_their_own(column: str, values: tuple[Any, Any]) -> None:
    one, other = ([r | {column: value} for r in seeds("retrain", "test_error_percent", 1.0, 2.0)] for value in values)
    actual = report_tables(frame(*one, *other))
    assert [part.settings for part in actual] == [f"{column}={'none' if v is None else v}" for v in values]
    assert [list(part.positions.values()) for part in actual] == [[[0, 1]], [[2, 3]]]


def test_one_label_of_two_methods_is_two_rows() -> None:
    records = frame(record("mine", 1, method="ntk"), record("mine", 2, method="scrub"), record("retrain", 1))
    (part,) = report_tables(records.assign(test_error_percent=1.0))
    assert list(part.positions) == ["mine method=ntk", "mine method=scrub", "retrain"]


def test_records_with_the_same_settings_are_not_averaged() -> None:
    twice = [record("scrub", 1, test_error_percent=float(at), key=f"{at}2345678abc") for at in range(2)]
    (part,) = report_tables(frame(*twice, record("retrain", 1, test_error_percent=1.0)))
    assert part.positions == {"scrub key 02345678": [0], "scrub key 12345678": [1], "retrain": [2]}
    assert any(note.startswith("scrub: several Records have the same settings") for note in part.notes)


def test_a_group_without_retrain_still_shows() -> None:
    (part,) = report_tables(frame(*seeds("scrub", "test_error_percent", 1.0, 2.0)))
    assert list(part.positions) == ["scrub"]
    assert any("differences from it are not shown" in note for note in part.notes)


def test_mixed_properties_are_named() -> None:
    records = frame(
        record("retrain", 1), record("scrub", 1, precision="bfloat16", device="H200", run_dirty=True, exclusive=False)
    )
    text = report(records.assign(test_error_percent=1.0))
    for words in (
        "Mixed precision: float32, bfloat16",
        "Mixed hardware: cpu (a), H200",
        "Mixed commits: e2d2479, e2d2479+dirty",
    ):
        assert words in text
    assert "1 of 2 Records were made from a checkout with uncommitted changes" in text
    assert "1 of 2 Records ran concurrently with other cells" in text


def test_nothing_comes_from_elsewhere() -> None:
    text = report(plain_records())
    for tag, attributes in Page(text).elements:
        assert not {"src", "srcset", "action", "style", "onclick"} & set(attributes), tag
        assert (attributes.get("href") or "#").startswith("#")
    code = text.partition('id="records">')[0] + text.rpartition("<script>")[2]
    assert not re.search(r"https?://|url\(|@import|\beval\(|innerHTML", code)
    assert "default-src 'none'" in unescape(text)


def test_the_list_of_cells_names_the_settings_that_vary_within_a_label() -> None:
    lines = Page(report(plain_records()).partition('id="cells"')[2].partition("</section>")[0]).lines
    names = [line[0].strip() for line in lines[1:]]
    assert names == [
        *["original"] * 3,
        *["retrain"] * 3,
        *["finetune lr=0.1"] * 3,
        *["finetune lr=0.2"] * 3,
        *["scrub"] * 2,
    ]


def test_the_policy_allows_the_page_s_own_script_and_style() -> None:
    text = report(plain_records())
    style, script = (
        text.partition("<style>")[2].partition("</style>")[0],
        text.rpartition("<script>")[2].partition("</script>")[0],
    )
    policy = unescape(text)
    assert build._hash(style) in policy
    assert build._hash(script) in policy


def test_figures_draw_every_row_that_has_a_value() -> None:
    elements = Page(report(plain_records())).elements
    marks = [attributes["data-name"] for tag, attributes in elements if tag == "g" and "data-name" in attributes]
    names = ["original", "retrain", "finetune lr=0.1", "finetune lr=0.2", "scrub"]
    overview = trade_off = ["original", "retrain"]
    assert marks == [*overview, *trade_off, *names, "original", "retrain", "original", "retrain", "scrub"]
    coordinates = [
        float(n)
        for t, a in elements
        if t == "path" and "transform" in a
        for n in re.findall(r"-?[\d.]+", a["transform"] or "")
    ]
    assert all(0 <= number <= 400 for number in coordinates)


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new" / "out"
    path = write_report(plain_records(), missing=[], title="tiny", folder=folder)
    first = path.read_text(encoding="utf-8")
    assert path == folder / "report.html"
    assert first == report(plain_records())
    assert [each.name for each in folder.iterdir()] == ["report.html"]

    def interrupted(self: Path, text: str, encoding: str) -> int:
        with self.open("w", encoding=encoding) as file:
            file.write(text[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(OSError, match="no space"):
        write_report(plain_records().head(3), missing=[], title="tiny", folder=folder)
    assert path.read_text(encoding="utf-8") == first
