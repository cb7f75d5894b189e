"""Whatever a storage answers to a write, the store finds out what it holds: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError
from store_contract import KEY, begin, finish, paths, set_aws, try_begin

from adaprob_ray.errors import InputError, StoreError
from adaprob_ray.store import Store
from adaprob_ray.store import objects as objects_module
from adaprob_ray.store.objects import Objects
from adaprob_ray.store.trials import StoredTrials
from benchmarks.faults.faulty_folder import FOLDER_ANSWERS
from benchmarks.faults.proxy import BUCKET, Answer, FaultyS3
from benchmarks.faults.sweep import undisturbed_records
from benchmarks.storage_answers import ANSWERS, run_in_folder, run_with_answer


@pytest.fixture(scope="module")
def faulty_s3() -> Iterator[FaultyS3]:
    server = FaultyS3()
    yield server
    server.close()


@pytest.fixture
def s3_store(faulty_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Store:
    faulty_s3.tell(lambda command, path, count: None)
    set_aws(monkeypatch, faulty_s3.endpoint)
    return Store.open(f"s3://{BUCKET}/{uuid.uuid4().hex}")


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("times", [1, 2])
def test_one_cell_is_done_once_whatever_each_write_is_answered(
    faulty_s3: FaultyS3, s3_store: Store, answer: Answer, times: int
) -> None:
    faulty_s3.tell(lambda command, path, count: answer if command == "PUT" and count < times else None)
    finish(s3_store, weights=b"0123")
    assert faulty_s3.answered >= 4  # cell.json, lease, weights, commit
    assert s3_store.log(KEY).commits == {1}
    assert s3_store.read(KEY, "weights") == b"0123"
    assert try_begin(s3_store) is None
    assert [path for path in paths(s3_store) if "/lease/" in path] == [f"cells/{KEY}/lease/1"]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_trial_of_another_process_is_never_taken_for_ones_own(
    faulty_s3: FaultyS3, s3_store: Store, answer: Answer
) -> None:
    trials = StoredTrials(s3_store, "ab12")
    faulty_s3.tell(lambda command, path, count: answer if command == "PUT" and count == 0 else None)
    assert trials.create(0, {"lr": 0.1}) == {"lr": 0.1}
    faulty_s3.tell(lambda command, path, count: answer if command == "PUT" and count == 0 else None)
    assert trials.create(0, {"lr": 0.2}) == {"lr": 0.1}
    assert trials.read() == [{"lr": 0.1}]


def test_a_conflict_that_does_not_end_is_an_error_and_no_commit(
    faulty_s3: FaultyS3, s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_module, "RETRY_PAUSES", (0.0, 0.0))
    attempt = begin(s3_store)
    faulty_s3.tell(lambda command, path, count: Answer(409) if "/commit/" in path and command == "PUT" else None)
    with pytest.raises(StoreError, match="ConditionalRequestConflict"):
        attempt.commit({})
    assert s3_store.log(KEY).done is None
    faulty_s3.tell(lambda command, path, count: None)
    attempt.commit({})
    assert s3_store.log(KEY).done == 1


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize(
    "error",
    [AlreadyExistsError("exists"), OSError(errno.EIO, "I/O error"), OSError(errno.ETIMEDOUT, "timed out")],
    ids=["exists", "EIO", "ETIMEDOUT"],
)
def test_a_folder_whose_answer_is_wrong(
    tmp_path: Path, error: Exception, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS repeats a request whose answer was lost, and then reports what it met."""
    store, put, failures = Store.open(tmp_path), obstore.put, 0

    def fail_first_commit(backend: Any, path: str, data: bytes, **mode: Any) -> Any:
        nonlocal failures
        if "/commit/" in path and not failures:
            failures += 1
            if written:
                put(backend, path, data, **mode)
            raise error
        return put(backend, path, data, **mode)

    monkeypatch.setattr(obstore, "put", fail_first_commit)
    attempt = begin(store)
    attempt.write("weights", b"w")
    if written or isinstance(error, AlreadyExistsError):
        attempt.commit({})
    else:
        with pytest.raises(StoreError):
            attempt.commit({})
        assert store.log(KEY).done is None
        attempt.commit({})
    assert store.log(KEY).commits == {1}
    assert store.read(KEY, "weights") == b"w"


def test_a_commit_that_seemed_to_fail_is_not_replaced_by_one_with_other_files(
    faulty_s3: FaultyS3, s3_store: Store
) -> None:
    attempt = begin(s3_store)
    attempt.write("first", b"1")
    s3_store.objects.create(f"cells/{KEY}/commit/1", {"files": {}, "facts": {}, "at": "before"})
    with pytest.raises(StoreError, match="with other files"):
        attempt.commit({})


@pytest.mark.parametrize("has_store", [False, True], ids=["new", "old"])
def test_a_service_that_ignores_the_condition_is_refused(monkeypatch: pytest.MonkeyPatch, has_store: bool) -> None:
    server = FaultyS3(conditional=False)
    try:
        location = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        if has_store:
            set_aws(monkeypatch, server.direct)
            finish(Store.open(location), weights=b"w")
        set_aws(monkeypatch, server.endpoint)
        with pytest.raises(InputError, match="If-None-Match") as caught:
            Store.open(location)
        assert "\n" not in str(caught.value)
        set_aws(monkeypatch, server.direct)
        left = [entry["path"] for entry in Objects.open(location, create=False).list("")]
        assert [path for path in left if "writable" in path] == []
        assert bool(left) == has_store
        if has_store:
            assert Store.open(location, create=False).read(KEY, "weights") == b"w"
    finally:
        server.close()


def test_an_answer_to_the_probe_does_not_refuse_a_service_that_is_sound(faulty_s3: FaultyS3, s3_store: Store) -> None:
    for answer in ANSWERS.values():
        faulty_s3.tell(lambda command, path, count, answer=answer: answer if command == "PUT" and not count else None)
        assert paths(Store.open(s3_store.location)) == ["store.json"]


@pytest.mark.parametrize("name", ["409", "412 though written", "no answer though written"])
def test_a_sweep_loses_nothing_and_does_nothing_twice(
    faulty_s3: FaultyS3, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed_records(tmp_path / "undisturbed", seeds=1)
    set_aws(monkeypatch, faulty_s3.endpoint)
    result = run_with_answer(faulty_s3, ANSWERS[name], expected, seeds=1, executor="local")
    assert result.answered >= 3 * result.cells  # cell.json, lease and commit of each
    assert (result.lost, result.twice, result.wrong) == (0, 0, 0)


@pytest.mark.parametrize("name", FOLDER_ANSWERS)
def test_a_sweep_in_a_folder_loses_nothing_and_does_nothing_twice(tmp_path: Path, name: str) -> None:
    expected = undisturbed_records(tmp_path / "undisturbed", seeds=1)
    (tmp_path / "faulty").mkdir()
    result = run_in_folder(tmp_path / "faulty", name, expected, seeds=1, executor="local")
    assert result.answered >= 3 * result.cells  # cell.json, lease and commit of each
    assert (result.lost, result.twice, result.wrong) == (0, 0, 0)
