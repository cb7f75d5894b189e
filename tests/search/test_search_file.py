"""Bad search files: exit code 2 and one line for each fault, before any work and before a store is created."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from search_world import SEARCH, parse
from small_world import with_value

from adaprob_ray import cli
from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.search.search_file import SearchFile

RunSearch = Callable[..., tuple[int, list[str]]]


def with_search(name: str, value: Any) -> dict[str, Any]:
    return with_value(SEARCH, f"search.{name}", value)


def with_space(label: str, **space: Any) -> dict[str, Any]:
    return with_value(SEARCH, f"search.space.{label}", space)


def without(document: Mapping[str, Any], path: str) -> dict[str, Any]:
    document = with_value(document, path, None)
    *way, last = path.split(".")
    section = document
    for name in way:
        section = section[name]
    del section[last]
    return dict(document)


READINGS = {
    "plain": {"reference": "original", "totals": "pseudo"},
    "same": {"reference": "original", "totals": "original"},
}
LR, EPOCHS = "search.space.finetune.lr: ", "search.space.finetune.epochs: "
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    # keys of the section
    "no section": (without(SEARCH, "search"), "search: must be in a search file, which is a sweep file plus search:"),
    "section that is a list": (with_value(SEARCH, "search", [1]), "search: must be a mapping {name: value}, got [1]"),
    "empty section": (with_value(SEARCH, "search", None), "search: must be a mapping {name: value}, got None"),
    "unknown key": (with_search("trails", 3), "search: unknown key 'trails'; did you mean 'trials'?"),
    "no trials": (without(SEARCH, "search.trials"), "search.trials: is missing"),
    "no seeds": (without(SEARCH, "search.seeds"), "search.seeds: is missing"),
    "no rule": (without(SEARCH, "search.rule"), "search.rule: is missing"),
    "trials of zero": (with_search("trials", 0), "search.trials: must be an integer of at least 1, got 0"),
    "trials and a half": (with_search("trials", 1.5), "search.trials: must be an integer, got 1.5"),
    "too many trials": (with_search("trials", 10**6), "search.trials: must be an integer of at most 10000"),
    "lag of zero": (with_search("lag", 0), "search.lag: must be an integer of at least 1, got 0"),
    "seed of zero": (with_search("seed", 0), "search.seed: must be an integer of at least 1, got 0"),
    "margin below zero": (with_search("margin", -1), "search.margin: must be a number of at least 0.0, got -1"),
    "margin as text": (
        with_search("margin", "1e-3"),
        "search.margin: must be written 0.001 (a number) or '1e-3' (text), got 1e-3",
    ),
    "unknown rule": (with_search("rule", "best"), "search.rule: must be 'oracle' or 'validation', got 'best'"),
    "unknown sampler": (with_search("sampler", "grid"), "search.sampler: must be 'tpe' or 'random', got 'grid'"),
    # seeds
    "empty seeds": (with_search("seeds", []), "search.seeds: must be a list of at least 1, got []"),
    "seeds that are no list": (with_search("seeds", 11), "search.seeds: must be a list, got 11"),
    "seed that is a truth": (with_search("seeds", [True]), "search.seeds.0: must be an integer, got True"),
    "search seed of zero": (with_search("seeds", [0]), "search.seeds: must be an integer of at least 1"),
    "seed given twice": (with_search("seeds", [11, 12, 11]), "search.seeds: each must be given once, got [11, 12, 11]"),
    "report seed": (
        with_search("seeds", [2, 11]),
        "must have none of the seeds that are reported (grid.seed), got [2]",
    ),
    "single report seed": (
        with_value(with_search("seeds", [3]), "grid.seed", 3),
        "must have none of the seeds that are reported (grid.seed), got [3]",
    ),
    # objectives, rules, pruning
    "unknown column": (
        with_search("objective", {"test_eror_percent": "minimize"}),
        "search.objective: unknown column 'test_eror_percent'; did you mean 'test_error_percent'?",
    ),
    "column of another metric": (
        with_search("objective", {"membership_auc_percent": "minimize"}),
        "no metric of the file computes it",
    ),
    "direction": (
        with_search("objective", {"test_error_percent": "min"}),
        "search.objective.test_error_percent: must be 'minimize' or 'maximize', got 'min'",
    ),
    "objective as a list": (with_search("objective", ["kl_forget_nats"]), "search.objective: must be a mapping"),
    "test rows under validation": (
        with_value(with_search("rule", "validation"), "search.objective", {"test_error_percent": "minimize"}),
        "rule validation does not read it",
    ),
    "oracle without Retrain": (without(SEARCH, "methods.retrain"), "search.rule: oracle compares with Retrain"),
    "oracle without errors": (with_value(SEARCH, "metrics", ["passes"]), "search.rule: oracle reads errors"),
    "more pruning than seeds": (
        with_search("prune", {"p": 0.25}),
        "search.prune: with 2 seeds pruning can never skip one: p = 0.25 is reached after 2 seeds at the earliest; "
        "give at least 3 seeds",
    ),
    "pruning of several objectives": (
        with_value(
            with_search("prune", {"p": 0.5}),
            "search.objective",
            {"test_error_percent": "minimize", "retain_error_percent": "minimize"},
        ),
        "search.prune: must have a single objective, got several",
    ),
    "p above a half": (with_search("prune", {"p": 0.9}), "search.prune.p: must be a number of at most 0.5, got 0.9"),
    "p of zero": (with_search("prune", {"p": 0}), "search.prune.p: must be a number of at least 0.001, got 0"),
    "key of pruning": (with_search("prune", {"q": 0.1}), "search.prune: unknown key 'q' (known: p)"),
    "pruning that is true": (with_search("prune", True), "search.prune: must be a mapping {name: value}, got True"),
    # labels
    "unknown label": (with_space("finetun"), "search.space: unknown label 'finetun'; did you mean 'finetune'?"),
    "space of a reference": (with_space("retrain", lr={"log": [0.1, 1.0]}), "search.space: unknown label 'retrain'"),
    "space of null": (with_value(SEARCH, "search.space.finetune", None), "must be a mapping {name: value}, got None"),
    "no label": (
        with_value(SEARCH, "methods", {"retrain": {}}),
        "methods: must have a label to search besides original",
    ),
    "label that trains": (
        with_value(SEARCH, "methods.plain", {"method": "retrain", "variant": "plain"}),
        "methods.plain: must be a method that unlearns, got retrain",
    ),
    "method without ranges": (with_value(SEARCH, "methods.ntk", {}), "search.space.ntk: must have at least one range"),
    "label that freezing would write": (
        with_value(SEARCH, "methods.finetune_default", {"method": "finetune"}),
        "methods: finetune_default is the label that --freeze gives finetune's current settings",
    ),
    "fixed and searched": (
        with_value(SEARCH, "methods.finetune", {"lr": 0.1}),
        LR + "lr is fixed under methods; remove one of them",
    ),
    "fixed and one of an option": (
        with_value(
            with_space("adaprob", reading={"choice": {"a": {"lam": 1.0}, "b": {"lam": 2.0}}}),
            "methods.adaprob.lam",
            3.0,
        ),
        "search.space.adaprob.reading: lam is fixed under methods",
    ),
    "all fixed": (
        with_value(SEARCH, "methods.scrub", {"lr": 0.1, "epochs": 2, "forget_epochs": 1, "alpha": 0.5}),
        "search.space.scrub: must have at least one range",
    ),
    "list of values": (
        with_value(SEARCH, "methods.scrub.lr", [0.1, 0.2]),
        "methods.scrub.lr: must be one value in a searched label, got a list",
    ),
    # ranges
    "unknown parameter": (
        with_space("finetune", epoch={"int": [1, 2]}),
        "search.space.finetune.epoch: unknown field 'epoch'; did you mean 'epochs'?",
    ),
    "bounds reversed": (
        with_space("finetune", lr={"log": [0.1, 0.01]}),
        LR + "log: low must be less than high, got [0.1",
    ),
    "integers reversed": (with_space("finetune", epochs={"int": [5, 1]}), EPOCHS + "int: low must be less than high"),
    "bounds equal": (with_space("finetune", lr={"uniform": [0.1, 0.1]}), LR + "uniform: low must be less than high"),
    "log of zero": (with_space("finetune", lr={"log": [0, 0.1]}), LR + "log: low must be greater than 0, got 0"),
    "log below zero": (
        with_space("finetune", lr={"log": [-0.1, 0.1]}),
        LR + "log: low must be greater than 0, got -0.1",
    ),
    "bounds as text": (
        with_space("finetune", lr={"log": ["1e-3", 0.1]}),
        "search.space.finetune.lr.log.1: must be written 0.001 (a number) or '1e-3' (text), got 1e-3",
    ),
    "bound that is a truth": (with_space("finetune", lr={"log": [True, 2]}), LR + "log: must be two numbers"),
    "one bound": (with_space("finetune", lr={"log": [0.1]}), LR + "log: must be two numbers [low, high], got [0.1]"),
    "three bounds": (with_space("finetune", lr={"log": [0.1, 0.2, 0.3]}), LR + "log: must be two numbers"),
    "bounds without a list": (with_space("finetune", lr={"log": 0.1}), LR + "log: must be two numbers"),
    "range of an impossible value": (
        with_space("finetune", lr={"uniform": [0.0, 1.0]}),
        "search.space.finetune: lr: must be a number greater than 0, got 0.0",
    ),
    "no epochs": (with_space("finetune", epochs={"int": [0, 3]}), "epochs: must be an integer of at least 1, got 0"),
    "float range of an integer": (
        with_space("finetune", epochs={"uniform": [1.0, 5.0]}),
        EPOCHS + "uniform: epochs takes an integer of at least 1",
    ),
    "integer range of a float": (
        with_space("finetune", lr={"int": [1, 5]}),
        LR + "int: lr takes a number greater than 0",
    ),
    "integers with a point": (
        with_space("finetune", epochs={"int": [1.0, 5]}),
        EPOCHS + "int: must be two integers [low, high], got [1.0, 5]",
    ),
    "range of words": (with_space("adaprob", reference={"uniform": [0, 1]}), "reference takes one of original, pseudo"),
    "number beyond floats": (
        with_space("finetune", lr={"uniform": [0.1, 10**400]}),
        LR + "uniform: must be numbers of at most",
    ),
    "integer beyond floats": (
        with_space("finetune", epochs={"int": [1, 10**30]}),
        EPOCHS + "int: must be numbers of at most",
    ),
    "unknown kind": (
        with_space("finetune", lr={"loguniform": [0.1, 0.2]}),
        LR + "must be {log: [low, high]}, {uniform:",
    ),
    "two kinds": (
        with_space("finetune", lr={"log": [0.1, 0.2], "uniform": [0.1, 0.2]}),
        LR + "must be {log: [low, high]}",
    ),
    "range without a kind": (with_space("finetune", epochs=[1, 5]), EPOCHS + "must be {log: [low, high]}"),
    # choices
    "one choice": (
        with_space("finetune", epochs={"choice": [5]}),
        EPOCHS + "choice: must be a list of at least two values",
    ),
    "no choice": (
        with_space("finetune", epochs={"choice": []}),
        EPOCHS + "choice: must be a list of at least two values",
    ),
    "choice of a word": (
        with_space("finetune", epochs={"choice": "5"}),
        EPOCHS + "choice: must be a list of at least two",
    ),
    "choice given twice": (
        with_space("finetune", epochs={"choice": [1, 2, 1]}),
        EPOCHS + "choice: each value must be given once",
    ),
    "equal choices": (with_space("finetune", lr={"choice": [1, 1.0]}), LR + "choice: each value must be given once"),
    "choice of lists": (
        with_space("scrub", milestones={"choice": [[3], [5]]}),
        "search.space.scrub.milestones: choice: must be words or numbers, got [3]; give others a name",
    ),
    "impossible choice": (
        with_space("finetune", epochs={"choice": [1, "a"]}),
        "search.space.finetune: epochs: must be an integer of at least 1, got 'a' (with epochs=a)",
    ),
    "impossible choice in many combinations": (
        with_space("adaprob", lam={"choice": [1.0, 2.0, -1.0]}, solver={"choice": ["newton", "dual_ascent"]}),
        "search.space.adaprob: lam: must be a number greater than 0, got -1.0 (with lam=-1.0, solver=newton)",
    ),
    "one option": (
        with_space("scrub", speed={"choice": {"slow": {"lr": 0.1}}}),
        "choice: must be at least two options",
    ),
    "option of nothing": (
        with_space("scrub", speed={"choice": {"slow": {"lr": 0.1}, "fast": {}}}),
        "choice: must be at least two options {option: {field: value}}",
    ),
    "option with an unknown field": (
        with_space("scrub", speed={"choice": {"slow": {"lr": 0.1}, "fast": {"lrr": 1.0}}}),
        "search.space.scrub: unknown key 'lrr'; did you mean 'lr'?",
    ),
    "option with a list": (
        with_space("scrub", speed={"choice": {"slow": {"lr": 0.1}, "fast": {"lr": [0.2, 0.3]}}}),
        "lr: must be a number greater than 0, got [0.2, 0.3] (with speed=fast)",
    ),
    "names without settings": (
        with_space("scrub", speed={"choice": ["slow", "fast"]}),
        "unknown field 'speed' (known: ",
    ),
    "searched twice": (
        with_space("scrub", speed={"choice": {"slow": {"lr": 0.1}, "fast": {"lr": 1.0}}}, lr={"log": [0.1, 1.0]}),
        "search.space.scrub: lr is searched more than once",
    ),
    # combinations
    "choices that exclude each other": (
        with_space("adaprob", reference={"choice": ["original", "pseudo"]}, totals={"choice": ["pseudo", "original"]}),
        "search.space.adaprob: reference, totals: must be pseudo for at least one of them, got original for both",
    ),
    "option that excludes itself": (
        with_space("adaprob", reading={"choice": READINGS}),
        "got original for both, which changes nothing (with reading=same)",
    ),
    "eta without its solver": (
        with_space("adaprob", eta={"log": [0.1, 1.0]}),
        "eta: must be left out unless solver is dual_ascent, got 0.1 with solver newton",
    ),
    "eta with one of the solvers": (
        with_space("adaprob", eta={"log": [0.1, 1.0]}, solver={"choice": ["dual_ascent", "newton"]}),
        "eta: must be left out unless solver is dual_ascent, got 0.1 with solver newton (with solver=newton)",
    ),
    # faults of the sweep file itself
    "key of the sweep": (with_value(SEARCH, "metods", {}), "unknown key 'metods'; did you mean 'methods'?"),
    "class out of range": (with_value(SEARCH, "grid.forget.class", 10), "class must be 0 to 9, got 10"),
    "unknown method": (with_value(SEARCH, "methods.scrubb", {}), "unknown method 'scrubb'; did you mean 'scrub'?"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_reported_in_one_line(case: str, run_search: RunSearch) -> None:
    document, words = FAULTS[case]
    code, lines = run_search(document)
    assert code == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: search.yaml: ")
    assert words in lines[0]


def test_faults_of_all_parts_are_reported_together(run_search: RunSearch) -> None:
    document = with_value(with_search("seeds", [1, 1]), "search.objective", {"nonsense": "minimize"})
    code, lines = run_search(with_value(document, "metods", {}))
    assert code == 2
    for word in ("'metods'", "each must be given once", "none of the seeds that are reported", "'nonsense'"):
        assert sum(word in line for line in lines) == 1, (word, lines)
    assert len(lines) == 4


@pytest.mark.parametrize("command", ["run", "plan", "explain"])
def test_a_search_file_is_no_sweep_file(command: str, run_search: RunSearch) -> None:
    code, lines = run_search(SEARCH, command=command)
    assert (code, len(lines)) == (2, 1)
    assert "search: is a key of search files; for one of these use `adaprob-ray search`" in lines[0]


@pytest.mark.parametrize("option", ["--show", "--verify", "--freeze=best.yaml", "--export=all.db"])
def test_what_reads_a_store_needs_one(option: str, run_search: RunSearch) -> None:
    code, lines = run_search(SEARCH, option)
    assert (code, len(lines)) == (2, 1)
    assert "there is no such folder" in lines[0]


def test_a_trial_is_chosen_only_for_freezing(run_search: RunSearch) -> None:
    assert run_search(SEARCH, "--trial", "3") == (2, ["error: --trial: has no effect without --freeze"])


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["search", str(tmp_path / "none.yaml"), "--store", str(tmp_path / "store")]) == 2
    assert "none.yaml: cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("dataset", "words"),
    [("cifar10", "cifar"), ("faces10", "faces")],
)
def test_data_that_are_missing_are_noticed_before_the_store_is_created(
    dataset: str, words: str, run_search: RunSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path / "data"))
    code, lines = run_search(with_value(SEARCH, "grid.dataset", dataset))
    assert code == 2
    assert lines
    assert all(words in line for line in lines)


@pytest.mark.parametrize("rule", ["validation", "oracle"])
def test_the_rule_validation_needs_validation_rows_of_the_class(rule: str) -> None:
    class OneRow:
        """Digits with a single validation row of each class."""

        validation_per_class = (1,) * 10

        def __getattr__(self, name: str) -> Any:
            return getattr(REGISTRY.datasets["digits"], name)

    registry = replace(REGISTRY, datasets={**REGISTRY.datasets, "digits": OneRow()})
    text = yaml.safe_dump(with_search("rule", rule))
    if rule == "oracle":
        assert SearchFile.parse(text, registry).targets
        return
    with pytest.raises(InputError, match="validation samples of the forget class; digits has 1 of class 3") as caught:
        SearchFile.parse(text, registry)
    assert len(caught.value.faults) == 1


def test_the_targets_are_all_labels_at_all_points() -> None:
    forget = [{"kind": "selective", "class": 3, "count": 25}, {"kind": "class", "class": 1}]
    search = parse(with_value(with_search("rule", "validation"), "grid.forget", forget))
    assert [str(target) for target in search.targets] == [
        f"{label} on digits, allcnn, {request}"
        for label in ("finetune", "scrub", "adaprob")
        for request in ("25of3", "class1")
    ]
    assert {target.rule.name for target in search.targets} == {"validation", "validation_class"}


def test_settings_may_depend_on_the_grid_point() -> None:
    entries = [
        {"where": {"forget": {"class": 3}}, "with": {"momentum": 0.5}},
        {"where": {"forget": {"class": 4}}, "with": {"momentum": 0.7}},
    ]
    forget = [{"kind": "selective", "class": number, "count": 25} for number in (3, 4)]
    document = with_value(with_value(SEARCH, "methods.finetune", entries), "grid.forget", forget)
    fixed = [dict(target.fixed) for target in parse(document).targets if target.label == "finetune"]
    assert fixed == [{"momentum": 0.5}, {"momentum": 0.7}]


def test_a_list_is_one_value_where_the_field_is_a_list() -> None:
    document = with_value(SEARCH, "methods.scrub.milestones", [2, 4])
    (target,) = (target for target in parse(document).targets if target.label == "scrub")
    assert target.fixed == {"milestones": [2, 4]}


def test_the_search_file_of_the_repository_is_accepted() -> None:
    search = SearchFile.load(Path(__file__).resolve().parents[2] / "sweeps/search_digits.yaml", REGISTRY)
    assert [target.label for target in search.targets] == ["adaprob", "scrub", "neggrad_plus", "finetune"]


def test_an_error_of_the_text_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(with_search("lag", 0)))
    with pytest.raises(InputError, match=r"search\.yaml: search\.lag: must be an integer of at least 1"):
        SearchFile.load(path, REGISTRY)
