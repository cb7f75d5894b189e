"""The trials of a study in a store: written once, by whoever asks first; damage costs no more than asking again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from store_contract import DAMAGES, Crash, CrashingObjects, damage, paths

from adaprob_ray.errors import InputError
from adaprob_ray.store import Store
from adaprob_ray.store.trials import StoredTrials

STUDY = "0123456789abcdef" * 2
FOLDER = f"searches/{STUDY}"


@pytest.fixture
def trials(store: Store) -> StoredTrials:
    return StoredTrials(store, STUDY)


def path(number: int) -> str:
    return f"{FOLDER}/trials/{number:05d}"


def fill(trials: StoredTrials, count: int) -> None:
    for number in range(count):
        assert trials.create(number, {"lr": number / 7}) == {"lr": number / 7}


def test_parameters_come_back_bit_for_bit(trials: StoredTrials) -> None:
    params = {"lr": 0.1 + 0.2, "small": 5e-324, "epochs": 3, "reading": "eq1", "decay": None, "nesterov": True}
    assert trials.create(0, params) == params
    (stored,) = trials.read()
    assert stored == params
    assert {name: type(value) for name, value in stored.items()} == {
        name: type(value) for name, value in params.items()
    }


def test_a_trial_is_created_only_if_absent(trials: StoredTrials) -> None:
    assert trials.create(0, {"lr": 0.1}) == {"lr": 0.1}
    assert trials.create(0, {"lr": 0.2}) == {"lr": 0.1}, "who comes second takes what is there"
    assert trials.read() == [{"lr": 0.1}]


def test_more_than_ten_trials_are_read_in_order(trials: StoredTrials) -> None:
    fill(trials, 12)
    assert [params["lr"] for params in trials.read()] == [number / 7 for number in range(12)]


def test_a_study_without_trials(trials: StoredTrials) -> None:
    assert trials.read() == []
    trials.describe({"label": "finetune"})
    assert trials.read() == []


def test_the_description_is_written_once(store: Store, trials: StoredTrials) -> None:
    trials.describe({"label": "finetune"})
    trials.describe({"label": "other"})
    assert store.objects.document(f"{FOLDER}/study.json") == {"label": "finetune"}


def test_studies_do_not_mix(store: Store, trials: StoredTrials) -> None:
    fill(trials, 2)
    other = StoredTrials(store, "f" * 32)
    assert other.read() == []
    other.create(0, {"lr": 1.0})
    assert trials.read()[0] == {"lr": 0.0}


@pytest.mark.parametrize("name", ["", "../cells", "a/b"])
def test_the_name_of_a_study_is_a_key(name: str, store: Store) -> None:
    with pytest.raises(InputError):
        StoredTrials(store, name)


@pytest.mark.parametrize("how", sorted(DAMAGES))
def test_trials_are_read_up_to_the_first_that_is_damaged_and_it_is_replaced(
    how: str, store: Store, trials: StoredTrials
) -> None:
    fill(trials, 5)
    damage(store, path(2), how)
    assert [params["lr"] for params in trials.read()] == [0.0, 1 / 7]
    assert trials.create(2, {"lr": 2 / 7}) == {"lr": 2 / 7}
    assert [params["lr"] for params in trials.read()] == [number / 7 for number in range(5)]


@pytest.mark.parametrize(
    "content",
    [b"null", b"[]", b"{}", b'{"number": 2}', b'{"number": 2, "params": 1}', b'{"number": 3, "params": {}}', b"\xff"],
)
def test_another_document_in_the_place_of_a_trial_is_damage(content: bytes, store: Store, trials: StoredTrials) -> None:
    fill(trials, 4)
    store.objects.put(path(2), content)
    assert len(trials.read()) == 2
    trials.create(2, {"lr": 2 / 7})
    assert len(trials.read()) == 4


def test_files_of_other_programs_are_ignored(store: Store, trials: StoredTrials) -> None:
    fill(trials, 3)
    for name in (".nfs0001", "00001.tmp", "notes", "00009"):
        store.objects.put(f"{FOLDER}/trials/{name}", b"{}")
    assert len(trials.read()) == 3


def test_of_many_writers_one_decides(store: Store, trials: StoredTrials) -> None:
    writers = [StoredTrials(Store.open(store.location), STUDY) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            created = list(pool.map(lambda item, n=number: item[1].create(n, {"writer": item[0]}), enumerate(writers)))  # type: ignore[misc]
            assert all(params == created[0] for params in created)
            assert trials.read()[number] == created[0]


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_leaves_a_whole_trial_or_none(after: bool, store: Store) -> None:
    objects = CrashingObjects(store.objects.backend, store.location)
    objects.fuse, objects.after = 0, after
    with pytest.raises(Crash):
        StoredTrials(Store(objects), STUDY).create(0, {"lr": 0.1})
    trials = StoredTrials(store, STUDY)
    assert trials.read() == ([{"lr": 0.1}] if after else [])
    assert trials.create(0, {"lr": 0.1}) == {"lr": 0.1}


def test_nothing_else_is_written(store: Store, trials: StoredTrials) -> None:
    trials.describe({})
    fill(trials, 2)
    assert paths(store) == [f"{FOLDER}/study.json", path(0), path(1), "store.json"]
