"""Plans while cells run: laws that hold in whatever order cells end, and however they end."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import BASE, Family, expand, with_value

from adaprob_ray.errors import RETRIES_BY_FAILURE_CLASS, Failure, InputError, StoreError
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome
from adaprob_ray.sweep.plan import STATES, Plan
from adaprob_ray.sweep.select import select_cells

ROOT = Path(__file__).resolve().parents[2]
DONE = Outcome("done", 1.0)


def failed(kind: str) -> Outcome:
    return Outcome("failed", 1.0, Failure(failure_class=kind, message="no luck"))


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Cell]:
    """Up to twelve cells, each with up to three earlier ones as parents; some are exclusive."""
    family = Family()
    for number in range(draw(st.integers(1, 12))):
        earlier = list(family.cells.values())
        parents = draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if number else []
        stage = draw(st.sampled_from(["pretrain", "train", "unlearn", "evaluate"]))
        family.add(*parents, stage=stage, exclusive=draw(st.booleans()))
    return family.cells


def ancestors(cells: dict[str, Cell], key: str) -> set[str]:
    keys: set[str] = set()
    for parent in cells[key].parents.values():
        keys |= {parent} | ancestors(cells, parent)
    return keys


class Executor:
    """Draws cells from a plan, up to `slots` at once, and ends them in an order and way that Hypothesis chooses."""

    def __init__(self, plan: Plan, data: st.DataObject, slots: int) -> None:
        self.plan, self.data, self.slots = plan, data, slots
        self.running: list[Cell] = []
        self.started: list[str] = []
        self.steps = 0

    def step(self, how: Any) -> Cell | None:
        """Start what fits, then end one cell with the outcome that `how` gives; None when nothing runs."""
        self.steps += 1
        assert self.steps < 1000, "no end"
        for cell in self.plan.ready()[: self.slots - len(self.running)]:
            self.plan.started(cell)
            self.running.append(cell)
            self.started.append(cell.key)
        if not self.running:
            assert self.plan.leased(), f"deadlock: {self.plan.counts()}"
            return None
        cell = self.running.pop(self.data.draw(st.integers(0, len(self.running) - 1)))
        self.plan.finished(cell, how(cell))
        assert sum(self.plan.counts().values()) == len(self.plan.cells)
        return cell


@settings(max_examples=200)
@given(cells=graphs(), slots=st.integers(1, 4), data=st.data())
def test_every_cell_runs_once_and_after_its_parents(cells: dict[str, Cell], slots: int, data: st.DataObject) -> None:
    plan = Plan(cells)
    executor = Executor(plan, data, slots)
    ended: set[str] = set()

    def how(cell: Cell) -> Outcome:
        assert set(cell.parents.values()) <= ended
        ended.add(cell.key)
        return DONE

    while not plan.exhausted():
        executor.step(how)
    assert Counter(executor.started) == Counter(dict.fromkeys(cells, 1))
    assert [key for key, _ in plan.executed] == list(dict.fromkeys(key for key, _ in plan.executed))
    assert plan.counts()["done"] == len(cells)


@settings(max_examples=200)
@given(cells=graphs(), slots=st.integers(1, 3), data=st.data())
def test_a_failure_blocks_its_descendants_and_nothing_else(
    cells: dict[str, Cell], slots: int, data: st.DataObject
) -> None:
    bad = set(data.draw(st.lists(st.sampled_from(list(cells)), max_size=3)))
    plan = Plan(cells)
    executor = Executor(plan, data, slots)
    while not plan.exhausted():
        executor.step(lambda cell: failed("code") if cell.key in bad else DONE)
    for key, cell in cells.items():
        blocked = bool(ancestors(cells, key) & bad)
        assert plan.state(key) == ("blocked" if blocked else "failed" if key in bad else "done")
        if blocked:
            nearest = set(plan.blocked_by(key))
            assert nearest
            assert nearest <= {cells[k].title for k in ancestors(cells, key) & bad}
        assert (cell.key in plan.failures) is (plan.state(key) == "failed")


@settings(max_examples=200)
@given(cells=graphs(), done=st.data())
def test_what_the_store_has_is_not_run_again(cells: dict[str, Cell], done: st.DataObject) -> None:
    have = set(done.draw(st.lists(st.sampled_from(list(cells)))))
    plan = Plan(cells, done=[*have, "of another sweep"])
    executor = Executor(plan, done, 2)
    while not plan.exhausted():
        executor.step(lambda cell: DONE)
    assert set(executor.started) == cells.keys() - have


@settings(max_examples=150)
@given(cells=graphs(), slots=st.integers(1, 3), data=st.data())
def test_no_history_ends_in_a_deadlock(cells: dict[str, Cell], slots: int, data: st.DataObject) -> None:
    """Failures of every class, cells found elsewhere that end or come free, artefacts found corrupt: it always ends."""
    plan = Plan(cells, leased=data.draw(st.lists(st.sampled_from(list(cells)))))
    executor = Executor(plan, data, slots)
    troubles = Counter[str]()
    valid: set[str] = set()  # what a store would hold

    def how(cell: Cell) -> Outcome:
        kinds = ["done", "cached", "leased", *RETRIES_BY_FAILURE_CLASS, *(["inputs_corrupt"] if cell.parents else [])]
        kind = data.draw(st.sampled_from(kinds if troubles[cell.key] < 3 else ["done"]))
        troubles[cell.key] += kind not in ("done", "cached")
        if kind == "inputs_corrupt":
            revoked = data.draw(st.lists(st.sampled_from(sorted(cell.parents.values())), min_size=1, unique=True))
            valid.difference_update(revoked)
            return Outcome("inputs_corrupt", revoked=tuple(revoked))
        if kind == "leased":
            return Outcome("leased")
        if kind in ("done", "cached"):
            valid.add(cell.key)
            return Outcome(kind)
        return failed(kind)

    while not plan.exhausted():
        ended = executor.step(how)
        for cell in plan.leased():
            if ended is None or data.draw(st.booleans()):
                state = data.draw(st.sampled_from(["done", "free"]))
                valid |= {cell.key} if state == "done" else set()
                plan.observe(cell, state)
    for key in cells:
        assert plan.state(key) in ("done", "failed", "blocked")
        assert key in valid or plan.state(key) != "done", "done, though its artefacts were revoked"
        if plan.state(key) == "blocked":
            assert any(plan.state(parent) in ("failed", "blocked") for parent in cells[key].parents.values())


# -- cells that are added later -----------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(cells=graphs(), data=st.data())
def test_a_plan_that_grew_is_the_plan_of_all_its_cells(cells: dict[str, Cell], data: st.DataObject) -> None:
    """Whatever had happened before, and whatever the store knows of the new cells; the order in which cells start too."""
    order = list(cells)
    size = data.draw(st.integers(0, len(order)))
    first = {key: cells[key] for key in order[:size]}
    permutation = data.draw(st.lists(st.sampled_from(order), unique=True))
    place = data.draw(st.integers(0, len(permutation)))
    done, leased = set(permutation[:place]), set(permutation[place:])
    past, skipped = data.draw(st.sets(st.sampled_from(order))), data.draw(st.sets(st.sampled_from(order), max_size=2))
    failure = Failure(failure_class="diverged", message="no luck")
    known = {"done": done, "leased": leased, "past_failures": past, "skip_failures": dict.fromkeys(skipped, failure)}
    grown, whole = Plan(first, **known), Plan(cells, **known)
    for _ in range(data.draw(st.integers(0, 6))):
        if not grown.ready():
            break
        cell = data.draw(st.sampled_from(list(grown.ready())))
        outcome = data.draw(st.sampled_from([DONE, failed("code"), failed("preempted"), Outcome("leased"), None]))
        for plan in (grown, whole):
            plan.started(cell)
            if outcome is not None:
                plan.finished(cell, outcome)
    before = grown.ready()
    listed = list(before)
    grown.extend(cells, **known)
    assert list(before) == listed, "what was drawn before stays as it was"
    assert list(grown.cells) == list(whole.cells)
    assert {key: grown.state(key) for key in cells} == {key: whole.state(key) for key in cells}
    assert list(grown.ready()) == list(whole.ready())
    assert grown.counts() == whole.counts()
    assert (grown.failures, grown.skipped, grown.past_failures) == (whole.failures, whole.skipped, whole.past_failures)
    executors = [Executor(plan, data, 1) for plan in (grown, whole)]
    for executor in executors:
        executor.running = executor.plan.running()
        while any(executor.plan.counts()[state] for state in ("ready", "running")):
            executor.slots = 1 + len(executor.running)
            executor.step(lambda cell: DONE)
    assert {key: grown.state(key) for key in cells} == {key: whole.state(key) for key in cells}


def test_cells_that_were_added_earlier_start_first() -> None:
    family = Family()
    early = [family.add(stage="unlearn") for _ in range(3)]
    plan = Plan(dict(family.cells))
    late, long = family.add(stage="unlearn"), family.add(stage="train")
    plan.extend(family.cells)
    assert list(plan.ready()) == [long, *early, late]


def test_a_new_child_gives_its_parents_a_longer_path() -> None:
    family = Family()
    first, second = family.add(stage="unlearn"), family.add(stage="unlearn")
    plan = Plan(dict(family.cells))
    assert list(plan.ready()) == [first, second]
    family.add(second, stage="train")
    plan.extend(family.cells)
    assert list(plan.ready()) == [second, first]


def test_a_plan_without_cells_is_exhausted_until_it_grows() -> None:
    family = Family()
    cell = family.add()
    plan = Plan({})
    assert plan.exhausted()
    plan.extend(family.cells)
    assert list(plan.ready()) == [cell]
    plan.extend(family.cells)
    assert plan.counts()["ready"] == 1, "cells that it has already are ignored"


@pytest.mark.parametrize("kind", RETRIES_BY_FAILURE_CLASS)
def test_each_class_of_failure_has_its_number_of_tries(kind: str) -> None:
    family = Family()
    parent = family.add()
    child = family.add(parent)
    plan = Plan(family.cells)
    tries = 0
    while plan.ready():
        (cell,) = plan.ready()
        plan.started(cell)
        plan.finished(cell, failed(kind))
        tries += 1
    assert tries == 1 + RETRIES_BY_FAILURE_CLASS[kind]
    assert (plan.state(parent.key), plan.state(child.key)) == ("failed", "blocked")
    assert plan.failures == {parent.key: Failure(failure_class=kind, message="no luck")}


def test_only_what_may_pass_by_itself_is_tried_again() -> None:
    retries = {"code": 0, "diverged": 0, "timeout": 0, "storage": 2, "preempted": 3, "out_of_memory": 1}
    assert RETRIES_BY_FAILURE_CLASS.items() >= retries.items()


def test_a_try_that_works_after_some_that_failed_is_done() -> None:
    family = Family()
    parent, plan = family.add(), Plan(family.cells)
    for outcome in (failed("storage"), failed("storage"), DONE):
        plan.started(parent)
        plan.finished(parent, outcome)
    assert plan.state(parent.key) == "done"
    assert not plan.failures


def test_a_past_failure_is_ready_again() -> None:
    family = Family()
    cell = family.add()
    plan = Plan(family.cells, past_failures=[cell.key, "of another sweep"])
    assert plan.state(cell.key) == "ready"
    assert plan.past_failures == {cell.key}


def test_a_skipped_failure_blocks_what_is_below_and_nothing_that_is_done_or_runs() -> None:
    family = Family()
    bad, done, leased, other = (family.add() for _ in range(4))
    below = family.add(bad)
    failure = Failure(failure_class="diverged", message="NaN")
    skipped = dict.fromkeys([bad.key, done.key, leased.key, "of another sweep"], failure)
    plan = Plan(family.cells, done=[done.key], leased=[leased.key], skip_failures=skipped)
    states = [plan.state(cell.key) for cell in (bad, below, done, leased, other)]
    assert states == ["failed", "blocked", "done", "leased", "ready"]
    assert plan.failures == {bad.key: failure}
    assert plan.skipped == {bad.key}
    assert list(plan.ready()) == [other]


def test_a_failure_of_this_run_is_not_skipped() -> None:
    family = Family()
    cell = family.add()
    plan = Plan(family.cells)
    plan.started(cell)
    plan.finished(cell, failed("code"))
    assert plan.failures.keys() == {cell.key}
    assert plan.skipped == frozenset()


def test_stale_parents_are_made_again_before_the_cell_that_noticed() -> None:
    family = Family()
    parent = family.add()
    one, two, three = family.add(parent), family.add(parent), family.add(parent)
    plan = Plan(family.cells, done=[parent.key, three.key])
    plan.started(one)
    plan.finished(one, Outcome("inputs_corrupt", revoked=(parent.key,)))
    assert [plan.state(c.key) for c in (parent, one, two, three)] == ["ready", "waiting", "waiting", "done"]
    plan.started(parent)
    plan.finished(parent, DONE)
    assert [plan.state(c.key) for c in (one, two)] == ["ready", "ready"]


def test_two_children_may_notice_the_same_stale_parent() -> None:
    family = Family()
    parent = family.add()
    children = [family.add(parent), family.add(parent)]
    plan = Plan(family.cells, done=[parent.key])
    for child in children:
        plan.started(child)
    for child in children:
        plan.finished(child, Outcome("inputs_corrupt", revoked=(parent.key,)))
    assert list(plan.ready()) == [parent]


def test_the_longest_remaining_path_goes_first_then_the_order_of_the_file() -> None:
    family = Family()
    short, first = family.add(stage="evaluate"), family.add(stage="train")
    long = family.add(stage="train")
    middle = family.add(long, stage="unlearn")
    family.add(middle, stage="evaluate")
    assert list(Plan(family.cells).ready()) == [long, first, short]


def test_weights_decide_in_place_of_the_stages_priorities() -> None:
    family = Family()
    short, first = family.add(stage="train"), family.add(stage="train")
    long = family.add(stage="evaluate")
    middle = family.add(long, stage="evaluate")
    weights = {short.key: 1.0, first.key: 2.0, long.key: 1.5, middle.key: 1.0}
    assert list(Plan(family.cells, weights=weights).ready()) == [long, first, short]


def test_what_was_ready_stays_as_it_was() -> None:
    """The executors look at the cells that were ready while they start some of them."""
    family = Family()
    cells = [family.add() for _ in range(3)]
    plan = Plan(family.cells)
    ready = plan.ready()
    plan.started(ready[0])
    assert list(ready) == cells
    assert list(plan.ready()) == ready[1:] == cells[1:]


@pytest.mark.parametrize("stages", [["train", "unlearn", "evaluate"], ["train", "unlearn"], ["unlearn"]])
def test_exclusive_cells_go_seed_by_seed_and_methods_interleave(stages: list[str]) -> None:
    """One at a time, as the local executor works: of each stage all seeds in order, and within a seed all methods."""
    document = with_value(with_value(BASE, "grid.seed", [3, 1, 2]), "methods", {"scrub": {}, "adaprob": {}})
    document = with_value(document, "grid.architecture", ["resnet18", "allcnn"])
    plan, order = Plan(expand({**document, "resources": {stage: {"exclusive": True} for stage in stages}})), []
    while not plan.exhausted():
        cell = plan.ready()[0]
        plan.started(cell)
        plan.finished(cell, DONE)
        order.append(cell)
    alone = [cell for cell in order if cell.stage in stages]
    assert [cell.settings.seed for cell in alone] == sorted(cell.settings.seed for cell in alone)
    unlearned = [(cell.settings.seed, cell.label) for cell in order if cell.stage == "unlearn"]
    assert unlearned == [(seed, label) for seed in (1, 2, 3) for label in ("scrub", "adaprob") * 2]


def test_exclusive_cells_stand_after_the_others_whatever_their_path() -> None:
    family = Family()
    alone = family.add(stage="train", exclusive=True)
    family.add(alone, stage="unlearn")
    short, long = family.add(stage="evaluate"), family.add(stage="pretrain")
    assert list(Plan(family.cells).ready()) == [long, short, alone]


def test_a_cell_elsewhere_holds_its_children_until_it_ends_or_comes_free() -> None:
    family = Family()
    parent = family.add()
    child = family.add(parent)
    plan = Plan(family.cells, leased=[parent.key])
    assert plan.leased() == [parent]
    assert not plan.ready()
    assert not plan.exhausted()
    plan.observe(parent, "free")
    assert list(plan.ready()) == [parent]
    plan.started(parent)
    plan.finished(parent, Outcome("leased"))
    plan.observe(parent, "done")
    assert list(plan.ready()) == [child]
    assert not plan.executed


def test_a_try_that_fails_once_its_parent_has_failed_too_blocks_all_below() -> None:
    """One child finds the parent corrupt, the parent cannot be made again, and then the other child asks for another try."""
    family = Family()
    parent = family.add()
    one, two = family.add(parent), family.add(parent)
    below = family.add(two)
    plan = Plan(family.cells, done=[parent.key])
    for child in (one, two):
        plan.started(child)
    plan.finished(one, Outcome("inputs_corrupt", revoked=(parent.key,)))
    plan.started(parent)
    plan.finished(parent, failed("code"))
    plan.finished(two, failed("storage"))
    assert [plan.state(c.key) for c in (parent, one, two, below)] == ["failed", "blocked", "blocked", "blocked"]
    assert plan.exhausted()


def test_a_graph_of_ten_thousand_cells_is_planned_and_worked_off() -> None:
    document = with_value(BASE, "grid.seed", list(range(1, 1001)))
    document = with_value(document, "methods", {"scrub": {}, "adaprob": {"lam": [0.5, 1.0]}})
    cells = expand(document)
    assert len(cells) == 1000 * (3 + 3 + 6)
    plan = Plan(cells)
    started = 0
    while not plan.exhausted():
        wave = plan.ready()
        for cell in wave:
            plan.started(cell)
            plan.finished(cell, DONE)
        started += len(wave)
    assert started == len(cells)


def test_a_long_chain_is_no_trouble() -> None:
    family = Family()
    cell = family.add()
    for _ in range(3000):
        cell = family.add(cell)
    plan = Plan(family.cells)
    first = plan.ready()[0]
    plan.started(first)
    plan.finished(first, failed("code"))
    assert plan.counts() == {**dict.fromkeys(STATES, 0), "failed": 1, "blocked": 3000}


# -- --only ------------------------------------------------------------------------------------------------------------

CELLS = expand(
    {
        **BASE,
        "grid": {
            "dataset": ["dots", "cifar10"],
            "architecture": ["allcnn", "resnet18"],
            "forget": [{"kind": "class", "class": 0}, {"kind": "selective", "class": 1, "count": 5}],
            "seed": [1, 2, 3],
        },
        "methods": {"scrub": {}, "a": {"method": "adaprob"}},
        "repeats": 2,
    }
)


ORACLES: dict[str, Any] = {
    "method=scrub": lambda c: c.method == "scrub",
    "method=scrub,seed<3": lambda c: c.method == "scrub" and c.settings.seed < 3,
    " stage = train , seed >= 2 ": lambda c: c.stage == "train" and c.settings.seed >= 2,
    "label=a,repeat!=0": lambda c: c.label == "a" and c.settings.repeat == 1,
    "dataset=dots": lambda c: c.settings.dataset.name == "dots",
    "architecture!=allcnn": lambda c: c.settings.architecture.name == "resnet18",
    "forget=class": lambda c: getattr(c.forget, "kind", None) == "class",
    "forget=class0": lambda c: str(c.forget) == "class0",
    "forget=5of1": lambda c: str(c.forget) == "5of1",
    "forget!=5of1": lambda c: str(c.forget) == "class0",
    "class=1": lambda c: getattr(c.forget, "class_index", None) == 1,
    "count<=5": lambda c: getattr(c.forget, "count", None) == 5,
    "seed>1,seed!=3,stage=evaluate": lambda c: c.stage == "evaluate" and c.settings.seed == 2,
}


@pytest.mark.parametrize("text", ORACLES)
def test_only_keeps_what_fits_and_all_it_depends_on(text: str) -> None:
    fits = {key for key, cell in CELLS.items() if ORACLES[text](cell)}
    assert fits
    expected = fits.union(*(ancestors(CELLS, key) for key in fits))
    selection = select_cells(CELLS, text)
    assert selection.keys() == expected
    assert list(selection) == [key for key in CELLS if key in expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "NAME=VALUE"),
        ("scrub", "NAME=VALUE"),
        ("method=scrub,", "NAME=VALUE"),
        ("methd=scrub", "did you mean 'method'?"),
        ("method<3", "compares numbers"),
        ("seed<three", "compares numbers"),
        ("method=nobody", r"matches none of \d+ cells \(method: .*scrub"),
        ("forget=class7", r"matches none of \d+ cells \(forget: class, class0, selective, 5of1\)"),
        ("seed=1,seed=2", "matches none of"),
    ],
)
def test_only_refuses_what_it_does_not_know(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        select_cells(CELLS, text)
    assert len(caught.value.faults) == 1


@pytest.mark.slow
def test_the_plan_command_never_loads_ray(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "adaprob_ray", "plan", str(ROOT / "sweeps/quickstart.yaml")]
    done = subprocess.run([*command, "--store", str(tmp_path / "store")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "93 cells" in done.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "adaprob_ray" in loaded
    assert not loaded & {"ray", "optuna", "tensorboard"}
    assert not (tmp_path / "store").exists()


def test_a_cell_whose_parents_are_corrupt_each_time_fails_in_the_end() -> None:
    family = Family()
    parent = family.add()
    child = family.add(parent, stage="evaluate")
    plan = Plan(family.cells)
    rounds = 0
    while not plan.exhausted():
        rounds += 1
        (cell,) = plan.ready()
        plan.started(cell)
        plan.finished(cell, Outcome("done") if cell == parent else Outcome("inputs_corrupt", revoked=(parent.key,)))
    assert plan.state(child.key) == "failed"
    assert plan.failures[child.key].failure_class == "storage"
    assert rounds < 20


@pytest.mark.parametrize(
    ("error", "failure_class"),
    [
        (OSError(errno.ENOSPC, "no space left on device"), "storage"),
        (OSError(errno.EROFS, "read-only file system"), "storage"),
        (OSError(errno.ENOENT, "no such file"), "code"),
        (StoreError("unreachable"), "storage"),
        (ValueError("wrong"), "code"),
    ],
)
def test_an_error_of_the_disk_is_no_error_of_the_code(error: Exception, failure_class: str) -> None:
    assert Failure.from_error(error).failure_class == failure_class
