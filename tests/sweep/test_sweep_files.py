"""The sweep files of the repository: how many cells they have, counted by hand, and SCRUB's settings as in the notebooks."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaprob_ray import cli
from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.sweep.sweep import Sweep

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
RESULTS = SWEEPS.parent / "results"

PLANNED = [file for file in sorted(SWEEPS.glob("*.yaml")) if not file.name.startswith("search_")]
UNCOSTED = ("quickstart",)  # the README has its cost

# Protocol §5.8: optimizer, lr, weight decay, E, msteps, γ, α, T, milestones, p, forget batch, retain batch.
NOTEBOOKS = {
    ("cifar5", "resnet18", "selective"): ("sgd", 0.05, 0.1, 10, 10, 1.0, 0.5, 2.0, (5, 8, 9), 0.5, 32, 32),
    ("cifar5", "allcnn", "selective"): ("sgd", 0.02, 0.1, 10, 5, 1.0, 0.5, 2.0, (5, 8, 9), 0.5, 16, 32),
    ("faces5", "resnet18", "selective"): ("sgd", 0.02, 0.1, 10, 5, 1.0, 0.5, 2.0, (5, 8, 9), 0.5, 32, 32),
    ("faces5", "allcnn", "selective"): ("sgd", 0.02, 0.1, 10, 5, 1.0, 0.5, 2.0, (5, 8), 0.5, 32, 32),
    ("cifar10", "resnet18", "class"): ("sgd", 5e-4, 5e-4, 3, 2, 0.95, 0.001, 4.0, (3, 5, 9), 0.0, 512, 256),
    ("cifar10", "allcnn", "class"): ("sgd", 5e-4, 5e-4, 4, 3, 0.99, 0.001, 4.0, (3, 5, 9), 0.0, 512, 256),
    ("cifar10", "resnet18", "selective"): ("sgd", 5e-3, 5e-4, 2, 5, 0.99, 0.001, 4.0, (3, 5, 9), 0.0, 512, 256),
    ("cifar10", "allcnn", "selective"): ("sgd", 2.5e-3, 5e-4, 3, 5, 0.99, 0.001, 4.0, (3, 5, 9), 0.0, 512, 256),
    ("faces10", "resnet18", "class"): ("sgd", 5e-3, 5e-4, 3, 5, 0.99, 0.95, 4.0, (3, 5, 9), 0.0, 512, 256),
    ("faces10", "allcnn", "class"): ("sgd", 3e-3, 5e-4, 4, 4, 0.9999, 0.001, 4.0, (3, 5, 9), 0.0, 512, 256),
    ("faces10", "resnet18", "selective"): ("sgd", 5e-3, 5e-4, 3, 4, 0.99, 0.001, 4.0, (3, 5, 9), 0.0, 512, 256),
    ("faces10", "allcnn", "selective"): ("sgd", 1e-4, 5e-4, 5, 2, 0.9999, 0.001, 4.0, (3, 5, 9), 0.0, 512, 256),
    ("cifar100", "resnet18", "class"): ("adam", 5e-4, 5e-4, 5, 5, 1.0, 0.5, 4.0, (5, 5, 9), 0.5, 64, 128),
}
MEMBERSHIP = {  # the bad-teacher notebook's and the membership notebook's, for both architectures
    ("cifar10", architecture, forget): settings
    for architecture in ("resnet18", "allcnn")
    for forget, settings in {
        "class": ("sgd", 5e-4, 5e-4, 3, 2, 0.99, 0.001, 4.0, (3, 5, 9), 0.5, 512, 128),
        "selective": ("sgd", 5e-4, 5e-4, 5, 3, 1.0, 0.5, 4.0, (3, 5, 9), 0.5, 16, 32),
    }.items()
}
SMALL = {key: NOTEBOOKS[key] for key in NOTEBOOKS if key[0] in ("cifar5", "faces5")}
LARGE = {key: NOTEBOOKS[key] for key in NOTEBOOKS if key[0] in ("cifar10", "faces10")}
HUNDRED = {key: NOTEBOOKS[key] for key in NOTEBOOKS if key[0] == "cifar100"}
# What the paper compares, with the original and both retrainings. A method of your own does not have to be in small_all.yaml.
PAPER_METHODS = {
    *("original", "retrain", "retrain_independent", "finetune", "neggrad_plus", "fisher", "ntk", "cf_k", "eu_k"),
    *("bad_teacher", "scrub", "scrub_rewind", "adaprob"),
}
Settings = dict[tuple[str, str, str], tuple[Any, ...]]


def among(settings: Settings, *words: str) -> Settings:
    """Those whose key has all these words."""
    return {key: given for key, given in settings.items() if set(words) <= set(key)}


FACES10_ALLCNN = ("faces10", "allcnn", "selective")
FILES: dict[str, Settings] = {
    "notebook_small": SMALL,
    "small_all": among(SMALL, "resnet18"),
    "notebook_large": LARGE,
    "notebook_membership": MEMBERSHIP,
    "notebook_cifar100": HUNDRED,
    "table1_large": among(LARGE, "resnet18"),
    "table2": among(MEMBERSHIP, "allcnn", "selective") | among(LARGE, *FACES10_ALLCNN),
    "table3_large": among(LARGE, "faces10", "allcnn"),
    "table5": {},
    "figure2": among(SMALL, "faces5", "allcnn"),
    "figure4_class": among(LARGE, "cifar10", "resnet18", "class"),
    "figure4_selective": among(LARGE, "cifar10", "allcnn", "selective"),
    "ablation_lambda": {},
    "ablation_eta": {},
}
SCRUBS = {  # where not all three stand
    "notebook_large": ("scrub_notebook", "scrub_rewind_notebook"),
    "table2": ("scrub_notebook", "scrub_rewind_notebook"),
    **dict.fromkeys(
        ("table1_large", "table3_large", "figure2", "figure4_class", "figure4_selective"), ("scrub_notebook",)
    ),
}
# pretrainings, originals, grid points, networks unlearned at each; small has ntk and both SCRUBs, large neither, others no ntk.
SHAPES = {
    "notebook_small": (4, 12, 12, 13),
    "small_all": (2, 6, 6, 13),
    "notebook_large": (4, 12, 24, 11),
    "notebook_membership": (2, 10, 20, 11),
    "notebook_cifar100": (0, 3, 3, 12),
    "table1_large": (2, 10, 20, 4),
    "table2": (2, 10, 10, 10),
    "table3_large": (1, 5, 10, 4),
    "table5": (1, 3, 3, 2 * (16 + 8 + 16)),
    "figure2": (1, 3, 3, 4),
    "figure4_class": (1, 6, 6, 2),
    "figure4_selective": (1, 6, 6, 2),
    "ablation_lambda": (1, 6, 6, 3 * 3 * 7),
    "ablation_eta": (1, 6, 6, 3 * (1 + 7)),
}
FIELDS = (
    *("optimizer", "lr", "weight_decay", "epochs", "forget_epochs", "gamma", "alpha", "temperature", "milestones"),
    *("smoothing", "forget_batch", "retain_batch"),
)


@functools.cache
def sweep(name: str) -> Sweep:
    return Sweep.load(SWEEPS / f"{name}.yaml", REGISTRY)


def scrubs(name: str) -> Iterator[tuple[str, tuple[str, str, str], dict[str, Any]]]:
    """Label, setting and hyper-parameters of every evaluated SCRUB, rewound or not."""
    for cell in sweep(name).cells.values():
        s = cell.settings
        if cell.stage == "evaluate" and s.method in ("scrub", "scrub_rewind"):
            yield s.label, (s.dataset.name, s.architecture.name, s.forget.kind), s.hyper


@pytest.mark.parametrize("name", FILES)
def test_scrub_has_the_settings_of_the_notebooks(name: str) -> None:
    seen = set()
    for label, setting, hyper in scrubs(name):
        expected = dict(zip(FIELDS, FILES[name][setting], strict=True))
        if label == "scrub_unsmoothed_notebook":
            expected["smoothing"] = 0.0
        given = {field: hyper[field] for field in FIELDS}
        given["milestones"] = tuple(given["milestones"])
        assert given == expected, f"{name}: {label} at {setting}"
        assert hyper["momentum"] == 0.9
        assert hyper["smoothing_start"] == 10
        seen.add((label, setting))
    wanted = SCRUBS.get(name, ("scrub_notebook", "scrub_unsmoothed_notebook", "scrub_rewind_notebook"))
    assert seen == {(label, setting) for label in wanted for setting in FILES[name]}


@pytest.mark.parametrize("name", FILES)
def test_the_rewind_is_closest_but_for_the_bad_teacher_notebook(name: str) -> None:
    for label, (_, _, forget), hyper in scrubs(name):
        if label == "scrub_rewind_notebook":
            first = name == "notebook_membership" and forget == "class"
            assert hyper["rule"] == ("first_above" if first else "closest")


@pytest.mark.parametrize("name", FILES)
def test_stages_have_as_many_cells_as_counted_by_hand(name: str) -> None:
    pretrained, originals, points, labels = SHAPES[name]
    counted = Counter(cell.stage for cell in sweep(name).cells.values())
    assert counted["pretrain"] == pretrained
    assert counted["train"] == originals + 2 * points
    assert counted["unlearn"] == labels * points
    assert counted["evaluate"] == (labels + 3) * points


@pytest.mark.parametrize("name", FILES)
def test_labels_say_where_their_settings_come_from(name: str) -> None:
    references = {"original", "retrain", "retrain_independent"}
    for label in sweep(name).file.methods:
        assert label in references or label.endswith(("_notebook", "_default"))
        assert not label.startswith("adaprob") or label.endswith("_default")


def test_all_thirteen_settings_and_all_twelve_methods_are_there() -> None:
    files = [sweep(name) for name in FILES]
    settings = {setting for name in FILES for _, setting, _ in scrubs(name)}
    assert settings == set(NOTEBOOKS)
    small = next(file for file in files if file.name == "small_all")
    methods = {cell.settings.method for cell in small.cells.values() if cell.stage == "evaluate"}
    assert methods == PAPER_METHODS
    assert methods <= set(REGISTRY.methods)


# -- no drift between copies ----------------------------------------------------------------------------------------------

TWINS = {  # a file that has a part of what a notebook file has, perhaps with more seeds
    "small_all": "notebook_small",
    "figure2": "notebook_small",
    "table1_large": "notebook_large",
    "table3_large": "notebook_large",
    "figure4_class": "notebook_large",
    "figure4_selective": "notebook_large",
    "table2": "notebook_membership",
}
ABLATIONS = ("table5", "ablation_lambda", "ablation_eta")
SHARED = [
    *((twin, name) for name, twin in TWINS.items() if name != "table2"),
    ("small_all", "table5"),
    ("ablation_lambda", "ablation_eta"),
    *(("notebook_large", name) for name in ("notebook_membership", "table2")),
    *(("table2", "figure4_selective"), ("table1_large", "figure4_class")),
]


def seeds(name: str) -> set[int]:
    given = sweep(name).file.grid.seed
    return set(given if isinstance(given, list) else [given])


def settings_of(name: str) -> dict[tuple[str, tuple[str, str, str]], dict[str, Any]]:
    """Hyper-parameters by label and setting, of the labels that have one choice of them."""
    return {
        (s.label, (s.dataset.name, s.architecture.name, s.forget.kind)): s.hyper
        for s in (cell.settings for cell in sweep(name).cells.values() if cell.stage == "evaluate")
    }


def original_of(name: str, label: str, setting: tuple[str, str, str]) -> dict[str, Any]:
    """The hyper-parameters that a copy must have. The membership notebook has no Lacuna-10; SCRUB has a notebook there."""
    if (name, setting) != ("table2", FACES10_ALLCNN):
        return settings_of(TWINS[name])[label, setting]
    if label.startswith("scrub"):
        return settings_of("notebook_large")[label, setting]
    return settings_of("notebook_membership")[label, ("cifar10", *setting[1:])]


@pytest.mark.parametrize("name", TWINS)
def test_settings_are_those_of_the_same_label_in_the_notebook_file(name: str) -> None:
    for (label, setting), hyper in settings_of(name).items():
        assert hyper == original_of(name, label, setting), f"{label} at {setting}"


@pytest.mark.parametrize("name", TWINS)
def test_no_cell_of_a_notebook_file_is_another_one_elsewhere(name: str) -> None:
    """Recipes, precision, metrics and hyper-parameters are the same, so that nothing is run twice."""
    twin = sweep(TWINS[name])
    datasets = {cell.settings.dataset.name for cell in twin.cells.values()}
    cells = {
        key
        for key, cell in sweep(name).cells.items()
        if cell.settings.seed in seeds(twin.name) and cell.settings.dataset.name in datasets
    }
    assert cells
    assert cells < set(twin.cells)


@pytest.mark.parametrize(("name", "other"), SHARED)
def test_files_share_pretraining_and_training(name: str, other: str) -> None:
    trained = {key: cell for key, cell in sweep(other).cells.items() if cell.stage in ("pretrain", "train")}
    shared = {key for key, cell in trained.items() if cell.settings.seed in seeds(name)}
    assert shared
    assert shared <= set(sweep(name).cells)


def test_table_5_goes_through_the_settings_of_the_tables() -> None:
    """The networks that AdaProb left with λ in the targets, λ = 1 and Newton's method are those of small_all.yaml."""
    unlearned = {
        key
        for key, cell in sweep("small_all").cells.items()
        if cell.stage == "unlearn" and cell.settings.method == "adaprob" and cell.settings.dataset.name == "cifar5"
    }
    assert len(unlearned & set(sweep("table5").cells)) >= 2 * len(seeds("small_all"))


READINGS = {("original", "pseudo"), ("pseudo", "pseudo"), ("pseudo", "original")}


def test_the_ablations_have_every_reading_with_every_setting() -> None:
    """λ from 1/4 to 16, in the targets, in the loss and in both; η from 0.01 to 4 times 2/N, N training rows."""

    def combinations(name: str, dataset: str, *fields: str) -> list[tuple[Any, ...]]:
        hypers = [
            c.settings.hyper
            for c in sweep(name).cells.values()
            if c.stage == "unlearn" and c.settings.seed == 1 and c.settings.dataset.name == dataset
        ]
        return sorted(
            ((h["reference"], h["totals"]), *(h[field] for field in fields))
            for h in hypers
            if all(h[f] for f in fields)
        )

    for dataset, rows in (("digits", 1154), ("faces5", 500)):
        lams = [2.0**power for power in range(-2, 5)]
        expected = itertools.product(READINGS, ("targets", "loss", "both"), lams)
        assert combinations("ablation_lambda", dataset, "lam_in", "lam") == sorted(expected)
        etas = combinations("ablation_eta", dataset, "eta")
        factors = [0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0]
        for reading in READINGS:
            given = [eta * rows / 2 for other, eta in etas if other == reading]
            assert given == pytest.approx(factors, rel=0.01)


def test_the_student_that_table_5_starts_from_is_that_of_the_notebook() -> None:
    notebook = settings_of("notebook_small")["scrub_notebook", ("cifar5", "resnet18", "selective")]
    cells = [cell.settings.hyper for cell in sweep("table5").cells.values() if cell.stage == "unlearn"]
    students = [hyper["scrub"] for hyper in cells if hyper["source"] == "scrub"]
    assert len(students) == len(cells) / 2
    assert all(student == notebook for student in students)


def test_table_5_has_every_reading_with_the_papers_lams() -> None:
    """Reference x totals, but for the pair that asks for nothing; both sources; λ wherever it can stand."""
    hyper = [cell.settings.hyper for cell in sweep("table5").cells.values() if cell.stage == "unlearn"]
    readings = {(h["reference"], h["totals"]) for h in hyper}
    assert readings == {("original", "pseudo"), ("pseudo", "pseudo"), ("pseudo", "original")}
    for source in ("original", "scrub"):
        for reading in readings:
            own = [h for h in hyper if (h["source"], h["reference"], h["totals"]) == (source, *reading)]
            assert {h["lam"] for h in own} == {1.0, 2.0, 3.0, 4.0}
            assert {h["pseudo"] for h in own} == {"uniform", "random"}
            assert {"loss"} <= {h["lam_in"] for h in own} <= {"targets", "loss"}


@pytest.mark.parametrize(
    "name", ["notebook_membership", "notebook_cifar100", *sorted(set(TWINS) - {"small_all"}), *ABLATIONS]
)
def test_the_primary_label_of_adaprob_is_the_same_in_all_files(name: str) -> None:
    assert sweep(name).file.primary_label == "adaprob_eq1_default"


@pytest.mark.parametrize("name", ["figure4_class", "figure4_selective"])
def test_times_are_taken_alone_on_a_whole_device(name: str) -> None:
    for cell in sweep(name).cells.values():
        if cell.stage in ("train", "unlearn"):
            assert cell.resources.exclusive
            assert cell.resources.gpu == 1
    assert seeds(name) == {1, 2, 3, 4, 5, 6}


# -- every file -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", PLANNED, ids=lambda file: file.stem)
def test_a_file_says_what_it_asks_its_command_and_its_cost(file: Path) -> None:
    header = "".join(line for line in file.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert "# Asks: " in header
    assert f"adaprob-ray run sweeps/{file.name}\n" in header
    if file.stem not in UNCOSTED:
        assert "\n# Cost: " in header


@pytest.mark.parametrize("file", PLANNED, ids=lambda file: file.stem)
def test_the_plan_of_every_file_needs_no_data_and_writes_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ADAPROB_DATA", "ADAPROB_STORE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    assert cli.main(["plan", str(file)]) == 0
    assert f"to execute: {len(Sweep.load(file, REGISTRY).cells)} cells" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("archive", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_published_records_are_of_cells_of_their_sweep_file(archive: Path) -> None:
    """A default that changes must be written into the files whose Records were made with the old one."""
    published = {json.loads(line)["key"] for line in archive.read_text(encoding="utf-8").splitlines()}
    assert published
    assert published <= Sweep.load(SWEEPS / f"{archive.stem}.yaml", REGISTRY).cells.keys()


def test_no_key_of_any_sweep_file_has_moved() -> None:
    """Written before the settings of cells became typed. A key that moves loses all work that stores hold under it."""
    golden = json.loads(Path(__file__).with_name("golden_keys.json").read_text())
    files = {path.stem: Sweep.load(path, REGISTRY).cells for path in PLANNED}
    digests = {name: hashlib.sha256("\n".join(sorted(cells)).encode()).hexdigest() for name, cells in files.items()}
    assert {name: {"cells": len(files[name]), "sha256": digests[name]} for name in golden} == golden
