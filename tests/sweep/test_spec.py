"""What a sweep file expands to. The counts are counted by hand or by a formula, never by the planner."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import BASE, WORLD, expand, keys, with_bumped_revision, with_value

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.sweep.cell import Cell, Resources
from adaprob_ray.sweep.sweep import Sweep

STAGES = tuple(WORLD.stages)
EVERY = set(STAGES) - {"relearn"}  # of a sweep that does not ask for relearn, see test_relearn_plan.py
SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"

TABLE2 = """
name: table2
grid:
  dataset: [cifar10, faces10]
  architecture: [{name: allcnn, filters: 1.0}]
  forget: [{kind: selective, class: 5, count: 100}]
  seed: [1, 2, 3, 4, 5]
train: {recipe: large}
methods:
  original: {}
  retrain: {}
  scrub:
    - where: {dataset: cifar10}
      with: {lr: 5.0e-4, epochs: 5, forget_epochs: 3, alpha: 0.5}
    - where: {dataset: faces10}
      with: {lr: 1.0e-4}
  adaprob_eq1: {method: adaprob, reference: original, totals: pseudo, lam: 1.0, lr: 5.0e-3}
  adaprob_script: {method: adaprob, reference: pseudo, totals: pseudo, lam: 1.0, lr: 5.0e-3}
metrics: [errors, membership, kl_to_retrain, seconds]
precision: float32
resources: {pretrain: {gpu: 1}, train: {gpu: 0.5}, unlearn: {gpu: 0.2}}
keep: {unlearn: outputs}
expect: {cells: 122}
"""


def counts(cells: dict[str, Cell]) -> dict[str, int]:
    return {stage: len(keys(cells, stage)) for stage in STAGES}


def of(cells: dict[str, Cell], stage: str, **settings: Any) -> list[Cell]:
    return [
        c
        for c in cells.values()
        if c.stage == stage and all(getattr(c.settings, n, None) == v for n, v in settings.items())
    ]


def faults(document: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        expand(document)
    return caught.value.faults


def test_quickstart_has_93_cells() -> None:
    cells = Sweep.load(SWEEPS / "quickstart.yaml", REGISTRY).cells
    # 3 originals, 2 x 3 x 2 retrainings; 5 labels that unlearn and 8 evaluated, for 2 requests and 3 seeds.
    assert counts(cells) == {"pretrain": 0, "train": 3 + 12, "unlearn": 5 * 6, "relearn": 0, "evaluate": 8 * 6}
    assert len(cells) == 93


def test_every_sweep_of_the_repository_expands_to_what_it_expects() -> None:
    files = sorted(SWEEPS.glob("*.yaml"))
    assert SWEEPS / "quickstart.yaml" in files
    for file in files:
        if not file.name.startswith("search_"):
            sweep = Sweep.load(file, REGISTRY)
            assert yaml.safe_load(file.read_text())["expect"]["cells"] == len(sweep.cells), file.name


def test_example_of_the_design_has_122_cells() -> None:
    cells = Sweep.parse(TABLE2, WORLD).cells
    assert counts(cells) == {"pretrain": 2, "train": 30, "unlearn": 30, "relearn": 0, "evaluate": 60}


def test_where_and_with_select_by_grid_point() -> None:
    cells = Sweep.parse(TABLE2, WORLD).cells
    rates = {c.settings.dataset.name: c.settings.hyper["lr"] for c in of(cells, "unlearn", method="scrub")}
    assert rates == {"cifar10": 5e-4, "faces10": 1e-4}


@settings(max_examples=60)
@given(
    datasets=st.sets(st.sampled_from(["cifar10", "faces10", "dots"]), min_size=1),
    architectures=st.integers(1, 2),
    requests=st.integers(1, 3),
    seeds=st.integers(1, 3),
    rates=st.lists(st.integers(1, 3), max_size=3),
    repeats=st.integers(1, 3),
    pretrain=st.booleans(),
)
def test_the_number_of_cells_is_the_formula(
    datasets: set[str], architectures: int, requests: int, seeds: int, rates: list[int], repeats: int, pretrain: bool
) -> None:
    """Each label i lists rates[i] learning rates of its own: every point has three trained models and all of those."""
    labels = {f"l{i}": {"method": "scrub", "lr": [10.0 * i + j + 1 for j in range(n)]} for i, n in enumerate(rates)}
    document = {
        **BASE,
        "grid": {
            "dataset": sorted(datasets),
            "architecture": ["allcnn", "resnet18"][:architectures],
            "forget": [{"kind": "selective", "class": 1, "count": n + 1} for n in range(requests)],
            "seed": list(range(1, seeds + 1)),
        },
        "methods": labels,
        "repeats": repeats,
        "pretrain": {} if pretrain else False,
    }
    models = len(datasets) * architectures * seeds
    unlearned = models * requests * sum(rates) * repeats
    assert counts(expand(document)) == {
        "pretrain": architectures * len(datasets - {"dots"}) * pretrain,
        "train": models * (1 + 2 * requests),
        "unlearn": unlearned,
        "relearn": 0,
        "evaluate": models * requests * 3 + unlearned,
    }


def test_parents_stand_before_children() -> None:
    cells = Sweep.parse(TABLE2, WORLD).cells
    earlier: set[str] = set()
    for key, cell in cells.items():
        assert key == cell.key
        assert earlier >= set(cell.parents.values())
        earlier.add(key)


def test_references_are_planned_and_evaluated_though_none_is_listed() -> None:
    cells = expand(with_value(BASE, "methods", {}))
    names = ["original", "retrain", "retrain_independent"]
    assert sorted(c.settings.method for c in of(cells, "train", seed=1)) == names
    assert sorted(c.settings.label for c in of(cells, "evaluate", seed=1)) == names


def test_one_original_serves_all_forget_requests() -> None:
    requests = [{"kind": "class", "class": 0}, {"kind": "selective", "class": 1, "count": 5}]
    cells = expand(with_value(BASE, "grid.forget", requests))
    for seed in (1, 2):
        (original,) = of(cells, "train", method="original", seed=seed)
        assert original.forget is None
        unlearned = of(cells, "unlearn", seed=seed)
        assert [c.forget.document() for c in unlearned] == requests
        assert {c.parents["original"] for c in unlearned} == {original.key}
    assert len(of(cells, "evaluate", label="original")) == 2 * 2


def test_one_pretraining_serves_all_seeds_and_requests() -> None:
    cells = expand(with_value(BASE, "grid.dataset", "cifar10"))
    (pretrained,) = of(cells, "pretrain")
    assert pretrained.settings.dataset.name == "cifar100"
    assert {c.parents["pretrain"] for c in of(cells, "train")} == {pretrained.key}


def test_pretraining_can_be_left_out() -> None:
    cells = expand(with_value(with_value(BASE, "grid.dataset", "cifar10"), "pretrain", False))
    assert not of(cells, "pretrain")
    assert {tuple(c.parents) for c in of(cells, "train")} == {()}


def test_an_evaluate_cell_has_its_model_and_the_three_references_of_its_seed_as_parents() -> None:
    cells = expand(BASE)
    for cell in of(cells, "evaluate"):
        parents = {role: cells[key] for role, key in cell.parents.items()}
        assert set(parents) == {"model", "original", "retrain", "retrain_independent"}
        assert {p.settings.seed for p in parents.values()} == {cell.settings.seed}
        assert parents["model"].settings.method == cell.settings.method
        assert parents["model"].settings.hyper == cell.settings.hyper
        for role in ("original", "retrain", "retrain_independent"):
            assert parents[role].settings.method == role


def test_equal_settings_under_two_labels_share_the_model_but_not_the_evaluation() -> None:
    cells = expand(with_value(BASE, "methods", {"scrub": {}, "twin": {"method": "scrub", "lr": 5e-3}}))
    assert len(of(cells, "unlearn", seed=1)) == 1
    scrub, twin = of(cells, "evaluate", method="scrub", seed=1)
    assert (scrub.settings.label, twin.settings.label) == ("scrub", "twin")
    assert scrub.parents == twin.parents
    assert scrub.key != twin.key


def test_lists_multiply() -> None:
    cells = expand(with_value(BASE, "methods", {"scrub": {"lr": [0.1, 0.2], "epochs": [1, 2, 3]}}))
    values = {(c.settings.hyper["lr"], c.settings.hyper["epochs"]) for c in of(cells, "unlearn", seed=1)}
    assert values == {(lr, epochs) for lr in (0.1, 0.2) for epochs in (1, 2, 3)}


@pytest.mark.parametrize(
    ("milestones", "expected"),
    [
        ([1, 2], {(1, 2)}),
        ([7], {(7,)}),
        ([[1, 2], [3]], {(1, 2), (3,)}),
        ([[4]], {(4,)}),
        ([], {()}),
    ],
)
def test_a_list_is_the_value_where_the_field_is_one_and_a_list_of_lists_multiplies(
    milestones: list[Any], expected: set[tuple[int, ...]]
) -> None:
    cells = expand(with_value(BASE, "methods.scrub.milestones", milestones))
    assert {c.settings.hyper["milestones"] for c in of(cells, "unlearn", seed=1)} == expected


def test_repeats_multiply_what_unlearns_and_nothing_that_trains() -> None:
    cells = expand(with_value(BASE, "repeats", 3))
    assert [c.settings.repeat for c in of(cells, "unlearn", seed=1)] == [0, 1, 2]
    assert [c.settings.repeat for c in of(cells, "evaluate", seed=1, label="scrub")] == [0, 1, 2]
    assert [c.settings.repeat for c in of(cells, "evaluate", seed=1, label="retrain")] == [0]
    assert len(of(cells, "train", seed=1)) == 3


def test_retrain_independent_takes_the_settings_of_retrain() -> None:
    cells = expand(with_value(BASE, "methods.retrain", {"variant": "plain"}))
    assert {c.settings.hyper["variant"] for c in of(cells, "train", method="retrain_independent")} == {"plain"}
    (fault,) = faults(with_value(BASE, "methods.retrain_independent", {"variant": "plain"}))
    assert "takes the settings of retrain" in fault


def test_a_retraining_under_another_label_is_no_reference() -> None:
    cells = expand(with_value(BASE, "methods", {"plain": {"method": "retrain", "variant": "plain"}}))
    (evaluated,) = of(cells, "evaluate", label="plain", seed=1)
    assert cells[evaluated.parents["model"]].settings.hyper == {"variant": "plain"}
    assert cells[evaluated.parents["retrain"]].settings.hyper == {"variant": "code"}


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"retrain": {"variant": ["code", "plain"]}}, "one combination of settings"),
        ({"original": {"method": "scrub"}}, "reserved"),
    ],
)
def test_a_reference_is_one_model_of_its_own_method(method: dict[str, Any], words: str) -> None:
    assert any(words in fault for fault in faults(with_value(BASE, "methods", method)))


WHERES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"dataset": "dots"}, True),
    ({"dataset": "cifar10"}, False),
    ({"dataset": ["cifar10", "dots"]}, True),
    ({"dataset": {"name": "dots", "test_pool": "clean"}}, True),
    ({"dataset": {"test_pool": "paper"}}, False),
    ({"forget": "selective"}, True),
    ({"forget": "class"}, False),
    ({"forget": {"class": 1}}, True),
    ({"forget": {"class": 0}}, False),
    ({"seed": 1}, True),
    ({"seed": [2, 3]}, False),
    ({"architecture": {"filters": 1.0}, "seed": 1}, True),
    ({"architecture": "allcnn", "seed": 2}, False),
]


@pytest.mark.parametrize(("where", "fits"), WHERES)
def test_where_holds_by_name_kind_number_part_or_list(where: dict[str, Any], fits: bool) -> None:
    document = with_value(BASE, "grid.seed", 1)
    entry = {"where": where, "with": {"lr": 0.7}}
    if fits:
        cells = expand(with_value(document, "methods", {"scrub": [entry]}))
        assert {c.settings.hyper["lr"] for c in of(cells, "unlearn")} == {0.7}
    else:
        (fault,) = faults(with_value(document, "methods", {"scrub": [entry]}))
        assert "methods.scrub: 0 entries match dots, allcnn, 5of1, seed 1; exactly one must" in fault


def test_two_entries_that_match_are_refused_for_every_point_and_label_at_once() -> None:
    both = [{"where": {}, "with": {}}, {"where": {"seed": 2}, "with": {}}]
    none = [{"where": {"seed": 1}, "with": {}}]
    lines = faults(with_value(BASE, "methods", {"a": both_of("scrub", both), "b": both_of("adaprob", none)}))
    assert sorted(lines) == [
        "methods.a: 2 entries match dots, allcnn, 5of1, seed 2; exactly one must",
        "methods.b: 0 entries match dots, allcnn, 5of1, seed 2; exactly one must",
    ]


def both_of(method: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"where": e["where"], "with": {"method": method, **e["with"]}} for e in entries]


def test_a_seed_added_adds_only_its_own_cells() -> None:
    before, after = expand(BASE), expand(with_value(BASE, "grid.seed", [1, 2, 3]))
    assert before.keys() <= after.keys()
    added = [cell for key, cell in after.items() if key not in before]
    assert {c.settings.seed for c in added} == {3}
    assert len(added) == len(before) // 2


@pytest.mark.parametrize(
    ("kind", "name", "moved"),
    [
        ("metrics", "errors", {"evaluate"}),
        ("stages", "evaluate", {"evaluate"}),
        ("stages", "train", {"train", "unlearn", "evaluate"}),
        ("stages", "pretrain", EVERY),
        ("datasets", "cifar100", EVERY),
        ("datasets", "cifar10", {"train", "unlearn", "evaluate"}),
        ("architectures", "allcnn", EVERY),
        ("architectures", "resnet18", set()),
        ("metrics", "seconds", set()),
        ("methods", "adaprob", set()),
        ("recipes", "large", {"train", "unlearn", "evaluate"}),
        ("recipes", "pretrain", EVERY),
    ],
)
def test_a_revision_moves_the_keys_of_what_it_makes_and_of_all_below(kind: str, name: str, moved: set[str]) -> None:
    document = with_value(BASE, "grid.dataset", "cifar10")
    before, after = expand(document), expand(document, with_bumped_revision(kind, name))
    for stage in STAGES:
        old, new = keys(before, stage), keys(after, stage)
        assert len(old) == len(new)
        assert old.isdisjoint(new) if stage in moved else old == new, stage


@pytest.mark.parametrize(
    ("kind", "name", "methods"),
    [("methods", "scrub", {"scrub"}), ("stages", "unlearn", {"scrub", "adaprob"})],
)
def test_a_revision_of_unlearning_moves_only_its_own_models_and_their_evaluations(
    kind: str, name: str, methods: set[str]
) -> None:
    document = with_value(BASE, "methods", {"scrub": {}, "adaprob": {}})
    before, after = expand(document), expand(document, with_bumped_revision(kind, name))
    removed = [(cell.stage, cell.settings.method) for key, cell in before.items() if key not in after]
    assert set(removed) == {(stage, method) for stage in ("unlearn", "evaluate") for method in methods}
    assert len(removed) == 2 * 2 * len(methods)  # two stages, two seeds


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("resources", {"train": {"cpu": 2, "gpu": 0.5, "exclusive": True}, "evaluate": {"cpu": 2}}),
        ("keep", {"unlearn": "weights"}),
        ("name", "another"),
        ("about", "words"),
        ("expect", {"cells": 16}),
        ("methods", {"scrub": {"alpha": 0.5, "epochs": 5, "milestones": [3, 5, 9]}}),
        ("methods", {"scrub": {"alpha": 0.5, "method": "scrub"}, "original": {}, "retrain": {"variant": "code"}}),
        ("grid.dataset", {"name": "dots", "test_pool": "clean"}),
        ("grid.architecture", [{"filters": 1, "name": "allcnn"}]),
        ("train", {}),
        ("train", {"lr": 0.01, "recipe": "large"}),
        ("train", {"lr": 0.01, "recipe": "small"}),
    ],
)
def test_keys_do_not_move_with_resources_words_or_defaults_written_out(path: str, value: Any) -> None:
    assert expand(with_value(BASE, path, value)).keys() == expand(BASE).keys()


def test_keys_do_not_move_with_the_order_of_the_file() -> None:
    def reversed_(value: Any) -> Any:
        return {k: reversed_(value[k]) for k in reversed(list(value))} if isinstance(value, dict) else value

    document = with_value(BASE, "methods", {"scrub": {"lr": 0.1, "alpha": 0.2}, "adaprob": {}})
    turned = reversed_(document)
    assert list(turned) != list(document)
    assert expand(turned).keys() == expand(document).keys()


@pytest.mark.parametrize(
    ("path", "value", "moved"),
    [
        ("methods.scrub.lr", 0.1, {"unlearn", "evaluate"}),
        ("methods.retrain", {"variant": "plain"}, {"train", "evaluate"}),
        ("metrics", ["errors"], {"evaluate"}),
        ("train.lr", 0.5, {"train", "unlearn", "evaluate"}),
        ("train.recipe", "small", {"train", "unlearn", "evaluate"}),
        ("pretrain", {"epochs": 3}, EVERY),
        ("pretrain", {"seed": 2}, EVERY),
        ("precision", "bfloat16", EVERY),
        ("grid.architecture", {"name": "allcnn", "filters": 0.5}, EVERY),
        ("grid.dataset", {"name": "cifar10", "test_pool": "paper"}, {"train", "unlearn", "evaluate"}),
    ],
)
def test_a_setting_moves_the_keys_of_what_it_makes_and_of_all_below(path: str, value: Any, moved: set[str]) -> None:
    document = with_value(BASE, "grid.dataset", "cifar10")
    before, after = expand(document), expand(with_value(document, path, value))
    for stage in STAGES:
        same = keys(before, stage) == keys(after, stage)
        assert same is (stage not in moved), stage


def test_resources_and_keep_reach_their_stage() -> None:
    document = with_value(with_value(BASE, "resources", {"unlearn": {"cpu": 3, "gpu": 0.2}}), "keep.unlearn", "weights")
    cells = expand(document)
    for cell in cells.values():
        resources = {"cpu": 3, "gpu": 0.2} if cell.stage == "unlearn" else {"cpu": 1, "gpu": 0}
        assert cell.resources == Resources(**resources)
    assert {c.keep for c in of(cells, "unlearn")} == {"weights"}
    assert {c.keep for c in of(expand(BASE), "unlearn")} == {"outputs"}
    assert {c.keep for c in of(cells, "train")} == {"weights"}


# -- any content of a file gives cells or InputError ----------------------------------------------------------------------

JUNK = st.recursive(
    st.sampled_from([None, True, -1, 0, 3, 2.5, math.nan, math.inf, "", "x", "scrub", "1e-4", [], {}]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "kind", "method", "a"]), inner)
    ),
    max_leaves=4,
)
RICH = {
    **BASE,
    "pretrain": {"epochs": 3, "seed": 1},
    "methods": {"scrub": {"lr": 0.1}, "a": [{"where": {"dataset": "dots"}, "with": {"method": "adaprob", "lam": 2.0}}]},
    "precision": "float32",
    "repeats": 1,
    "resources": {"train": {"cpu": 1}},
    "keep": {"unlearn": "outputs"},
    "expect": {"cells": None},
}


def places(document: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    inside = [((*way, name), value) for name, value in items]
    deeper = [place for w, value in inside if isinstance(value, (dict, list)) for place in places(value, w)]
    return [w for w, _ in inside] + deeper


@pytest.mark.slow
@settings(max_examples=300)
@given(place=st.sampled_from(places(RICH)), junk=JUNK)
def test_junk_anywhere_gives_cells_or_one_line_for_each_fault(place: tuple[Any, ...], junk: Any) -> None:
    document = yaml.safe_load(yaml.safe_dump(dict(RICH)))
    inner = document
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = junk
    with contextlib.suppress(InputError):
        assert expand(document)
        return
    lines = faults(document)
    assert lines
    assert all(line and "\n" not in line for line in lines), lines


# -- keys under a former name -----------------------------------------------------------------------------------------------


def test_a_renamed_key_is_taken_under_its_former_name_with_a_warning(tmp_path: Path) -> None:
    document = {**BASE, "reading": "scrub"}
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.warns(FutureWarning, match=r"sweep\.yaml: reading: is deprecated, write primary_label"):
        sweep = Sweep.load(path, WORLD)
    assert sweep.file.primary_label == "scrub"
    assert sweep.cells.keys() == expand({**BASE, "primary_label": "scrub"}).keys() == expand(BASE).keys()


def test_both_names_of_a_renamed_key_are_a_fault() -> None:
    (fault,) = faults({**BASE, "reading": "scrub", "primary_label": "scrub"})
    assert "reading: is the former name of primary_label" in fault


# -- labels whose method declines -------------------------------------------------------------------------------------------


class Picky(type(WORLD.methods["scrub"]())):
    """Declines forget sets of more than five samples."""

    def skip(self, sizes: Any, architecture: Any) -> str | None:
        return f"takes at most 5 samples, got {sizes.forget}" if sizes.forget > 5 else None


def test_a_label_whose_method_declines_is_skipped_with_the_reason_and_the_rest_is_planned() -> None:
    world = replace(WORLD, methods={**WORLD.methods, "picky": Picky})
    requests = [{"kind": "selective", "class": 1, "count": count} for count in (5, 6)]
    document = with_value(with_value(BASE, "grid.forget", requests), "methods", {"scrub": {}, "picky": {}})
    sweep = Sweep.parse(yaml.safe_dump(document), world)
    assert [str(line) for line in sweep.skipped] == ["picky on dots, allcnn, 6of1: takes at most 5 samples, got 6"]
    assert [cell.forget.count for cell in of(sweep.cells, "unlearn", method="picky", seed=1)] == [5]
    assert [cell.forget.count for cell in of(sweep.cells, "evaluate", label="picky", seed=1)] == [5]
    assert len(of(sweep.cells, "unlearn", method="scrub", seed=1)) == 2
    with pytest.raises(InputError, match="skipped: picky on dots"):
        Sweep.parse(yaml.safe_dump({**document, "expect": {"cells": len(sweep.cells) + 4}}), world)


def test_a_label_with_nothing_after_it_has_the_defaults() -> None:
    grid = "{dataset: digits, architecture: allcnn, forget: {kind: class, class: 3}, seed: 1}"
    text = f"name: x\ngrid: {grid}\nmetrics: [errors]\n"
    empty = Sweep.parse(f"{text}methods:\n  scrub:\n  retrain:\n", REGISTRY)
    explicit = Sweep.parse(f"{text}methods:\n  scrub: {{}}\n  retrain: {{}}\n", REGISTRY)
    assert empty.cells.keys() == explicit.cells.keys()
    assert "scrub" in {cell.label for cell in empty.cells.values()}
