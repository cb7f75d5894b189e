"""Made-up Records against exact rows, entries, heads, captions and files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from synthetic_records import frame, record, seeds

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.metric_format import metric_columns, metric_format
from adaprob_ray.reporting.tables.format import format_estimate, table_blocks, table_document, table_notes
from adaprob_ray.reporting.tables.latex import latex
from adaprob_ray.reporting.tables.layout import Block
from adaprob_ray.reporting.tables.model import Table, tables
from adaprob_ray.reporting.tables.render import markdown, table_csv, write_documents

ERROR, FORGET, KL, SAME, TIME = (
    metric_format(name)
    for name in (
        "test_error_percent",
        "forget_error_percent",
        "kl_forget_nats",
        "kl_forget_same_seed_nats",
        "unlearn_seconds",
    )
)


def golden() -> Table:
    """Three seeds of test errors: retrain 10, 11, 12; the second retraining off by +1, −1, +3; a method always 2 better."""
    records = frame(
        *seeds("original", "test_error_percent", 5.0, 5.0, 5.0, forget_error_percent=0.0, kl_forget_nats=0.5),
        *[r | {"kl_forget_nats": k} for r, k in zip(
            seeds("retrain", "test_error_percent", 10.0, 11.0, 12.0, forget_error_percent=4.0, unlearn_seconds=2.0),
            (0.1, 0.2, 0.3), strict=True)],
        *seeds("retrain_independent", "test_error_percent", 11.0, 10.0, 15.0, forget_error_percent=8.0),
        *seeds("scrub", "test_error_percent", 8.0, 9.0, 10.0, forget_error_percent=40.0, kl_forget_nats=0.2,
               unlearn_seconds=0.5),
    )  # fmt: skip
    (table,) = tables(records, [ERROR, FORGET, KL, TIME], ["scrub"])
    return table


def by_name(block: Block) -> dict[str, list[str]]:
    return {line[0]: line[1:] for line in block.body}


def test_golden_values_and_differences() -> None:
    values, differences = table_blocks(golden(), 200)
    assert [head.replace("\N{NO-BREAK SPACE}", " ") for head in values.header] == [
        "", "test error (%)", "forget error (%)", "KL forget (nats)", "unlearning time (s)",
    ]  # fmt: skip
    # t(0.975, 2) = 4.303: values 1 apart have half-width 4.303/√3 = 2.48.
    assert by_name(values) == {
        "original": ["5.0 (4.2–5.8)†", "0 (≤ 3.9)†", "0.50 (all equal)", "–"],
        "retrain": ["11.0 ± 2.5", "4.0 (0.8–11.2)†", "0.20 ± 0.25", "2.00 (all equal)"],
        "retrain_independent": ["12.0 ± 6.6", "8.0 (3.0–16.6)†", "–", "–"],
        "scrub": ["9.0 ± 2.5", "40.0 (28.9–52.0)†", "0.20 (all equal)", "0.50 (all equal)"],
        "noise floor": ["–", "–", "0.20 ± 0.25", "–"],
    }
    assert differences.header[1].replace("\N{NO-BREAK SPACE}", " ") == "test error (pp)"
    assert by_name(differences) == {
        "original": ["−6.0 ± 2.5", "−4.00 (all equal)", "+0.30 ± 0.25", "–"],
        "retrain_independent": ["+1.0 ± 5.0", "+4.00 (all equal)", "–", "–"],
        "scrub": ["−2.0 (all equal)", "+36.00 (all equal)", "0.00 ± 0.25", "−1.50 (all equal)"],
        "noise floor": ["1.7 (0–4.5)", "4.00 (all equal)", "–", "–"],
    }


def test_relearn_time_is_shown_as_steps_and_explained() -> None:
    labels = ("original", "retrain", "retrain_independent")
    records = [row for label in labels for row in seeds(label, "relearn_steps", 1, 3, 100)]
    (table,) = tables(frame(*records), [metric_format("relearn_steps")], list(labels))
    values = table_blocks(table, 200)[0]
    assert values.header[1].replace("\N{NO-BREAK SPACE}", " ") == "relearn time (steps)"
    assert by_name(values)["original"] == ["35 ± 141"]
    assert sum("also recorded if it is never reached" in line for line in table_notes(table)) == 1
    assert not any("relearn" in line for line in table_notes(golden()))


def test_caption_says_what_is_shown() -> None:
    table = golden()
    assert table.heading == "digits · allcnn, filters 0.12 · forget 25 samples of class 3"
    text = "\n".join(table_notes(table))
    assert "95 % Student-t interval over n = 3 seeds (1, 2, 3)" in text
    assert "Clopper-Pearson" in text
    assert "noise floor: " in text
    assert "precision float32; device cpu (a); threads per cell 1; commit e2d2479" in text
    assert "times are exclusive" in text


def test_mixed_provenance_is_called_mixed() -> None:
    records = frame(
        record("retrain", 1, test_error_percent=1.0),
        record(
            "scrub", 1, test_error_percent=1.0, precision="bfloat16", device="H200", run_dirty=True, exclusive=False
        ),
    )
    text = "\n".join(table_notes(tables(records, [ERROR], ["scrub"])[0]))
    assert "MIXED precisions: float32, bfloat16; MIXED devices: cpu (a), H200" in text
    assert "MIXED commits: e2d2479, e2d2479+dirty" in text
    assert "times are NOT comparable: 1 of 2 models" in text


def test_one_seed_is_a_bare_value() -> None:
    records = frame(
        record("retrain", 4, test_error_percent=12.25, forget_error_percent=0.0),
        record("retrain_independent", 4, test_error_percent=13.0, forget_error_percent=0.0),
    )
    (table,) = tables(records, [ERROR, FORGET], [])
    values, differences = table_blocks(table, 100)
    assert by_name(values)["retrain"] == ["12.25", "0 (≤ 11.3)†"]
    assert by_name(differences) == {"retrain_independent": ["+0.75", "0.00"], "noise floor": ["0.75", "0.00"]}
    assert table_notes(table)[0] == "n = 1 seed (4): single values, no interval can be given"


def test_repeats_are_averaged_within_a_seed_and_rows_count_once() -> None:
    records = frame(
        *(record("retrain", seed, test_error_percent=50.0, forget_error_percent=0.0) for seed in (1, 2)),
        record("noisy", 1, test_error_percent=10.0, forget_error_percent=0.0),
        record("noisy", 1, repeat=1, test_error_percent=14.0, forget_error_percent=4.0),
        record("noisy", 2, test_error_percent=20.0, forget_error_percent=0.0),
        record("noisy", 2, repeat=1, test_error_percent=24.0, forget_error_percent=0.0),
    )
    (table,) = tables(records, [ERROR, FORGET], ["noisy"])
    noisy = table.rows[1].values
    assert noisy["test_error_percent"].mean == 17.0
    assert noisy["test_error_percent"].half_width == pytest.approx(12.7062 * 5, rel=1e-5)  # of 12 and 22, not of four
    assert format_estimate(noisy["forget_error_percent"], FORGET, 1).startswith("1.0 (")
    assert "after averaging 2 repeats within each seed" in table_notes(table)[0]


def test_settings_that_vary_split_rows_in_the_order_of_the_file() -> None:
    settings = {"method.milestones": [3, 5], "method.lr": 0.1}
    records = frame(
        *seeds("b", "test_error_percent", 1.0, 2.0, **settings, **{"method.lam": 2.0}),
        *seeds("b", "test_error_percent", 3.0, 4.0, **settings, **{"method.lam": 0.5}),
        *seeds("a", "test_error_percent", 5.0, 6.0),
        *seeds("retrain", "test_error_percent", 5.0, 6.0),
    )
    (table,) = tables(records, [ERROR], ["b", "a"])
    assert [row.name for row in table.rows] == ["retrain", "b lam=2", "b lam=0.5", "a", "noise floor"]
    assert table.rows[2].values["test_error_percent"].mean == 3.5


def test_any_label_can_be_what_the_others_are_compared_with() -> None:
    retrain = [10.0, 11.0, 12.0, 11.0, 10.0]
    records = frame(
        *seeds("retrain", "test_error_percent", *retrain),
        *seeds("retrain_independent", "test_error_percent", *retrain),
        *seeds("scrub", "test_error_percent", *(value + 5 for value in retrain)),
        *seeds("mine", "test_error_percent", 12.0, 13.1, 14.2, 12.9, 12.1),
    )
    (table,) = tables(records, [ERROR], ["scrub", "mine"], against="scrub")
    assert [block.title for block in table_blocks(table, 80)] == ["", "difference from scrub, same seed"]
    differences = {row.name: row.differences for row in table.rows}
    assert differences["retrain"]["test_error_percent"].mean == pytest.approx(-5.0)
    assert differences["mine"]["test_error_percent"].mean == pytest.approx(-2.94)
    assert not differences["scrub"]
    assert not differences["noise floor"]
    tests = table.families["test_error_percent"]
    assert (tests.size, tests.is_significant("mine")) == (1, True)  # neither Retrain nor the label itself is tested
    notes = "\n".join(table_notes(table))
    assert "differs from scrub at the 5 % level" in notes
    assert "minimum detectable difference from scrub" in notes


def test_a_label_to_compare_with_must_have_one_row() -> None:
    records = frame(
        *seeds("retrain", "test_error_percent", 1.0, 2.0),
        *seeds("scrub", "test_error_percent", 1.0, 2.0, **{"method.lr": 0.1}),
        *seeds("scrub", "test_error_percent", 3.0, 4.0, **{"method.lr": 0.2}),
    )
    with pytest.raises(InputError, match=r"against: digits, 25of3: scrub must have one row, has 2 \(lr=0.1, lr=0.2\)"):
        tables(records, [ERROR], ["scrub"], against="scrub")
    (table,) = tables(records, [ERROR], ["scrub"], against="finetune")  # which this group has no row of
    assert not any(row.differences for row in table.rows)


@pytest.mark.parametrize(
    ("column_name", "value"), [("recipe.lr", 0.1), ("precision", "bfloat16"), ("method", "ntk"), ("key", "other")]
)
def test_refuses_to_average_over_anything_but_seed_and_repeat(column_name: str, value: object) -> None:
    seed = 1 if column_name == "key" else 2
    records = frame(record("retrain", 1, test_error_percent=1.0), record("retrain", seed, **{column_name: value}))
    with pytest.raises(InputError, match=rf"digits, 25of3: retrain: would average over {column_name}"):
        tables(records, [ERROR], [])


def test_one_table_for_each_request_and_empty_columns_are_dropped() -> None:
    records = frame(
        *seeds("retrain", "test_error_percent", 1.0, 2.0, unlearn_seconds=None),
        *seeds("retrain", "test_error_percent", 3.0, 5.0, forget="class5"),
    )
    actual = tables(records, metric_columns(["errors", "seconds"]), [])
    assert [table.group["forget"] for table in actual] == ["25of3", "class5"]
    assert [c.name for c in actual[0].columns] == ["test_error_percent"]


def test_entries_never_show_a_half_width_of_zero() -> None:
    table = tables(frame(*seeds("retrain", "unlearn_seconds", 1.0, 1.0001, 1.0)), [TIME], [])[0]
    assert table_blocks(table, 80)[0].body[0][1] == "1.0000 ± 0.0001"
    unknown = frame(*seeds("retrain", "validation_error_percent", 0.0, 0.0))  # how many rows is not recorded
    (block, *_) = table_blocks(tables(unknown, [metric_format("validation_error_percent")], [])[0], 80)
    assert block.body[0][1] == "0.00 (all equal)"


@pytest.mark.parametrize(
    ("percents", "rows", "text"),
    [
        ((0.0, 0.0), 1000, "0 (≤ 0.15)†"),
        ((100.0, 100.0), 250, "100 (≥ 99.40)†"),
        ((0.1, 0.0), 1000, "0.05 (0.00–0.28)†"),
    ],
)
def test_bounds_near_0_and_100_keep_their_digits(percents: tuple[float, ...], rows: int, text: str) -> None:
    records = frame(*seeds("retrain", "forget_error_percent", *percents, forget_rows=rows))
    assert table_blocks(tables(records, [FORGET], [])[0], 80)[0].body[0][1] == text


def test_a_seed_without_a_value_is_not_hidden() -> None:
    records = frame(*seeds("retrain", "test_error_percent", 20.0, 22.0), record("retrain", 3))
    assert table_blocks(tables(records, [ERROR], [])[0], 80)[0].body[0][1] == "21.0 [n=2]"


@pytest.mark.parametrize(
    ("percents", "text"),
    [
        ((1.0, 2.0, 6.0), "3.0 (0–9.6)"),
        ((99.0, 94.0, 98.0), "97.0 (90.4–100)"),
        ((20.0, 21.0, 25.0), "22.0 ± 6.6"),
        ((0.0, 100.0, 50.0), "50.0 (0–100)"),
        ((1.0, 9.0), "5.0"),  # two seeds: no interval
    ],
)
def test_an_interval_of_a_percentage_stays_within_0_and_100(percents: tuple[float, ...], text: str) -> None:
    records = frame(*seeds("retrain", "test_error_percent", *percents, test_rows=100_000))
    table = tables(records, [ERROR], [])[0]
    assert table_blocks(table, 80)[0].body[0][1] == text
    words = "clipped" if len(percents) > 2 else "too few for an interval"
    assert words in table_notes(table)[0]


def test_a_difference_keeps_its_sign_and_is_not_clipped() -> None:
    records = frame(
        *seeds("retrain", "test_error_percent", 10.0, 10.0, 10.0),
        *seeds("scrub", "test_error_percent", 11.0, 12.0, 16.0),
    )
    _, differences = table_blocks(tables(records, [ERROR], ["scrub"])[0], 80)
    assert by_name(differences)["scrub"] == ["+3.0 ± 6.6"]


@pytest.mark.parametrize(("spread", "text"), [(1.0, "test error "), (90.0, "test error not estimable")])
def test_no_detectable_difference_of_percentages_exceeds_100_points(spread: float, text: str) -> None:
    records = frame(
        *seeds("retrain", "test_error_percent", 50.0, 50.0, 50.0),
        *seeds("scrub", "test_error_percent", 50.0, 50.0 + spread / 2, 50.0 - spread / 2),
    )
    (line,) = [line for line in table_notes(tables(records, [ERROR], ["scrub"])[0]) if "detectable" in line]
    assert line.partition(": ")[2].startswith(text)
    assert line.endswith(" pp") == (spread == 1.0)


def test_a_table_too_wide_is_cut_to_errors_and_the_rest() -> None:
    cut = [block for block in table_blocks(golden(), 70) if not block.title]
    assert [len(block.header) - 1 for block in cut] == [2, 2]
    assert all(sum(block.widths) + 2 * (len(block.widths) - 1) <= 70 for block in cut)
    assert all(len(line) == len(block.header) for block in cut for line in block.body)


def test_no_differences_no_table_of_them() -> None:
    records = frame(*seeds("retrain", "test_error_percent", 20.0, 22.0))
    assert [block.title for block in table_blocks(tables(records, [ERROR], [])[0], 80)] == [""]


def test_head_words_and_units() -> None:
    heads = [
        c.header().replace("\N{NO-BREAK SPACE}", " ") for c in metric_columns(["errors", "kl_to_retrain", "passes"])
    ]
    assert heads[:2] == ["test error (%)", "retain error (%)"]
    assert "KL forget, same seed (nats)" in heads
    assert heads[-1] == "backward passes (examples)"
    assert metric_format("parameter_distance").header() == "L2 distance to original"
    assert not SAME.is_divergence


def test_files_are_written(tmp_path: Path) -> None:
    pages = [table_document(golden(), 120)]
    paths = write_documents(pages, table_csv([golden()], "tiny"), "compare-tiny", tmp_path / "a" / "b")
    assert [path.name for path in paths] == ["compare-tiny.md", "compare-tiny.tex", "compare-tiny.csv"]
    assert [path.name for path in sorted(paths[0].parent.iterdir())] == sorted(path.name for path in paths)
    assert paths[0].read_text() == markdown(pages, "tiny")
    assert "| original | 5.0 (4.2–5.8)† | 0 (≤ 3.9)† |" in paths[0].read_text()
    assert paths[1].read_text() == latex(pages, "tiny")
    assert paths[2].read_text() == table_csv([golden()], "tiny")


def test_csv_has_a_line_for_each_entry() -> None:
    lines = list(csv.DictReader(table_csv([golden()], "tiny").splitlines()))
    (scrub,) = [line for line in lines if (line["label"], line["metric"]) == ("scrub", "test_error_percent")]
    assert float(scrub["mean"]) == 9.0
    assert float(scrub["half_width"]) == pytest.approx(2.4841, abs=1e-4)
    assert (float(scrub["difference_mean"]), scrub["difference_half_width"]) == (-2.0, "")
    assert (scrub["unit"], scrub["n"], scrub["seeds"], scrub["forget"]) == ("%", "3", "1 2 3", "25of3")
    (few,) = [line for line in lines if (line["label"], line["metric"]) == ("original", "forget_error_percent")]
    assert (few["events"], few["rows"], few["low_percent"]) == ("0", "75", "0.0")
    (floor,) = [line for line in lines if (line["label"], line["metric"]) == ("noise floor", "test_error_percent")]
    assert (floor["mean"], float(floor["difference_mean"])) == ("", pytest.approx(5 / 3))
