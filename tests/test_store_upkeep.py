"""Garbage collection, copies and verification of whole stores, in a folder and on S3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from filled_store import BOTH, SMALL, MortalObjects, cells_of, files_of, fill, find_cell
from obstore.store import MemoryStore
from store_contract import DAMAGES, Clock, Crash, RemoteStore, damage, paths, set_aws

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import Failure, LeaseLost
from adaprob_ray.store import Attempt, LeaseWatcher, Store, contents
from adaprob_ray.store.contents import StoredCells
from adaprob_ray.store.copy import copy_cells
from adaprob_ray.store.gc import Garbage, find_garbage
from adaprob_ray.store.gc_delete import delete_garbage
from adaprob_ray.store.log import CellLog
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.store.records import read_records
from adaprob_ray.store.verify import verify_store

NEEDED = cells_of(SMALL)
CELLS = cells_of(BOTH)
UNNEEDED = {key: cell for key, cell in CELLS.items() if key not in NEEDED}
ORIGINAL, FINETUNE = find_cell(NEEDED, "train", "original"), find_cell(NEEDED, "unlearn", "finetune")
OTHER_ORIGINAL, OTHER_FINETUNE = (
    find_cell(UNNEEDED, "train", "original", 2),
    find_cell(UNNEEDED, "unlearn", "finetune", 2),
)


def begin(store: Store, cell: Any, watcher: LeaseWatcher | None = None) -> Attempt:
    attempt = store.begin(cell.key, cell.identity, owner="test", run="second", watcher=watcher)
    assert attempt is not None
    return attempt


def find(store: Store, needed: Any = NEEDED, *, grace_seconds: float = 0.0, **options: Any) -> Garbage:
    """The garbage, where every process that shows no heartbeat is dead."""
    options = {"watcher": LeaseWatcher(stale_after=0.0), "sleep": lambda seconds: None, **options}
    return find_garbage(store, needed, REGISTRY, grace_seconds=grace_seconds, **options)


def sizes(store: Store) -> dict[str, int]:
    return {entry["path"]: entry["size"] for entry in store.objects.list("")}


def keys_with_files(store: Store) -> set[str]:
    return {path.split("/")[1] for path in paths(store) if path.startswith("attempts/")}


def assert_whole(store: Store) -> None:
    """Every cell that is done can be read."""
    assert verify_store(store, store.survey()).corrupt == ()


# --- gc: what is listed and deleted


def add_leftovers(store: Store) -> set[str]:
    """Leave what failures, interruptions and damage leave of needed cells; the paths that may go."""
    failed = begin(store, FINETUNE)
    failed.write("outputs", b"half")
    failed.fail(Failure(failure_class="code", message=""))
    attempt = begin(store, FINETUNE)
    attempt.write("outputs", b"dead")
    attempt.save_checkpoint(b"state")  # of a cell that is not done: it resumes from this
    done = begin(store, ORIGINAL)
    done.write(WEIGHTS, b"damaged")
    done.commit({})
    store.revoke(ORIGINAL.key, 1, "damaged")
    again = begin(store, ORIGINAL)
    again.write(WEIGHTS, b"whole")
    again.save_checkpoint(b"state")
    again.commit({})
    store.objects.put("writable-0123", b"may be deleted")
    stale = {f"attempts/{FINETUNE.key}/{n}/outputs" for n in (1, 2)}
    return stale | {f"attempts/{ORIGINAL.key}/1/{WEIGHTS}", f"checkpoints/{ORIGINAL.key}/2", "writable-0123"}


def test_gc_deletes_what_it_lists_and_nothing_else(store: Store) -> None:
    leftovers = add_leftovers(store)
    fill(store, [cell for cell in CELLS.values() if cell is not FINETUNE and cell.key != FINETUNE.key])
    before = sizes(store)
    garbage = find(store)
    assert sizes(store) == before, "nothing is written"
    assert {item.key for item in garbage.cells} == set(UNNEEDED)
    assert {item.title for item in garbage.cells} == {cell.title for cell in UNNEEDED.values()}
    reasons = {(item.key, item.attempt): item.reason for item in garbage.attempts}
    assert reasons == {
        (FINETUNE.key, 1): "failed",
        (FINETUNE.key, 2): "interrupted",
        (ORIGINAL.key, 1): "revoked",
    }
    unneeded = {
        path for path in before if path.split("/")[0] in ("cells", "attempts") and path.split("/")[1] in UNNEEDED
    }
    assert garbage.bytes == sum(before[path] for path in unneeded | leftovers)
    deletion = delete_garbage(store, garbage)
    assert (deletion.left, deletion.bytes) == ((), garbage.bytes)
    # The attempt that never ended is revoked, so that its process, should it live, cannot commit without its files.
    expected = (set(before) - unneeded - leftovers) | {f"cells/{FINETUNE.key}/revoked/2"}
    assert set(paths(store)) == expected
    assert_whole(store)
    assert find(store).bytes == 0
    if "://" not in store.location:
        folders = [path for path in Path(store.location).rglob("*") if path.is_dir()]
        empty = [str(folder.relative_to(store.location)) for folder in folders if not any(folder.iterdir())]
        assert empty == [f"attempts/{FINETUNE.key}"], "of a needed cell, which may be begun at this moment"


def test_gc_of_a_store_with_foreign_files_leaves_these(store: Store) -> None:
    fill(store, NEEDED.values())
    for path in ("cells/.nfs01/x", "attempts/.DS_Store", "notes/a.txt", f"attempts/{ORIGINAL.key}/readme"):
        store.objects.put(path, b"not ours")
    assert find(store).bytes == 0


def test_a_superseded_attempt_never_counts_once_its_files_are_gone(store: Store) -> None:
    fill(store, NEEDED.values())
    store.revoke(ORIGINAL.key, 1, "for a moment")
    second = begin(store, ORIGINAL)
    second.write(WEIGHTS, b"second")
    second.commit({})
    store.objects.delete([f"cells/{ORIGINAL.key}/revoked/1"])
    assert store.log(ORIGINAL.key).done == 1
    delete_garbage(store, find(store))
    assert f"attempts/{ORIGINAL.key}/2/{WEIGHTS}" not in paths(store)
    assert_whole(store)
    store.revoke(ORIGINAL.key, 1, "damaged")
    assert store.log(ORIGINAL.key).done is None


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_gc_that_dies_leaves_every_done_cell_whole_and_the_next_one_completes(
    after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "THREADS", 1)  # the same order of writes each time
    monkeypatch.setattr(Attempt, "start_heartbeat", lambda attempt: None)
    some = [OTHER_ORIGINAL, OTHER_FINETUNE]  # two cells take the same steps as eight
    steps = 0
    while True:
        objects = MortalObjects(MemoryStore(), "memory://")
        store = Store(objects)
        objects.create("store.json", {"format": 1})
        leftovers = add_leftovers(store)
        fill(store, [*(cell for cell in NEEDED.values() if cell.key != FINETUNE.key), *some])
        kept = {path for path in paths(store) if path.split("/")[1:2] not in ([c.key] for c in some)} - leftovers
        garbage = find(store)
        objects.fuse, objects.after = steps, after
        try:
            delete_garbage(store, garbage)
            break
        except Crash:
            objects.fuse = None
        assert_whole(store)
        assert {key for key in NEEDED if store.log(key).done} == set(NEEDED) - {FINETUNE.key}
        assert kept <= set(paths(store))
        delete_garbage(store, find(store))
        assert_whole(store)
        rest = set(paths(store)) - kept - {f"cells/{FINETUNE.key}/revoked/2"}
        # A lease of the gc that died leaves its revocation.
        assert {path.split("/")[2] for path in rest} <= {"revoked"}
        assert find(store).bytes == 0
        fill(store, CELLS.values())
        assert all(log.done for log in store.survey().values())
        steps += 1
    assert steps > 20


# --- gc: what others hold or need


def put_sweep(store: Store, text: str) -> None:
    store.put_text("sweeps/both-01234567.yaml", text)


class Watched:
    """A watcher of a store whose leases are held on another host, and a clock that `sleep` moves."""

    def __init__(self, location: Store, attempt: Attempt | None = None) -> None:
        self.clock, self.attempt = Clock(), attempt
        self.store = RemoteStore(location.objects)
        self.waits: list[int] = []

    def sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        if self.attempt is not None and int(self.clock.now) % 5 == 0:
            self.attempt.beat()

    def find(self, **options: Any) -> Garbage:
        watcher = LeaseWatcher(clock=self.clock)
        return find(self.store, watcher=watcher, sleep=self.sleep, on_wait=self.waits.append, **options)


def test_gc_keeps_the_whole_sweep_of_which_a_cell_is_held(store: Store) -> None:
    held = begin(store, OTHER_FINETUNE)
    held.write(WEIGHTS, b"soon")
    fill(store, [cell for cell in CELLS.values() if cell.key != OTHER_FINETUNE.key])
    put_sweep(store, BOTH)
    watched = Watched(store, held)
    garbage = watched.find()
    assert watched.waits == [1]
    assert watched.clock.now < 1010, "a heartbeat is proof enough"
    assert (garbage.cells, garbage.attempts, garbage.bytes) == ((), (), 0)
    assert garbage.kept == ("sweeps/both-01234567.yaml is running (held cells: 1)",)
    held.commit({})
    assert store.read(OTHER_FINETUNE.key, WEIGHTS) == b"soon"


@pytest.mark.parametrize("text", [None, "methods: [of a later version"])
def test_gc_keeps_all_that_is_connected_with_a_held_cell_of_an_unknown_sweep(store: Store, text: str | None) -> None:
    held = begin(store, OTHER_FINETUNE)
    fill(store, [cell for cell in CELLS.values() if cell.key != OTHER_FINETUNE.key])
    if text is not None:
        put_sweep(store, text)
    garbage = Watched(store, held).find(needed=cells_of(SMALL.replace("[1]", "[3]")))
    assert {item.key for item in garbage.cells} == set(NEEDED)
    assert len(garbage.kept) == 1
    assert "held cells of no readable sweep file: 1;" in garbage.kept[0]
    warnings = () if text is None else ("sweeps/both-01234567.yaml in the store cannot be read as a sweep file",)
    assert garbage.warnings == warnings


def test_gc_waits_until_the_silence_of_a_holder_proves_its_death(store: Store) -> None:
    begin(store, OTHER_FINETUNE).write(WEIGHTS, b"never")
    put_sweep(store, BOTH)
    watched = Watched(store)
    garbage = watched.find()
    assert 1030 <= watched.clock.now <= 1032
    assert [item.key for item in garbage.cells] == [OTHER_FINETUNE.key]


def test_gc_does_not_wait_where_nobody_holds_anything(store: Store) -> None:
    fill(store, CELLS.values())
    watched = Watched(store)
    assert len(watched.find().cells) == len(UNNEEDED)
    assert (watched.waits, watched.clock.now) == ([], 1000.0)


def test_a_cell_that_ends_while_gc_watches_it_counts_as_held(store: Store) -> None:
    held = begin(store, OTHER_FINETUNE)
    watched = Watched(store)
    sleep = watched.sleep

    def end(seconds: float) -> None:
        sleep(seconds)
        if watched.clock.now == 1003:
            held.commit({})

    watched.sleep = end  # type: ignore[method-assign]
    garbage = watched.find()
    assert garbage.bytes == 0


def test_an_unfinished_sweep_that_was_active_lately_is_kept(store: Store) -> None:
    fill(store, [cell for cell in CELLS.values() if cell.key != OTHER_FINETUNE.key])
    put_sweep(store, BOTH)
    garbage = find(store, grace_seconds=3600)
    assert garbage.cells == ()
    assert garbage.kept == ("sweeps/both-01234567.yaml is unfinished and was active 0 min ago",)
    assert len(find(store, grace_seconds=0).cells) == len(UNNEEDED) - 1
    fill(store, CELLS.values())
    assert len(find(store, grace_seconds=3600).cells) == len(UNNEEDED), "a finished sweep needs nothing"


def test_what_is_begun_after_the_listing_is_left_alone(store: Store) -> None:
    begin(store, OTHER_FINETUNE).fail(Failure(failure_class="code", message=""))
    begin(store, FINETUNE).write("outputs", b"dead")
    store.revoke(FINETUNE.key, 1, "gone")
    garbage = find(store)
    assert (len(garbage.cells), len(garbage.attempts)) == (1, 1)
    other, needed = begin(store, OTHER_FINETUNE), begin(store, FINETUNE)
    deletion = delete_garbage(store, garbage)
    assert {item.key for item in deletion.left} == {OTHER_FINETUNE.key, FINETUNE.key}
    assert deletion.bytes == 0
    for attempt in (other, needed):
        attempt.write(WEIGHTS, b"whole")
        attempt.commit({})
    assert_whole(store)


def test_a_process_that_was_believed_dead_cannot_commit_what_gc_has_deleted(store: Store) -> None:
    cut_off = [begin(store, OTHER_FINETUNE), begin(store, FINETUNE)]
    for attempt in cut_off:
        attempt.write(WEIGHTS, b"late")
    delete_garbage(store, find(store))
    assert keys_with_files(store) == set()
    for attempt in cut_off:
        with pytest.raises(LeaseLost):
            attempt.commit({})
    fill(store, [OTHER_FINETUNE, FINETUNE])
    assert [store.log(cell.key).done for cell in (OTHER_FINETUNE, FINETUNE)] == [2, 2]
    assert_whole(store)


# --- copy


def facts_of(store: Store, key: str) -> tuple[Any, ...]:
    """Everything that a Record or another cell can read of a cell."""
    commit = store.commit(key)
    assert commit is not None
    files = {name: store.read(key, name) for name in commit.files}
    return store.cell(key), commit.files, commit.facts, commit.at, files


def ordered(store: Store, keys: Any = None) -> list[str]:
    """The keys of a store's cells, parents first."""
    stored = StoredCells.read(store, REGISTRY, store.survey())
    return [key for key in stored.documents if keys is None or key in keys]


@pytest.mark.parametrize("to_s3", [True, False], ids=["folder-to-s3", "s3-to-folder"])
def test_a_copy_equals_its_source_bit_for_bit(
    to_s3: bool, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aws(monkeypatch, s3_endpoint)
    places = [str(tmp_path / "store"), f"s3://bucket/copy-{to_s3}"]
    source, target = (Store.open(place) for place in (places if to_s3 else reversed(places)))
    fill(source, CELLS.values())
    put_sweep(source, BOTH)
    begin(target, ORIGINAL).fail(Failure(failure_class="code", message=""))  # number 1 is not free there
    calls: list[int] = []
    result = copy_cells(source, target, ordered(source), on_cell=lambda: calls.append(1))
    assert set(result.copied) == set(CELLS)
    assert (result.present, result.held, result.corrupt) == ([], [], [])
    assert result.bytes == sum(len(data) for cell in CELLS.values() for data in files_of(cell).values())
    assert len(calls) == len(CELLS)
    for key in CELLS:
        assert facts_of(target, key) == facts_of(source, key)
    assert target.log(ORIGINAL.key).done == 2
    assert target.objects.get("sweeps/both-01234567.yaml") == BOTH.encode()
    evaluated = [key for key, cell in CELLS.items() if cell.stage == "evaluate"]
    assert read_records(target, evaluated) == read_records(source, evaluated)
    before = sizes(target)
    again = copy_cells(source, target, ordered(source))
    assert (again.copied, set(again.present), again.bytes) == ([], set(CELLS), 0)
    assert sizes(target) == before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_copy_that_dies_leaves_whole_cells_and_the_next_one_completes(
    after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "THREADS", 1)
    monkeypatch.setattr(Attempt, "start_heartbeat", lambda attempt: None)
    source = Store(MortalObjects(MemoryStore(), "source"))
    fill(source, [ORIGINAL, FINETUNE])
    put_sweep(source, SMALL)
    steps = 0
    while True:
        objects = MortalObjects(MemoryStore(), "target")
        target = Store(objects)
        target._watcher = LeaseWatcher(stale_after=0.0)  # the process that died is this one
        objects.fuse, objects.after = steps, after
        try:
            copy_cells(source, target, ordered(source))
            break
        except Crash:
            objects.fuse = None
        assert_whole(target)
        done = {key for key, log in target.survey().items() if log.done is not None}
        result = copy_cells(source, target, ordered(source))
        assert set(result.copied) == {ORIGINAL.key, FINETUNE.key} - done
        for key in (ORIGINAL.key, FINETUNE.key):
            assert facts_of(target, key) == facts_of(source, key)
        assert target.objects.get("sweeps/both-01234567.yaml") == SMALL.encode()
        steps += 1
    assert steps > 8


@pytest.mark.parametrize("how", sorted(DAMAGES))
@pytest.mark.parametrize("what", ["weights", "cell.json", "commit"])
def test_a_corrupt_cell_is_reported_and_not_copied(what: str, how: str, tmp_path: Path) -> None:
    source, target = Store.open(tmp_path / "source"), Store.open(tmp_path / "target")
    fill(source, NEEDED.values())
    key = ORIGINAL.key
    path = {"weights": f"attempts/{key}/1/{WEIGHTS}"}.get(what, f"cells/{key}/{what}")
    if what == "commit":
        path += "/1"
    damage(source, path, how)
    before = sizes(source)
    keys = [*NEEDED]
    result = copy_cells(source, target, keys)
    assert sizes(source) == before, "the source is only read"
    if (what, how) == ("commit", "deleted"):
        assert result.corrupt == [], "a cell without a commit is not done"
    else:
        (corruption,) = result.corrupt
        assert (corruption.key, corruption.attempt) == (key, 1)
        assert {"weights": WEIGHTS, "commit": "the commit"}.get(what, what) == corruption.name
    assert set(result.copied) == set(NEEDED) - {key}
    assert target.log(key).done is None
    assert key not in keys_with_files(target)


def test_a_cell_that_a_live_process_holds_in_the_target_is_left_to_it(tmp_path: Path) -> None:
    source, target = Store.open(tmp_path / "source"), Store.open(tmp_path / "target")
    fill(source, NEEDED.values())
    held, ends = begin(target, ORIGINAL), begin(target, FINETUNE)
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now == 1003:
            ends.commit({})

    result = copy_cells(source, target, [*NEEDED], sleep=sleep, clock=clock)
    assert clock.now > 1030, "as long as it takes to see that a process is dead"
    assert result.held == [ORIGINAL.key]
    assert result.present == [FINETUNE.key]
    assert set(result.copied) == set(NEEDED) - {ORIGINAL.key, FINETUNE.key}
    held.commit({})


# --- verify


def test_verify_reads_every_file_and_writes_nothing(store: Store) -> None:
    fill(store, CELLS.values())
    before = sizes(store)
    calls: list[int] = []
    result = verify_store(store, store.survey(), on_attempt=lambda: calls.append(1))
    assert (result.attempts, result.artefacts, result.corrupt) == (len(CELLS), 2 * len(CELLS), ())
    assert result.bytes == sum(size for path, size in before.items() if path.startswith("attempts/"))
    assert len(calls) == len(CELLS)
    assert sizes(store) == before


@pytest.mark.parametrize("how", sorted(DAMAGES))
@pytest.mark.parametrize("name", [WEIGHTS, "more/series.json", "cell.json", "the commit"])
def test_verify_finds_every_damage_and_revokes_only_when_asked(name: str, how: str, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    fill(store, NEEDED.values())
    key = ORIGINAL.key
    places = {"cell.json": f"cells/{key}/cell.json", "the commit": f"cells/{key}/commit/1"}
    damage(store, places.get(name, f"attempts/{key}/1/{name}"), how)
    if (name, how) == ("the commit", "deleted"):
        assert verify_store(store, store.survey()).corrupt == (), "a cell without a commit is not done"
        return
    before = sizes(store)
    result = verify_store(store, store.survey())
    assert [(c.key, c.attempt, c.name) for c in result.corrupt] == [(key, 1, name)]
    assert (sizes(store), store.log(key).done) == (before, 1)
    assert verify_store(store, store.survey(), revoke=True).corrupt == result.corrupt
    assert store.log(key).done is None
    assert verify_store(store, store.survey()).corrupt == ()


def test_verify_also_reads_attempts_behind_the_one_that_counts(store: Store) -> None:
    log = CellLog(leases=frozenset({1, 2, 3}), commits=frozenset({1, 2, 3}), revoked=frozenset({2}))
    fill(store, [ORIGINAL])
    for number in (2, 3):
        store.objects.put(f"cells/{ORIGINAL.key}/commit/{number}", b"{")
    result = verify_store(store, {ORIGINAL.key: log})
    assert [(c.attempt, c.name) for c in result.corrupt] == [(3, "the commit")]


# --- the graph of a store


def test_stored_cells_are_the_graph_of_the_sweep(store: Store) -> None:
    fill(store, CELLS.values())
    store.objects.put("cells/0123/cell.json", b"{")
    store.objects.put("cells/4567/cell.json", b'{"stage":"later","parents":{"model":"%s"}}' % ORIGINAL.key.encode())
    stored = StoredCells.read(store, REGISTRY, store.survey())
    assert dict(stored.cells) == dict(CELLS)
    assert stored.unreadable == {"0123"}
    assert [stored.title(key) for key in ("0123", "4567")] == ["cell-0123", "later-4567"]
    position = {key: number for number, key in enumerate(stored.documents)}
    assert all(position[p] < position[k] for k, cell in CELLS.items() for p in cell.parents.values())
    own = {key for key, cell in CELLS.items() if cell.settings.seed == 1}
    children = {k for k in own if ORIGINAL.key in CELLS[k].parents.values()}
    assert stored.descendants({FINETUNE.key}) == {k for k in own if FINETUNE.key in (k, *CELLS[k].parents.values())}
    assert stored.descendants({ORIGINAL.key}) == children | {ORIGINAL.key, "4567"}
    assert stored.ancestors({FINETUNE.key}) == {ORIGINAL.key, FINETUNE.key}
    assert stored.connected({FINETUNE.key}) == own | {"4567"}
