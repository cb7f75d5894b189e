"""Numbers that move without a bumped revision: old cells in people's stores would be mistaken for new ones."""

from __future__ import annotations

import copy
import math
from typing import Any

import golden_cells
import pytest

# Twelve steps of batch norm amplify another order of float32 sums to 1e-3: only the machine of the file is held to 1e-4.
SAME_MACHINE = golden_cells.made_with() == golden_cells.stored_with()
RELATIVE = 1e-4 if SAME_MACHINE else 1e-2
ABSOLUTE = 1e-6  # for numbers that are 0 up to float32, such as the residual of the projection
Entries = dict[str, dict[str, Any]]


def moved(then: dict[str, float], now: dict[str, float]) -> list[str]:
    """One phrase for each number that is there as before and not as it was."""
    return [
        f"{name} {then[name]} -> {now[name]}"
        for name in sorted(then.keys() & now.keys())
        if not math.isclose(then[name], now[name], rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    ]


def faults(then: Entries, now: Entries) -> list[str]:
    """What is wrong with the golden file or the revisions, one line for each cell, causes before their consequences."""
    lines, changed = [], {name for name in now if name in then and moved(then[name]["numbers"], now[name]["numbers"])}
    for name in sorted(then.keys() | now.keys(), key=lambda name: list(now).index(name) if name in now else -1):
        if name not in then or name not in now:
            lines.append(f"{name}: {'new' if name in now else 'gone'}; run python tests/golden/regenerate.py")
            continue
        was, revisions = then[name]["revisions"], now[name]["revisions"]
        if revisions != was:
            lines.append(f"{name}: revisions {was} -> {revisions}; run python tests/golden/regenerate.py")
        elif name in changed:
            upstream = sorted(changed & set(now[name]["parents"]))
            numbers = "; ".join(moved(then[name]["numbers"], now[name]["numbers"])[:4])
            advice = (
                f"because of {', '.join(upstream)}"
                if upstream
                else f"bump the revision of what you changed, one of {', '.join(sorted(revisions))}, "
                "then run python tests/golden/regenerate.py"
            )
            lines.append(f"{name}: numbers moved and no revision did ({numbers}): {advice}")
        elif then[name]["numbers"].keys() != now[name]["numbers"].keys():
            names = ", ".join(sorted(then[name]["numbers"].keys() ^ now[name]["numbers"].keys()))
            lines.append(f"{name}: numbers are new or gone ({names}); run python tests/golden/regenerate.py")
    return lines


@pytest.fixture(scope="module")
def now() -> Entries:
    return golden_cells.compute()


@pytest.mark.slow
def test_no_number_moved_without_a_revision(now: Entries) -> None:
    found = faults(golden_cells.stored(), now)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.slow
def test_every_stage_method_and_metric_has_a_golden_cell(now: Entries) -> None:
    named = {revision for entry in now.values() for revision in entry["revisions"]}
    assert {f"stage:{stage}" for stage in golden_cells.STAGES} <= named
    assert {f"method:{method}" for method in golden_cells.METHODS} <= named
    assert {f"metric:{metric}" for metric in golden_cells.METRICS} <= named
    assert {f"architecture:{name}" for name in golden_cells.ARCHITECTURES} <= named
    columns = {
        column for metric in golden_cells.METRICS.values() for column in metric.columns if "seconds" not in column
    }
    columns.remove("membership_tpr_at_1_percent")  # None: digits has no 1,000 test rows of a class
    assert columns <= {name for entry in now.values() for name in entry["numbers"]}


def test_a_moved_number_names_the_revision_to_bump_and_only_its_cause() -> None:
    then = golden_cells.stored()
    for name in ("unlearn scrub", "evaluate scrub"):
        assert name in then
    moved_on = copy.deepcopy(then)
    moved_on["unlearn scrub"]["numbers"]["weights_norm"] *= 1 + 3 * RELATIVE
    moved_on["evaluate scrub"]["numbers"]["kl_test_nats"] *= 1.1
    cause, consequence = sorted(faults(then, moved_on), reverse=True)
    assert cause.startswith("unlearn scrub: numbers moved and no revision did (weights_norm")
    assert "method:scrub" in cause
    assert "bump the revision" in cause
    assert consequence.endswith("because of unlearn scrub")
    within = copy.deepcopy(then)
    within["unlearn scrub"]["numbers"]["weights_norm"] *= 1 + 0.3 * RELATIVE
    assert faults(then, within) == []


def test_a_bumped_revision_asks_for_a_new_file() -> None:
    then = golden_cells.stored()
    bumped = copy.deepcopy(then)
    bumped["unlearn scrub"]["revisions"]["method:scrub"] += 1
    bumped["unlearn scrub"]["numbers"]["weights_norm"] *= 2
    bumped["evaluate new"] = bumped.pop("evaluate adaprob")
    del bumped["evaluate scrub"]["numbers"]["kl_test_nats"]
    lines = faults(then, bumped)
    assert len(lines) == 4
    assert all("regenerate" in line for line in lines)
