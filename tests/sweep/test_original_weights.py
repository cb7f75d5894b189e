"""`original: {weights: FILE}`: cells, keys and faults, with a registry whose files of weights are texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from small_world import BASE, WORLD, Scrub, keys, with_value

from adaprob_ray.errors import InputError
from adaprob_ray.settings import settings_dataclass
from adaprob_ray.stages.import_weights import IMPORT
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

DIGESTS = {"a": "a" * 64, "b": "b" * 64}


def digest_of_text(path: Path, network: Any) -> str:
    text = path.read_text(encoding="utf-8")
    if text not in DIGESTS:
        raise InputError(f"{path}: must have the keys of the model, got 1 extra: {text}")
    return DIGESTS[text]


@settings_dataclass
class Rewind(Scrub):
    needs: ClassVar[frozenset[str]] = frozenset({"initial_state"})


REGISTRY = replace(
    WORLD,
    stages={**WORLD.stages, "import": IMPORT},
    methods={**WORLD.methods, "rewind": Rewind},
    weights_sha256=digest_of_text,
)
DOCUMENT = {**BASE, "original": {"weights": "net.pt"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.pt").write_text("a", encoding="utf-8")
    return tmp_path


def load(folder: Path, document: dict[str, Any] = DOCUMENT) -> Sweep:
    (folder / "sweep.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return Sweep.load(folder / "sweep.yaml", REGISTRY)


def of(sweep: Sweep, stage: str) -> list[Cell]:
    return [cell for cell in sweep.cells.values() if cell.stage == stage]


def test_an_imported_original_takes_the_place_of_the_trained_one(folder: Path) -> None:
    sweep = load(folder)
    imported = of(sweep, "import")
    assert [cell.settings.seed for cell in imported] == [1, 2]
    assert {cell.label for cell in of(sweep, "train")} == {"retrain", "retrain_independent"}
    assert {cell.parents["original"] for cell in of(sweep, "unlearn")} == {cell.key for cell in imported}
    originals = [cell for cell in of(sweep, "evaluate") if cell.label == "original"]
    assert {cell.parents["model"] for cell in originals} == {cell.key for cell in imported}
    assert {cell.weights_file for cell in imported} == {str(folder / "net.pt")}
    assert keys(load(folder, dict(BASE)).cells, "train") > keys(sweep.cells, "train"), "retrained models are shared"


def test_nothing_is_pretrained(folder: Path) -> None:
    pretrained = with_value(BASE, "grid.dataset", "cifar10")
    assert of(load(folder, pretrained), "pretrain")
    sweep = load(folder, {**pretrained, "original": {"weights": "net.pt"}})
    assert not of(sweep, "pretrain")
    assert all("pretrain" not in cell.parents for cell in sweep.cells.values())


def test_keys_depend_on_the_weights_and_not_on_their_file(folder: Path) -> None:
    cells = load(folder).cells
    (folder / "other.pt").write_text("a", encoding="utf-8")
    assert load(folder, with_value(DOCUMENT, "original.weights", "other.pt")).cells.keys() == cells.keys()
    (folder / "other.pt").write_text("b", encoding="utf-8")
    others = load(folder, with_value(DOCUMENT, "original.weights", "other.pt")).cells
    assert keys(others, "train") == keys(cells, "train")
    assert not keys(others, "import", "unlearn", "evaluate") & cells.keys()


def test_a_digest_stands_for_a_file_that_is_gone(folder: Path) -> None:
    sweep = load(folder)
    assert sweep.original_sha256 == DIGESTS["a"]
    (folder / "net.pt").unlink()
    with_digest = load(folder, with_value(DOCUMENT, "original.sha256", DIGESTS["a"]))
    assert with_digest.cells.keys() == sweep.cells.keys()
    assert Sweep.parse(sweep.text, REGISTRY, Path("nowhere")).cells.keys() == sweep.cells.keys(), (
        "as the store keeps it"
    )


def test_methods_that_need_the_initial_weights_are_declined(folder: Path) -> None:
    sweep = load(folder, with_value(DOCUMENT, "methods.rewind", {}))
    (line,) = map(str, sweep.skipped)
    reason = "needs the weights from which the original was trained, which original.weights does not have"
    assert line == f"rewind on dots, allcnn, 5of1: {reason}"
    assert not [cell for cell in sweep.cells.values() if cell.method == "rewind"]
    assert not load(folder, with_value(BASE, "methods.rewind", {})).skipped


@pytest.mark.parametrize(
    ("original", "message"),
    [
        ({"weights": "none.pt"}, "original.weights: must be a file of weights, got "),
        ({"weights": "bad.pt"}, "got 1 extra: fc.bias; the model is allcnn (filters 1) for dots"),
        ({"weights": "net.pt", "sha256": "c" * 64}, f"net.pt, {'a' * 64}, got {'c' * 64}"),
        ({"weights": "net.pt", "sha256": "abc"}, "original.sha256: must be 64 hexadecimal digits, got 'abc'"),
        ({}, "original.weights: is missing"),
        ({"weight": "net.pt"}, "original: unknown key 'weight'; did you mean 'weights'?"),
        ("net.pt", "original: must be a mapping {name: value}, got 'net.pt'"),
    ],
)
def test_faults(original: Any, message: str, folder: Path) -> None:
    (folder / "bad.pt").write_text("fc.bias", encoding="utf-8")
    with pytest.raises(InputError) as stop:
        load(folder, {**BASE, "original": original})
    assert message in str(stop.value)


def test_a_section_without_effect_is_a_fault(folder: Path) -> None:
    with pytest.raises(InputError, match="pretrain: has no effect with original"):
        load(folder, {**DOCUMENT, "pretrain": {"epochs": 3}})
