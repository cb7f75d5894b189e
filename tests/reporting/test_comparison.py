"""Who is called different from Retrain: Holm by hand, power and family-wise error by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_rel
from synthetic_records import frame, seeds

from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.stats.significance import (
    MIN_SEEDS,
    chance_percent,
    detectable_difference,
    family,
    holm,
    simulated_attacks,
)
from adaprob_ray.reporting.tables.format import SIGNIFICANCE_MARK, table_blocks, table_notes
from adaprob_ray.reporting.tables.model import CHANCE, Table, tables
from benchmarks.comparison import NAMES, detected, flagged, simulated_differences

ERROR = "test_error_percent"


def test_holms_steps_by_hand() -> None:
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert holm(p, 4) == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm(p, 6) == pytest.approx({"d": 0.03, "a": 0.05, "c": 0.12, "b": 0.12})  # two tests had no spread
    assert holm({"a": 0.9}, 3) == {"a": 1.0}


def test_p_is_the_paired_t_tests() -> None:
    draws = np.random.default_rng(1).normal(size=(2, 6))
    tests = family({"a": list(draws[0] - draws[1])})
    assert tests.p["a"] == pytest.approx(ttest_rel(draws[0], draws[1]).pvalue)


def test_equal_differences_count_in_the_family_and_are_never_found() -> None:
    spread = [1.0, 2.0, 3.0, 4.0, 5.0]
    tests = family({"a": spread, "b": [7.0] * 5})
    assert tests.size == 2
    assert not tests.is_significant("b")
    assert tests.p["a"] == pytest.approx(2 * ttest_1samp(spread, 0).pvalue)


@pytest.mark.parametrize(("n", "size"), [(3, 1), (5, 1), (5, 9), (10, 4)])
def test_the_detectable_difference_is_found_8_times_in_10(n: int, size: int) -> None:
    draws = np.random.default_rng(n).normal(2 * detectable_difference(1.0, n, size), 2.0, (20_000, n))
    power = np.mean(ttest_1samp(draws, 0, axis=1).pvalue < 0.05 / size)
    assert power == pytest.approx(0.8, abs=4 * 0.0028)  # four standard errors of a share of 0.8 in 20,000
    assert detectable_difference(3.0, n, size) == pytest.approx(3 * detectable_difference(1.0, n, size))


def simulated_table(generator: np.random.Generator, n: int, shift: float = 0.0) -> Table:
    """The same as Records."""
    retrain = generator.normal(20, 1, n)
    rows = _of("retrain", retrain)
    for name, differences in simulated_differences(generator, n, shift).items():
        rows += _of(name, retrain + differences)
    return tables(frame(*rows), [metric_format(ERROR)], NAMES)[0]


def _of(name: str, values: np.ndarray) -> list[dict]:
    return seeds(name, ERROR, *values.tolist(), method="retrain" if name == "retrain" else name)


@pytest.mark.slow
def test_an_independent_retraining_is_called_different_in_at_most_1_table_of_20() -> None:
    generator = np.random.default_rng(0)
    assert 0 < np.mean([flagged(generator, 5) for _ in range(1000)]) <= 0.05


@pytest.mark.slow
def test_a_difference_of_five_standard_deviations_is_found_at_five_seeds() -> None:
    generator = np.random.default_rng(3)
    assert np.mean([detected(generator, 5) for _ in range(300)]) >= 0.95


def test_fewer_than_five_seeds_claim_nothing_and_say_so() -> None:
    for n in (3, 4):
        table = simulated_table(np.random.default_rng(5), n, 40.0)
        assert not table.families[ERROR].is_significant("m7")
        assert any(f"{n} seeds are too few" in line for line in table_notes(table))
        assert not any(
            SIGNIFICANCE_MARK in text for block in table_blocks(table, 200) for line in block.body for text in line
        )
    assert MIN_SEEDS == 5


def test_what_is_found_is_marked_among_the_differences_alone() -> None:
    table = simulated_table(np.random.default_rng(5), 5, 20.0)
    values, differences = table_blocks(table, 200)
    marked = {line[0] for line in differences.body if line[1].endswith(SIGNIFICANCE_MARK)}
    assert marked == {"m7"}
    assert not any(text.endswith(SIGNIFICANCE_MARK) for line in values.body for text in line)
    assert any("80 % power" in line and "Holm's first step of 8)" in line for line in table_notes(table))


def test_of_adaprobs_readings_only_the_compared_one_is_in_the_family() -> None:
    generator = np.random.default_rng(2)
    rows = [row for name in ("retrain", "scrub") for row in _of(name, generator.normal(size=5))]
    readings = ("eq1", "script", "restore")
    rows += [row for name in readings for row in seeds(name, ERROR, *generator.normal(size=5), method="adaprob")]
    (table,) = tables(frame(*rows), [metric_format(ERROR)], ["scrub", *readings], "script")
    assert set(table.families[ERROR].p) == {"scrub", "script"}
    (table,) = tables(frame(*rows), [metric_format(ERROR)], ["scrub", *readings])
    assert set(table.families[ERROR].p) == {"scrub", *readings}


def test_the_line_without_signal_is_simulated_at_the_tables_size() -> None:
    name = "membership_accuracy_percent"
    rows = [
        record
        for label in ("original", "retrain")
        for record in seeds(label, name, 60.0, 62.0, test_other_classes_rows=900, forget_rows=25)
    ]
    (table,) = tables(frame(*rows), [metric_format(name)], [])
    (row,) = [row for row in table.rows if row.label == CHANCE]
    assert row.values[name].mean == chance_percent(25)
    assert any(line.startswith("chance level:") for line in table_notes(table))


@pytest.mark.slow
def test_stored_lines_without_signal_are_what_a_simulation_gives() -> None:
    scores = simulated_attacks(25, 60)
    known = chance_percent(25)
    assert known == pytest.approx(scores.mean(), abs=4 * scores.std() / np.sqrt(60))
    assert known == pytest.approx(47, abs=1)
    assert chance_percent(5) is None
