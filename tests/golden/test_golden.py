"""Numbers that move without a bumped revision: old cells in people's stores would be mistaken for new ones."""

from __future__ import annotations

import copy
import math
from typing import Any

import golden_cells
import pytest

# float64 numbers differ by at most 1e-10 between instruction sets, from SSE4.1 to AVX-512 (projection residuals of 1e-11, and
# shifts that are 0 up to float64, by more): 1e-6 leaves room for other libraries and is far below what a change moves.
TOLERANCES = {"float64": {"rel_tol": 1e-6, "abs_tol": 1e-9}, "float32": {"rel_tol": 1e-4, "abs_tol": 1e-6}}
RELATIVE = {precision: tolerance["rel_tol"] for precision, tolerance in TOLERANCES.items()}
# Twelve steps of batch norm amplify another order of float32 sums to 1e-3, and one row's top class may change with it. So
# float32 numbers are compared only where processor and versions are those of the file; on others they obey the laws below.
SAME_MACHINE = golden_cells.made_with() == golden_cells.stored_with()
# Of the solver: its default tolerance (adaprob_ray.projection.project).
PROJECTION_TOLERANCE = 1e-9
EXACT = ("_rows", "_examples")  # counts, which no rounding changes
ROWS_OF_ERRORS = {
    f"{part}_error_percent": f"{part}_rows" for part in ("forget", "retain", "test", "validation", "test_other_classes")
}
Entries = dict[str, dict[str, Any]]


def moved(then: dict[str, Any], now: dict[str, Any], *, same_machine: bool) -> list[str]:
    """One phrase for each number of a cell that is there as before and not as it was.

    A cell that was added on another machine than the rest of the file names that machine.
    """
    if "made_with" in then:
        same_machine = then["made_with"] == golden_cells.made_with()
    phrases = []
    for precision, tolerance in TOLERANCES.items():
        before, after = then[precision], now[precision]
        for name in sorted(before.keys() & after.keys()):
            if precision == "float64" or same_machine:
                same = math.isclose(before[name], after[name], **tolerance)
            else:
                same = not name.endswith(EXACT) or before[name] == after[name]
            if not same:
                phrases.append(f"{precision} {name} {before[name]} -> {after[name]}")
    return phrases


def broken_laws(numbers: dict[str, float]) -> list[str]:
    """One phrase for each number of a cell that no processor may give."""
    broken = [f"{name} {value} is not finite" for name, value in numbers.items() if not math.isfinite(value)]
    laws = {
        "_percent": lambda value: 0 <= value <= 100,
        "_nats": lambda value: value >= 0,
        "_distance": lambda value: value >= 0,
        "_size": lambda value: value > 0,
        "weights_norm": lambda value: value > 0,
        "target_shift": lambda value: 0 <= value <= 1,
        "target_shift_retain": lambda value: 0 <= value <= 1,
        "projection_residual": lambda value: 0 <= value <= PROJECTION_TOLERANCE,
        "_steps": lambda value: value >= 1 and value == int(value),
        "rewound_to": lambda value: value >= 1 and value == int(value),
    }
    for ending, law in laws.items():
        broken += [
            f"{name} {value} is out of range"
            for name, value in numbers.items()
            if name.endswith(ending) and not law(value)
        ]
    for error, rows in ROWS_OF_ERRORS.items():
        if error in numbers and rows in numbers:
            wrong = numbers[error] / 100 * numbers[rows]
            if not math.isclose(wrong, round(wrong), abs_tol=1e-6):
                broken.append(f"{error} {numbers[error]} is no share of {numbers[rows]:g} rows")
    if "membership_auc_percent" in numbers:
        low, auc, high = (numbers[f"membership_auc_{name}percent"] for name in ("low_", "", "high_"))
        if not low <= auc <= high:
            broken.append(f"membership_auc_percent {auc} is outside its interval, {low} to {high}")
    return broken


def faults(then: Entries, now: Entries, *, same_machine: bool = SAME_MACHINE) -> list[str]:
    """What is wrong with the golden file or the revisions, one line for each cell, causes before their consequences."""
    both = [name for name in now if name in then]
    changes = {name: moved(then[name], now[name], same_machine=same_machine) for name in both}
    changed = {name for name in both if changes[name]}
    lines = []
    for name in sorted(then.keys() | now.keys(), key=lambda name: list(now).index(name) if name in now else -1):
        if name not in then or name not in now:
            lines.append(f"{name}: {'new' if name in now else 'gone'}; run python tests/golden/regenerate.py")
            continue
        was, revisions = then[name]["revisions"], now[name]["revisions"]
        names = {
            number for precision in TOLERANCES for number in then[name][precision].keys() ^ now[name][precision].keys()
        }
        broken = [phrase for precision in TOLERANCES for phrase in broken_laws(now[name][precision])]
        if broken:
            lines.append(f"{name}: {'; '.join(broken)}")
        elif revisions != was:
            lines.append(f"{name}: revisions {was} -> {revisions}; run python tests/golden/regenerate.py")
        elif name in changed:
            upstream = sorted(changed & set(now[name]["parents"]))
            advice = (
                f"because of {', '.join(upstream)}"
                if upstream
                else f"bump the revision of what you changed, one of {', '.join(sorted(revisions))}, "
                "then run python tests/golden/regenerate.py"
            )
            lines.append(f"{name}: numbers moved and no revision did ({'; '.join(changes[name][:4])}): {advice}")
        elif names:
            lines.append(
                f"{name}: numbers are new or gone ({', '.join(sorted(names))}); run python tests/golden/regenerate.py"
            )
    return lines


@pytest.fixture(scope="module")
def now() -> Entries:
    return golden_cells.compute()


@pytest.mark.slow
def test_no_number_moved_without_a_revision(now: Entries) -> None:
    actual = faults(golden_cells.stored(), now)
    assert not actual, "\n".join(
        ["", *actual, f"stored: {golden_cells.stored_with()}", f"here: {golden_cells.made_with()}"]
    )


@pytest.mark.slow
def test_every_stage_method_and_metric_has_a_golden_cell(now: Entries) -> None:
    named = {revision for entry in now.values() for revision in entry["revisions"]}
    assert {f"stage:{stage}" for stage in golden_cells.GOLDEN_STAGES} <= named
    assert {f"method:{method}" for method in golden_cells.GOLDEN_METHODS} <= named
    assert {f"metric:{metric}" for metric in golden_cells.METRICS} <= named
    assert {f"architecture:{name}" for name in golden_cells.ARCHITECTURES} <= named
    columns = {
        column for metric in golden_cells.METRICS.values() for column in metric.columns if "seconds" not in column
    }
    columns.remove("membership_tpr_at_1_percent")  # None: digits has no 1,000 test rows of a class
    for precision in TOLERANCES:
        assert columns <= {name for entry in now.values() for name in entry[precision]}


# -- the comparison itself ----------------------------------------------------------------------------------------------------

on_every_machine = pytest.mark.parametrize("same_machine", [True, False], ids=["same machine", "another"])


def changed_number(cell: str, precision: str, name: str, value: float) -> Entries:
    """The stored cells with one number replaced."""
    entries = copy.deepcopy(golden_cells.stored())
    assert name in entries[cell][precision]
    entries[cell][precision][name] = value
    return entries


@on_every_machine
def test_a_moved_number_names_the_revision_to_bump_and_only_its_cause(same_machine: bool) -> None:
    then = golden_cells.stored()
    for name in ("unlearn scrub", "evaluate scrub"):
        assert name in then
    moved_on = copy.deepcopy(then)
    moved_on["unlearn scrub"]["float64"]["weights_norm"] *= 1 + 3 * RELATIVE["float64"]
    moved_on["evaluate scrub"]["float64"]["kl_test_nats"] *= 1.1
    cause, consequence = sorted(faults(then, moved_on, same_machine=same_machine), reverse=True)
    assert cause.startswith("unlearn scrub: numbers moved and no revision did (float64 weights_norm")
    assert "method:scrub" in cause
    assert "bump the revision" in cause
    assert consequence.endswith("because of unlearn scrub")
    within = copy.deepcopy(then)
    within["unlearn scrub"]["float64"]["weights_norm"] *= 1 + 0.3 * RELATIVE["float64"]
    assert faults(then, within, same_machine=same_machine) == []


def test_a_float32_number_may_move_on_another_machine_alone() -> None:
    then = golden_cells.stored()
    norm = then["unlearn scrub"]["float32"]["weights_norm"]
    within, beyond = (
        changed_number("unlearn scrub", "float32", "weights_norm", norm * (1 + factor * RELATIVE["float32"]))
        for factor in (0.3, 3)
    )
    assert faults(then, within, same_machine=True) == []
    (line,) = faults(then, beyond, same_machine=True)
    assert line.startswith("unlearn scrub: numbers moved and no revision did (float32 weights_norm")
    assert faults(then, beyond, same_machine=False) == []


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize(
    ("cell", "name", "value"),
    [
        ("evaluate scrub", "forget_rows", 26.0),
        ("unlearn scrub", "backward_examples", 1.0),
        ("unlearn scrub", "weights_norm", math.nan),
        ("unlearn scrub", "weights_norm", 0.0),
        ("evaluate scrub", "test_error_percent", 100.1),
        ("evaluate scrub", "test_error_percent", 50.1),  # of 360 rows
        ("evaluate scrub", "kl_test_nats", -0.1),
        ("evaluate scrub", "membership_auc_high_percent", 1.0),
        ("unlearn adaprob", "projection_residual", 1e-3),
        ("unlearn adaprob", "target_shift", 1.5),
        ("unlearn scrub_rewind", "rewound_to", 0.0),
        ("unlearn scrub", "parameter_distance", -1.0),
    ],
)
@on_every_machine
def test_a_number_that_no_processor_gives_is_reported_everywhere(
    same_machine: bool, cell: str, name: str, value: float, precision: str
) -> None:
    (line,) = faults(golden_cells.stored(), changed_number(cell, precision, name, value), same_machine=same_machine)
    assert line.startswith(f"{cell}: ")
    assert name in line or name == "membership_auc_high_percent"


def test_the_stored_numbers_obey_the_laws() -> None:
    stored = golden_cells.stored()
    assert faults(stored, stored) == []


@pytest.mark.parametrize("precision", TOLERANCES)
@on_every_machine
def test_a_number_that_is_gone_asks_for_a_new_file(same_machine: bool, precision: str) -> None:
    then = golden_cells.stored()
    without = copy.deepcopy(then)
    del without["evaluate scrub"][precision]["kl_test_nats"]
    for before, after in ((then, without), (without, then)):
        (line,) = faults(before, after, same_machine=same_machine)
        assert line.startswith("evaluate scrub: numbers are new or gone (kl_test_nats); run python tests/golden/regen")


@on_every_machine
def test_a_bumped_revision_asks_for_a_new_file(same_machine: bool) -> None:
    then = golden_cells.stored()
    bumped = copy.deepcopy(then)
    bumped["unlearn scrub"]["revisions"]["method:scrub"] += 1
    bumped["unlearn scrub"]["float64"]["weights_norm"] *= 2
    bumped["evaluate new"] = bumped.pop("evaluate adaprob")
    lines = faults(then, bumped, same_machine=same_machine)
    assert len(lines) == 3
    assert all("regenerate" in line for line in lines)


def test_another_instruction_set_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = golden_cells.made_with()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SOME_SET")
    assert golden_cells.made_with() != here
