"""The sweep files of the repository: how many cells they have, counted by hand, and SCRUB's settings as in the notebooks."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaprob_ray import cli
from adaprob_ray.catalogue import VOCABULARY
from adaprob_ray.sweep.spec import Sweep

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"

PLANNED = [file for file in sorted(SWEEPS.glob("*.yaml")) if not file.name.startswith("search_")]

# Protocol §5.8: optimiser, lr, weight decay, E, msteps, γ, α, T, milestones, p, forget batch, retain batch.
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
FILES = {
    "notebook_small": SMALL,
    "small_all": {key: SMALL[key] for key in SMALL if key[1] == "resnet18"},
    "notebook_large": LARGE,
    "notebook_membership": MEMBERSHIP,
    "notebook_cifar100": HUNDRED,
}
# pretrainings, originals, grid points, labels that unlearn: small has ntk and both SCRUBs, large neither, the others no ntk.
SHAPES = {
    "notebook_small": (4, 12, 12, 13),
    "small_all": (2, 6, 6, 13),
    "notebook_large": (4, 12, 24, 11),
    "notebook_membership": (2, 6, 12, 11),
    "notebook_cifar100": (0, 3, 3, 12),
}
FIELDS = (
    *("optimizer", "lr", "weight_decay", "epochs", "forget_epochs", "gamma", "alpha", "temperature", "milestones"),
    *("smoothing", "forget_batch", "retain_batch"),
)


@functools.cache
def sweep(name: str) -> Sweep:
    return Sweep.load(SWEEPS / f"{name}.yaml", VOCABULARY)


def scrubs(name: str) -> Iterator[tuple[str, tuple[str, str, str], dict[str, Any]]]:
    """Label, setting and hyper-parameters of every evaluated SCRUB, rewound or not."""
    for cell in sweep(name).cells.values():
        s = cell.settings
        if cell.stage == "evaluate" and s["method"] in ("scrub", "scrub_rewind"):
            yield s["label"], (s["dataset"]["name"], s["architecture"]["name"], s["forget"]["kind"]), s["hyper"]


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
    labels = {"scrub_notebook", "scrub_unsmoothed_notebook", "scrub_rewind_notebook"}
    wanted = labels if name != "notebook_large" else labels - {"scrub_unsmoothed_notebook"}
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
    methods = {cell.settings["method"] for cell in small.cells.values() if cell.stage == "evaluate"}
    assert methods == set(VOCABULARY.methods)


@pytest.mark.parametrize(("name", "other"), [("small_all", "cifar5"), ("notebook_large", "notebook_membership")])
def test_files_share_what_they_say_they_share(name: str, other: str) -> None:
    shared = {key for key, cell in sweep(other).cells.items() if cell.stage in ("pretrain", "train")}
    assert shared <= set(sweep(name).cells)


def test_small_all_is_a_part_of_notebook_small() -> None:
    assert set(sweep("small_all").cells) < set(sweep("notebook_small").cells)


@pytest.mark.parametrize("file", PLANNED, ids=lambda file: file.stem)
def test_the_plan_of_every_file_needs_no_data_and_writes_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ADAPROB_DATA", "ADAPROB_STORE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    assert cli.main(["plan", str(file)]) == 0
    assert f"to execute: {len(Sweep.load(file, VOCABULARY).cells)} cells" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
