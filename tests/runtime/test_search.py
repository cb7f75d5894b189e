"""Searches: one list of trials whoever runs them, in whatever order, and after any stop; what failures and damage cost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from search_world import parse
from sklearn.metrics import roc_auc_score
from small_world import with_value
from store_contract import paths, set_aws
from tiny_search import (
    CELLS,
    TABLE,
    TINY_SEARCH,
    SearchCommand,
    changed,
    results,
    search,
    simulate,
    source_of,
    states,
    stored_trials,
)

import adaprob_ray
from adaprob_ray import cli
from adaprob_ray.data.split import forget_positions, retain_positions
from adaprob_ray.errors import InputError, StoreError
from adaprob_ray.metrics.membership import losses
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.runtime.machine_resources import Limits
from adaprob_ray.runtime.search import run_search
from adaprob_ray.runtime.search_results import load_trials, verify_trials
from adaprob_ray.runtime.search_source import SearchSource
from adaprob_ray.search.pruning import may_continue
from adaprob_ray.store import Store
from adaprob_ray.store.names import OUTPUTS
from adaprob_ray.sweep.sweep import Sweep

TRIALS = 14


@pytest.fixture(scope="session")
def first_search(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, SearchSource]:
    """The tiny search, run undisturbed in this process. Nobody writes to this store afterwards."""
    store = Store.open(tmp_path_factory.mktemp("search") / "store")
    return store, search(store).source


@pytest.fixture
def searched(first_search: tuple[Store, SearchSource], tmp_path: Path) -> Store:
    """A copy of the finished store."""
    shutil.copytree(first_search[0].location, tmp_path / "store")
    return Store.open(tmp_path / "store")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPROB_TEST_MARKS", str(tmp_path))
    return tmp_path


# -- the same trials -----------------------------------------------------------------------------------------------------


def test_every_study_gets_its_trials_and_every_cell_runs_once(first_search: tuple[Store, SearchSource]) -> None:
    store, source = first_search
    assert states(source) == [["complete"] * TRIALS] * 2
    assert len(source.executed) == len(source.cells) == CELLS
    assert {log.leases for log in store.survey().values()} == {frozenset({1})}
    assert len(stored_trials(store)) == 2 * TRIALS
    for progress in source.studies:
        assert all(trial.values == (pytest.approx(sum(map(sum, trial.seed_values)) / 2),) for trial in progress.trials)


def test_results_decide_about_trials(first_search: tuple[Store, SearchSource]) -> None:
    """Otherwise the tests below would compare draws of a seeded generator."""
    source = first_search[1]
    for progress in source.studies:
        study, trials = progress.study, progress.trials
        assert study.ask(trials[: TRIALS - 1]) == trials[-1].params
        reversed_ = [
            trial.__class__(**{**vars(trial), "values": (-trial.values[0],)}) for trial in trials if trial.values
        ]
        assert study.ask(reversed_[: TRIALS - 1]) != trials[-1].params


@pytest.mark.parametrize("slots", [1, 2, 4, 16])
def test_the_trials_are_the_same_at_any_concurrency(
    slots: int, first_search: tuple[Store, SearchSource], store: Store
) -> None:
    source = source_of(store)
    simulate(source, store, slots, random.Random(slots))
    assert stored_trials(store) == stored_trials(first_search[0])
    assert results(source) == results(first_search[1])


PRUNED = changed(seeds=[11, 12, 13], prune={"p": 0.25})


@pytest.mark.parametrize(
    "document", [TINY_SEARCH, PRUNED, changed(rule="validation")], ids=["plain", "pruned", "validation"]
)
def test_the_trials_are_the_same_after_any_number_of_stops(document: Any, store: Store, tmp_path: Path) -> None:
    other = Store.open(tmp_path / "other")
    expected = source_of(other, document)
    simulate(expected, other, 1, random.Random(1))
    rng, before = random.Random(2), dict[str, bytes]()
    source = source_of(store, document)
    while not source.exhausted():
        simulate(source, store, 4, rng, cells=rng.randint(1, 25))
        assert before.items() <= stored_trials(store).items()
        before = stored_trials(store)
        source = source_of(store, document)
    assert stored_trials(store) == stored_trials(other)
    assert results(source) == results(expected)
    assert source.executed == []


@pytest.mark.slow
def test_two_processes_on_one_store(first_search: tuple[Store, SearchSource], tmp_path: Path) -> None:
    command = SearchCommand(tmp_path)
    processes = [command.start(SEARCH_TEST_TOGETHER="yes", SEARCH_TEST_PAUSE="0.02") for _ in range(2)]
    said = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    counts = [int(out.partition(" cells executed")[0].split()[-1]) for out, _ in said]
    assert sum(counts) == CELLS
    assert min(counts) > 0
    assert stored_trials(command.opened()) == stored_trials(first_search[0])
    assert results(source_of(command.opened(), ask=False)) == results(first_search[1])


@pytest.mark.slow
def test_after_sigkill_the_same_command_does_the_rest(first_search: tuple[Store, SearchSource], tmp_path: Path) -> None:
    command = SearchCommand(tmp_path)
    code, _, err = command.run(SEARCH_TEST_DIE_AFTER="20")
    assert code == -signal.SIGKILL, err
    before = stored_trials(command.opened())
    assert 0 < len(before) < 2 * TRIALS
    done = sum(log.done is not None for log in command.opened().survey().values())
    code, out, err = command.run(SEARCH_TEST_DIE_AFTER="20")
    assert code == 0, err
    assert f"{CELLS - done} cells executed" in out
    after = stored_trials(command.opened())
    assert before.items() <= after.items(), "no trial is written again"
    assert after == stored_trials(first_search[0])
    assert results(source_of(command.opened(), ask=False)) == results(first_search[1])


def test_on_an_object_store(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_aws(monkeypatch, s3_endpoint)
    document = changed(trials=3, seeds=[11])
    local, remote = Store.open(tmp_path / "local"), Store.open("s3://bucket/search")
    for store, slots in ((local, 1), (remote, 3)):
        simulate(source_of(store, document), store, slots, random.Random(1))
    assert stored_trials(remote) == stored_trials(local)
    assert results(source_of(remote, document, ask=False)) == results(source_of(local, document, ask=False))


@pytest.mark.ray
@pytest.mark.slow
def test_the_trials_are_the_same_on_ray_at_concurrency_1_2_and_4(
    first_search: tuple[Store, SearchSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One Ray with four CPUs, of which a cell takes four, two or one; which is not part of a key."""
    from adaprob_ray.runtime import ray_environment

    here = Path(__file__).resolve().parent
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), str(here.parents[1]), known]))
    monkeypatch.setenv("ADAPROB_TEST_MARKS", str(tmp_path))
    monkeypatch.setenv("SEARCH_TEST_PAUSE", "0.05")
    ray_environment.prepare(None)
    monkeypatch.setenv(
        "RAY_AUTH_MODE", "disabled"
    )  # another test may have imported Ray, which read this then, without it
    from adaprob_ray.runtime import ray_executor

    connect = ray_executor.ray.init
    monkeypatch.setattr(ray_executor.ray, "init", lambda **options: connect(**{**options, "num_cpus": 4}))
    one_seed = with_value(changed(seeds=[11]), "methods", {"retrain": {}, "finetune": {}})
    del one_seed["search"]["space"]["scrub"]
    local = Store.open(tmp_path / "local")
    expected = results(search(local, one_seed).source)
    with ray_executor.cluster(None):
        monkeypatch.setattr(ray_executor, "cluster", _connected)
        for cpus in (4, 2, 1):
            taken = {stage: {"cpu": cpus} for stage in ("train", "unlearn", "evaluate")}
            store = Store.open(tmp_path / f"ray{cpus}")
            file = parse(with_value(one_seed, "resources", taken))
            result = run_search(file, store, data_root=Path("nowhere"), executor="ray", registry=TABLE)
            assert results(result.source) == expected
            assert stored_trials(store) == stored_trials(local)


class _connected:
    """In place of a cluster: Ray runs already, and is left running."""

    def __init__(self, address: str | None, limits: Limits) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


# -- what costs nothing --------------------------------------------------------------------------------------------------


def test_running_again_asks_and_executes_nothing(searched: Store, first_search: tuple[Store, SearchSource]) -> None:
    before = paths(searched)
    source = search(searched).source
    assert source.executed == []
    assert len(source.cached) == CELLS
    assert results(source) == results(first_search[1])
    assert [path for path in paths(searched) if path not in before] == []


def test_points_that_another_search_has_computed_cost_nothing(store: Store) -> None:
    """The sampler `random` looks at no result, so that another lag gives the same points, in another study."""
    first = search(store, changed(sampler="random")).source
    second = search(store, changed(sampler="random", lag=5)).source
    assert len(stored_trials(store)) == 4 * TRIALS
    assert second.executed == []
    assert len(second.cached) == CELLS
    assert results(second) == results(first)


def test_trials_are_added_to_a_search(searched: Store) -> None:
    before = stored_trials(searched)
    source = search(searched, changed(trials=TRIALS + 2)).source
    assert before.items() <= stored_trials(searched).items()
    assert len(stored_trials(searched)) == 2 * (TRIALS + 2)
    assert len(source.executed) == 2 * 2 * 2 * 2
    fewer = source_of(searched, changed(trials=3), ask=False)
    assert states(fewer) == [["complete"] * 3] * 2


def test_adding_trials_gives_what_asking_for_all_at_once_does(
    store: Store, first_search: tuple[Store, SearchSource]
) -> None:
    for trials in (1, 6, TRIALS):
        search(store, changed(trials=trials))
    assert stored_trials(store) == stored_trials(first_search[0])


# -- damage --------------------------------------------------------------------------------------------------------------


def scored_key(source: SearchSource, trial: int = 4) -> str:
    return source.studies[0].cells[trial].seeds[1].scored


@pytest.mark.parametrize("data", [b"", b"{", b"{}"])
def test_a_cell_with_a_damaged_commit_is_executed_again(
    data: bytes, searched: Store, first_search: tuple[Store, SearchSource]
) -> None:
    key = scored_key(first_search[1])
    searched.objects.put(f"cells/{key}/commit/1", data)
    result = search(searched)
    assert [executed for executed, _ in result.source.executed] == [key]
    assert len(result.source.cached) == CELLS - 1
    assert len(result.recomputed) == 1
    assert results(result.source) == results(first_search[1])
    assert searched.log(key).done == 2


def test_reading_a_damaged_commit_writes_nothing(searched: Store, first_search: tuple[Store, SearchSource]) -> None:
    searched.objects.put(f"cells/{scored_key(first_search[1])}/commit/1", b"{")
    before = paths(searched)
    source = source_of(searched, ask=False)
    assert states(source)[0][4] == "running"
    assert paths(searched) == before


@pytest.mark.parametrize("data", [b"", b"{", b"{}"])
def test_a_damaged_trial_is_asked_for_again(
    data: bytes, searched: Store, first_search: tuple[Store, SearchSource]
) -> None:
    path = sorted(stored_trials(searched))[5]
    searched.objects.put(path, data)
    source = search(searched).source
    assert source.executed == []
    assert stored_trials(searched) == stored_trials(first_search[0])
    assert results(source) == results(first_search[1])


def tamper(store: Store, source: SearchSource, number: int, **params: Any) -> str:
    """Change the parameters of a stored trial of the first study; where it is."""
    path = f"searches/{source.studies[0].study.key}/trials/{number:05d}"
    document = json.loads(store.objects.get(path) or b"")
    document["params"] |= params
    store.objects.put(path, json.dumps(document).encode())
    return path


def test_verify_reports_nothing_where_all_is_right(first_search: tuple[Store, SearchSource]) -> None:
    assert verify_trials(source_of(first_search[0], ask=False)) == []


def test_verify_reports_a_tampered_trial(searched: Store, first_search: tuple[Store, SearchSource]) -> None:
    tamper(searched, first_search[1], TRIALS - 1, lr=0.5)
    (line,) = verify_trials(source_of(searched, ask=False))
    assert f"{first_search[1].studies[0].study.target}: trial {TRIALS - 1}: stored {{'lr': 0.5" in line


@pytest.mark.parametrize("params", [{"lr": 50.0}, {"lr": "fast"}, {"epochs": 2.5}, {"speed": 1}, {"lr": None}])
def test_a_trial_outside_the_space_is_reported_with_its_place(
    params: dict[str, Any], searched: Store, first_search: tuple[Store, SearchSource]
) -> None:
    tamper(searched, first_search[1], 6, **params)
    for ask in (False, True):
        with pytest.raises(StoreError, match=r"trial 6 of finetune on digits.*remove its file") as caught:
            source_of(searched, ask=ask)
        assert first_search[1].studies[0].study.key in str(caught.value)


# -- failures ------------------------------------------------------------------------------------------------------------


def test_a_diverged_trial_counts_as_the_worst_and_the_search_continues(
    store: Store, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCH_TEST_DIVERGE_ABOVE", "0.1")
    source = search(store).source
    for progress in source.studies:
        assert progress.failure is None
        for trial in progress.trials:
            assert trial.state == ("diverged" if trial.params["lr"] > 0.1 else "complete")
        made = progress.study.optuna_study(progress.trials)
        worst = max(trial.values[0] for trial in progress.trials if trial.values)
        diverged = [trial for trial in made.trials if trial.user_attrs["state"] == "diverged"]
        assert diverged
        assert all(trial.values == [worst] for trial in diverged)
    leases = {key: log.leases for key, log in store.survey().items()}
    again = search(store).source
    assert again.executed == []
    assert results(again) == results(source)
    assert {key: log.leases for key, log in store.survey().items()} == leases, "what has diverged is not tried again"


@pytest.mark.parametrize("slots", [1, 4])
def test_diverged_trials_are_the_same_at_any_concurrency(
    slots: int, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCH_TEST_DIVERGE_ABOVE", "0.1")
    other = Store.open(tmp_path / "other")
    expected = search(other).source
    source = source_of(store)
    simulate(source, store, slots, random.Random(slots))
    assert stored_trials(store) == stored_trials(other)
    assert states(source) == states(expected)


def test_a_failure_of_the_code_stops_its_study_and_no_other(
    store: Store, marks: Path, monkeypatch: pytest.MonkeyPatch, first_search: tuple[Store, SearchSource]
) -> None:
    monkeypatch.setenv("SEARCH_TEST_FAIL", "scrub")
    source = search(store).source
    finetune, scrub = source.studies
    assert states(source)[0] == ["complete"] * TRIALS
    assert finetune.failure is None
    assert scrub.failure is not None
    assert str(scrub.failure) == "code: RuntimeError: the sky is falling"
    assert "failed" in states(source)[1]
    assert len(scrub.trials) < TRIALS
    monkeypatch.delenv("SEARCH_TEST_FAIL")
    assert results(search(store).source) == results(first_search[1]), (
        "without the fault, the same command does the rest"
    )


def test_what_may_pass_by_itself_is_tried_again(
    store: Store, marks: Path, monkeypatch: pytest.MonkeyPatch, first_search: tuple[Store, SearchSource]
) -> None:
    monkeypatch.setenv("SEARCH_TEST_DISK", "scrub")
    source = search(store).source
    assert results(source) == results(first_search[1])
    assert sum(len(log.failed) for log in store.survey().values()) == 2 * TRIALS


@pytest.mark.parametrize("method", ["original", "retrain"])
def test_a_reference_that_diverges_stops_the_studies_and_is_no_result(
    method: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCH_TEST_DIVERGE", method)
    source = search(store).source
    for progress in source.studies:
        assert progress.failure is not None
        assert progress.failure.failure_class == "diverged"
        assert 0 < len(progress.trials) <= 3
    assert not {"complete", "diverged"} & {state for of_study in states(source) for state in of_study}


def test_a_column_without_a_value_stops_the_study(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_TEST_MISSING", "scrub")
    source = search(store).source
    finetune, scrub = source.studies
    assert (finetune.failure, states(source)[0]) == (None, ["complete"] * TRIALS)
    assert scrub.failure is not None
    assert "trial 0 has no value of forget_error_percent" in str(scrub.failure)


# -- rules, seeds and pruning --------------------------------------------------------------------------------------------


def test_under_validation_no_model_is_retrained(store: Store) -> None:
    source = search(store, changed(rule="validation")).source
    assert states(source) == [["complete"] * TRIALS] * 2
    assert {cell.stage for cell in source.cells.values()} == {"train", "unlearn", "select"}
    assert {cell.method for cell in source.cells.values()} == {"original", "finetune", "scrub", ""}


@pytest.mark.parametrize("slots", [1, 5])
def test_pruned_trials_skip_seeds_and_are_the_same_at_any_concurrency(slots: int, store: Store, tmp_path: Path) -> None:
    document = PRUNED
    other = Store.open(tmp_path / "other")
    expected = source_of(other, document)
    simulate(expected, other, 3, random.Random(9))
    source = source_of(store, document)
    simulate(source, store, slots, random.Random(slots))
    assert results(source) == results(expected)
    assert stored_trials(store) == stored_trials(other)
    counts = {trial.state: len(trial.seed_values) for progress in source.studies for trial in progress.trials}
    assert counts == {"complete": 3, "pruned": 2}
    pruned = sum(state == "pruned" for of_study in states(source) for state in of_study)
    assert len(source.executed) == 3 * 4 + (2 * TRIALS * 3 - pruned) * 2
    for progress in source.studies:
        for trial in progress.trials:
            visible = progress.trials[: max(0, trial.number - 2)]  # the lag is 3
            two_seeds = replace(trial, state="running", values=None, seed_values=trial.seed_values[:2])
            assert may_continue(progress.study, two_seeds, visible) is (trial.state == "complete")
    assert results(source_of(store, document, ask=False)) == results(source), "read again, the same"
    assert verify_trials(source_of(store, document, ask=False)) == []


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["oracle", "validation"])
def test_values_from_real_models_by_hand(rule: str, store: Store) -> None:
    """One seed of two trials with the real stages, and its value once more from the Outputs in the store."""
    document = with_value(changed(trials=2, seeds=[11], rule=rule), "methods", {"retrain": {}, "finetune": {}})
    document["search"]["space"] = {"finetune": {"lr": {"log": [1e-3, 1e-1]}, "epochs": {"int": [1, 2]}}}
    source = run_search(parse(document), store, data_root=Path("nowhere"), executor="local").source
    (progress,) = source.studies
    assert [trial.state for trial in progress.trials] == ["complete"] * 2
    for trial, cells in zip(progress.trials, progress.cells, strict=True):
        (seed,) = cells.seeds
        scored = source.cells[seed.scored]
        outputs = {role: Outputs.from_bytes(store.read(key, OUTPUTS)) for role, key in scored.parents.items()}
        labels = outputs["model"].labels["train"]
        forget = forget_positions(labels, scored.forget, 11)  # type: ignore[arg-type]
        retain = retain_positions(len(labels), forget)

        def error(role: str, subset: str, rows: Any = slice(None)) -> float:
            wrong = outputs[role].logits[subset][rows].argmax(1) != outputs[role].labels[subset][rows]  # noqa: B023
            return 100 * float(wrong.mean())

        parts = (("train", forget), ("train", retain), ("test", slice(None)))
        if rule == "oracle":
            value = sum(abs(error("model", *part) - error("retrain", *part)) for part in parts) / 3
        else:
            model, of_class = outputs["model"], outputs["model"].labels["validation"] == 3
            member, other = (
                losses(model.logits[name][rows], model.labels[name][rows])
                for name, rows in (("train", forget), ("validation", of_class))
            )
            auc = roc_auc_score([1] * len(member) + [0] * len(other), -np.concatenate([member, other]))
            like_held_out = abs(error("model", "train", forget) - error("original", "validation", of_class))
            value = (abs(100 * auc - 50) + like_held_out) / 2
            excesses = [
                error("model", *part) - error("original", *part) - 1 for part in (parts[1], ("validation", slice(None)))
            ]
            if max(excesses) > 0:
                value = 100 + sum(max(0.0, excess) for excess in excesses)
            assert "test" not in str(store.commit(seed.scored).facts)  # type: ignore[union-attr]
        assert trial.values == (pytest.approx(value, abs=1e-9),)


# -- the command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, handlers: None
) -> Any:
    """`adaprob-ray search` on the stub stages in this process; its exit code, standard output and standard error."""
    assert run_search.__kwdefaults__ is not None
    monkeypatch.setitem(run_search.__kwdefaults__, "registry", TABLE)
    monkeypatch.chdir(tmp_path)

    def run(*more: str, document: Any = TINY_SEARCH) -> tuple[int, str, str]:
        Path("search.yaml").write_text(yaml.safe_dump(dict(document), sort_keys=False))
        code = cli.main(["search", "search.yaml", "--store", "store", "--executor", "local", *more])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_the_command_shows_what_became_of_each_study(run_command: Any, searched: Store) -> None:
    code, out, _ = run_command()
    assert code == 0
    for label in ("finetune", "scrub"):
        assert f"{label} on digits, allcnn, 25of3 (rule oracle): {TRIALS} of {TRIALS} trials" in out
    assert f"0 cells executed, {CELLS} cached" in out
    assert "--freeze" in out


def test_a_study_that_stopped_is_shown_and_the_exit_code_is_1(
    run_command: Any, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCH_TEST_FAIL", "scrub")
    code, out, _ = run_command()
    assert code == 1
    assert "stopped: code: RuntimeError: the sky is falling" in out
    assert f"finetune on digits, allcnn, 25of3 (rule oracle): {TRIALS} of {TRIALS} trials" in out


def test_show_before_anything_has_run(run_command: Any, store: Store) -> None:
    before = paths(store)
    code, out, err = run_command("--show")
    assert (code, err) == (0, "")
    assert f"finetune on digits, allcnn, 25of3 (rule oracle): 0 of {TRIALS} trials" in out
    assert json.loads(run_command("--show", "--json")[1]) == {"search": "tiny_search", "trials": []}
    assert run_command("--verify")[1] == "0 trials verified, 0 differ\n"
    assert run_command("--freeze", "best.yaml")[0] == 2
    assert not Path("best.yaml").exists()
    assert paths(store) == before


def test_verify_ends_with_1_where_a_trial_differs(
    run_command: Any, searched: Store, first_search: tuple[Store, SearchSource]
) -> None:
    assert run_command("--verify")[:2] == (0, f"{2 * TRIALS} trials verified, 0 differ\n")
    tamper(searched, first_search[1], TRIALS - 1, lr=0.5)
    code, out, err = run_command("--verify")
    assert (code, out) == (1, f"{2 * TRIALS} trials verified, 1 differ\n")
    assert err.startswith("differs: finetune on digits")
    tamper(searched, first_search[1], 6, lr=50.0)
    code, _, err = run_command("--verify")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("error: trial 6 of finetune")


def test_freeze_writes_a_sweep_file_once(run_command: Any, searched: Store) -> None:
    code, out, _ = run_command("--freeze", "best.yaml")
    assert code == 0
    assert "adaprob-ray run best.yaml --store store" in out
    from adaprob_ray.catalogue import REGISTRY

    text = Path("best.yaml").read_text()
    assert {cell.settings.seed for cell in Sweep.parse(text, REGISTRY).cells.values()} == {1, 2}
    code, _, err = run_command("--freeze", "best.yaml")
    assert (code, err) == (2, "error: best.yaml: exists already; give another name or remove it\n")
    assert Path("best.yaml").read_text() == text
    assert run_command("--freeze", "nowhere/best.yaml")[0] == 2
    code, _, err = run_command("--freeze", "other.yaml", "--trial", "99")
    assert code == 2
    assert "must be a complete trial of" in err
    assert "got 99" in err
    assert not Path("other.yaml").exists()


def test_json_has_every_trial(run_command: Any, searched: Store, first_search: tuple[Store, SearchSource]) -> None:
    rows = json.loads(run_command("--show", "--json")[1])["trials"]
    expected = [(label, number) for label in ("finetune", "scrub") for number in range(TRIALS)]
    assert [(row["label"], row["trial"]) for row in rows] == expected
    for row, (_, _, params, state, values, _) in zip(rows, results(first_search[1]), strict=True):
        assert row["state"] == state
        assert row["value.oracle"] == values[0]
        assert {name.removeprefix("params."): row[name] for name in row if name.startswith("params.")} == params
        assert row["forward_examples"] == 2 * 10 * params["epochs"]


def test_an_export_is_read_by_optuna(
    run_command: Any, searched: Store, first_search: tuple[Store, SearchSource]
) -> None:
    import optuna

    assert run_command("--export", "all.db")[0] == 0
    assert run_command("--export", "all.db")[0] == 2, "it exists"
    assert sorted(path.name for path in Path().iterdir() if path.suffix == ".db") == ["all.db"]
    studies = optuna.load_study
    names = optuna.get_all_study_names("sqlite:///all.db")
    assert len(names) == 2
    for name, progress in zip(names, first_search[1].studies, strict=True):
        study = studies(study_name=name, storage="sqlite:///all.db")
        assert [trial.params for trial in study.trials] == [dict(trial.params) for trial in progress.trials]
        assert [tuple(trial.values) for trial in study.trials] == [trial.values for trial in progress.trials]


def test_a_study_is_loaded_for_optunas_own_tools(searched: Store, first_search: tuple[Store, SearchSource]) -> None:
    import optuna

    file = Path(searched.location).parent / "search.yaml"
    file.write_text(yaml.safe_dump(dict(TINY_SEARCH), sort_keys=False))
    study = adaprob_ray.load_study(searched, file, "scrub")
    assert study.best_value == min(trial.values[0] for trial in first_search[1].studies[1].trials if trial.values)
    importance = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    )
    assert set(importance) == {"lr", "epochs"}
    with pytest.raises(InputError, match="must name one of 2 studies"):
        adaprob_ray.load_study(searched, file)
    with pytest.raises(InputError, match="unknown study 'scrubb'"):
        adaprob_ray.load_study(searched, file, "scrubb")
    assert len(load_trials(searched, file)) == 2 * TRIALS


def test_studies_that_differ_in_width_alone_are_both_exported(run_command: Any, store: Store) -> None:
    import optuna

    widths = [{"name": "allcnn", "filters": 0.02}, {"name": "allcnn", "filters": 0.03}]
    document = with_value(changed(trials=2), "grid.architecture", widths)
    assert run_command(document=document)[0] == 0
    assert run_command("--export", "all.db", document=document)[0] == 0
    assert len(optuna.get_all_study_names("sqlite:///all.db")) == 4
