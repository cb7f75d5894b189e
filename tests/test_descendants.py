"""Which models of a store were trained on an image, compared with the index tables and with what the stages really load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filled_store import BOTH, cells_of, fill, find_cell
from PIL import Image
from store_contract import paths

from adaprob_ray.catalogue import DATASETS, REGISTRY
from adaprob_ray.data.dataset import Dataset, RawImages
from adaprob_ray.data.digits import DIGITS
from adaprob_ray.data.folder import prepare_folder, prepared_folders
from adaprob_ray.data.split import index_table
from adaprob_ray.errors import InputError
from adaprob_ray.runtime.descendants import Descendants, find_descendants
from adaprob_ray.runtime.image_use import ImageUse, Use
from adaprob_ray.stages import train, unlearn
from adaprob_ray.stages.base import StageContext
from adaprob_ray.store import Store
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import ForgetRequest
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.sweep.sweep import Sweep

NOWHERE = Path("nowhere")
WIDE = """\
name: wide
grid:
  dataset: {dataset}
  architecture: {{name: allcnn, filters: 0.02}}
  forget: [{{kind: class, class: 1}}, {{kind: selective, class: 1, count: {count}}}, {{kind: selective, class: 0, count: 2}}]
  seed: [1, 2, 3]
train: {{recipe: large, epochs: 1}}
methods:
  plain: {{method: retrain, variant: plain}}
  finetune: {{epochs: 1}}
  scrub_rewind: {{}}
  adaprob: {{}}
  heldout: {{method: adaprob, pseudo: heldout, lr: 0.01}}
metrics: [errors]
"""

USES_VALIDATION = ("scrub_rewind", "adaprob")  # in `needs` of the first, in `optional_needs` of the second


def brute_force(cell: Cell, dataset: Dataset, root: Path) -> Callable[[int], Use]:
    """What a model's cell uses each row for, from the lists that `adaprob-ray data indices` writes."""
    forget = cell.forget or ForgetRequest("class", 0)
    table = index_table(dataset, root, cell.settings.seed, forget, test_pool=cell.settings.dataset.test_pool)
    in_train, in_forget = set(table["train_source"]), set(table["forget_source"])
    in_retain = {table["train_source"][position] for position in table["retain_positions"]}
    in_validation = set(table["validation_source"])

    def use(row: int) -> Use:
        if cell.method in ("", "original"):
            return "trained" if row in in_train else "none"
        if cell.method in ("retrain", "retrain_independent"):
            return "trained" if row in in_retain else "left out" if row in in_forget else "none"
        if row in in_retain and row in in_forget:
            return "retain and forget"
        if row in in_train:
            return "forget" if row in in_forget else "retain"
        return "selection" if cell.method in USES_VALIDATION and row in in_validation else "none"

    return use


def registry_with(**datasets: Dataset) -> Registry:
    return replace(REGISTRY, datasets={**REGISTRY.datasets, **datasets})


def models_of(text: str, registry: Registry = REGISTRY) -> dict[str, Cell]:
    cells = Sweep.parse(text, registry).cells
    return {key: cell for key, cell in cells.items() if cell.stage in ("pretrain", "train", "unlearn")}


def compare(models: Mapping[str, Cell], registry: Registry, name: str, rows: list[int], root: Path) -> set[Use]:
    """Compare every model and row with the tables; the uses that occurred."""
    tables = {
        key: brute_force(cell, _entry(registry, cell.settings.dataset.name), root) for key, cell in models.items()
    }
    seen: set[Use] = set()
    for row in rows:
        image = ImageUse(name, row, registry, root)
        for key, cell in models.items():
            assert image.use(cell) == tables[key](row), (cell.title, row)
            seen.add(image.use(cell))
    return seen


def _entry(registry: Registry, name: str) -> Dataset:
    entry: Any = registry.datasets[name]
    return entry  # type: ignore[no-any-return]


# --- the use of an image


def test_every_use_equals_the_index_tables_on_digits() -> None:
    models = models_of(WIDE.format(dataset="digits", count=25))
    table = index_table(DIGITS, NOWHERE, 2, ForgetRequest("selective", 1, 25), test_pool="clean")
    rows = [*range(0, 1437, 120), *table["forget_source"][:4], *table["validation_source"][:3]]
    seen = compare(models, REGISTRY, "digits", rows, NOWHERE)
    assert seen == {"trained", "left out", "retain", "forget", "selection", "none"}


def test_every_use_equals_the_index_tables_on_an_image_folder(tmp_path: Path) -> None:
    generator = np.random.RandomState(0)
    for label, count in (("a", 10), ("b", 12)):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for number in range(count):
            pixels = generator.randint(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / label / f"{number:02d}.png")
    prepare_folder("mine", tmp_path)
    dataset = prepared_folders(tmp_path)["mine"]
    registry = registry_with(mine=dataset)
    models = models_of(WIDE.format(dataset="mine", count=3), registry)
    rows = sorted(set(dataset.load(tmp_path, 1).train_source.tolist()))
    assert len(rows) < 22, "some images test"
    seen = compare(models, registry, "mine", rows, tmp_path)
    assert seen == {"trained", "left out", "retain", "forget", "selection", "none"}
    (test_row, *_) = dataset.load(tmp_path, 1).test_source.tolist()
    message = (
        rf"row of mine: must be that of a training image, got {test_row} \(known: .* of which {len(rows)} are training"
    )
    with pytest.raises(InputError, match=message):
        ImageUse("mine", test_row, registry, tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_every_use_equals_the_index_tables_where_files_are_copies(tmp_path: Path, suffix: str) -> None:
    generator = np.random.RandomState(1)
    for label in ("a", "b"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for number in range(10):
            pixels = generator.randint(0, 256, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / label / f"{number:02d}.png")
    for number in range(6):
        original = tmp_path / "mine" / "a" / f"{number:02d}.png"
        Image.open(original).save(tmp_path / "mine" / "b" / f"copy{number}{suffix}")
    prepare_folder("mine", tmp_path)
    dataset = prepared_folders(tmp_path)["mine"]
    registry = registry_with(mine=dataset)
    models = models_of(WIDE.format(dataset="mine", count=3), registry)
    rows = sorted(set(dataset.load(tmp_path, 1).train_source.tolist()))
    seen = compare(models, registry, "mine", rows, tmp_path)
    assert {"retain", "forget"} <= seen
    assert "retain and forget" not in seen, "copies are forgotten together"
    with pytest.raises(InputError, match="images with the same pixels have the number of the first"):
        ImageUse("mine", 25, registry, tmp_path)


def drawn_twice(root: Path, seed: int) -> RawImages:
    """Images that may be drawn several times, as in Lacuna by the authors' script."""
    source = np.random.RandomState(7).choice(12, 40)
    source[20:] += 12
    labels = np.repeat([0, 1], 20)
    pixels = np.zeros((40, 8, 8, 3), np.uint8)
    return RawImages(
        train_NHWC=pixels, train_labels=labels, train_source=source,
        test_NHWC=pixels[:5], test_labels=labels[:5], test_source=source[:5], test_is_from_train=True,
    )  # fmt: skip


def test_every_use_equals_the_index_tables_where_an_image_occurs_several_times() -> None:
    repeats = replace(
        DIGITS,
        name="repeats",
        channels=3,
        pool_per_class=(20, 20),
        test_count=5,
        load=drawn_twice,
        mean=(0,) * 3,
        std=(1,) * 3,
    )
    registry = registry_with(repeats=repeats)
    models = models_of(WIDE.format(dataset="repeats", count=5), registry)
    rows = sorted(set(drawn_twice(NOWHERE, 1).train_source.tolist()))
    assert "retain and forget" in compare(models, registry, "repeats", rows, NOWHERE)


def draw(root: Path, seed: int) -> RawImages:
    """100 of the digits for each seed, which keep their numbers."""
    digits = DIGITS.load(root, seed)
    rows = np.sort(np.random.RandomState(seed).choice(len(digits.train_labels), 400, replace=False))
    return replace(
        digits,
        train_NHWC=digits.train_NHWC[rows],
        train_labels=digits.train_labels[rows],
        train_source=digits.train_source[rows],
    )


def test_an_image_is_looked_for_in_all_data_sets_that_are_drawn_from_its_own() -> None:
    drawn = replace(DIGITS, name="drawn", load=draw, drawn_from="digits", pretrain_on="digits")
    registry = registry_with(drawn=drawn)
    models = models_of(WIDE.format(dataset="drawn", count=5), registry)
    assert {cell.settings.dataset.name for cell in models.values()} == {"drawn", "digits"}
    for name in ("digits", "drawn"):
        seen = compare(models, registry, name, list(range(0, 1437, 80)), NOWHERE)
        assert seen >= {"trained", "none", "retain"}
    assert DATASETS["cifar5"].drawn_from == "cifar10"
    assert DATASETS["faces5"].drawn_from == "faces10"
    assert (DATASETS["lacuna5"].drawn_from, DATASETS["lacuna5_code"].drawn_from) == ("lacuna10", "lacuna10_code")
    for dataset in DATASETS.values():
        assert dataset.drawn_from is None or DATASETS[dataset.drawn_from].drawn_from is None


@pytest.mark.data
@pytest.mark.slow
def test_every_use_equals_the_index_tables_on_cifar(cifar: Path) -> None:
    large = WIDE.replace("seed: [1, 2, 3]", "seed: 1").replace("[{{kind: class, class: 1}}, ", "[")
    models = models_of(WIDE.format(dataset="cifar5", count=25)) | models_of(large.format(dataset="cifar10", count=25))
    own = {key: cell for key, cell in models.items() if cell.stage != "pretrain"}
    table = index_table(DATASETS["cifar5"], cifar, 2, ForgetRequest("class", 1), test_pool="clean")
    rows = [table["train_source"][0], table["forget_source"][0], table["test_source"][0]]
    assert "forget" in compare(own, REGISTRY, "cifar10", rows, cifar)
    pretrained = {key: cell for key, cell in models.items() if cell.stage == "pretrain"}
    table = index_table(DATASETS["cifar100"], cifar, 1, ForgetRequest("class", 1), test_pool="clean")
    rows = [table["train_source"][7], table["validation_source"][7]]
    assert compare(pretrained, REGISTRY, "cifar100", rows, cifar) == {"trained", "none"}


def test_models_of_another_revision_of_the_data_set_are_unknown() -> None:
    models = models_of(BOTH)
    image = ImageUse("digits", 3, registry_with(digits=replace(DIGITS, revision=2)), NOWHERE)
    assert {image.use(cell) for cell in models.values()} == {"unknown"}


# --- what the stages really load


class Stop(Exception):
    """The stage has loaded its images."""


def context() -> StageContext:
    return StageContext(
        store=None,  # type: ignore[arg-type]
        registry=REGISTRY,
        data_root=NOWHERE,
        device=torch.device("cpu"),
        report=lambda step, **scalars: None,
    )


def image_bytes(subset: Any) -> set[bytes]:
    return {image.numpy().tobytes() for image in subset.pixels.images_NHWC[subset.rows]}


def test_the_use_is_what_the_train_and_unlearn_stages_load(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: dict[str, set[bytes]] = {}

    def fit_cell(model: Any, subset: Any, *arguments: Any, **options: Any) -> None:
        loaded["trained"] = image_bytes(subset)
        raise Stop

    def split(*, needs: Any, subsets: Mapping[str, Any]) -> None:
        loaded.update({name: image_bytes(subset) for name, subset in subsets.items()})
        raise Stop

    monkeypatch.setattr(train, "fit_cell", fit_cell)
    monkeypatch.setattr(unlearn, "Split", split)
    monkeypatch.setattr(unlearn, "make_context", lambda *arguments: None)
    monkeypatch.setattr(unlearn, "trained_model", lambda *arguments: torch.nn.Linear(1, 1))
    pixels = DIGITS.load(NOWHERE, 1).train_NHWC
    rows = range(0, 1437, 29)
    assert len({image.tobytes() for image in pixels}) == len(pixels), "pixels tell images apart"
    images = {row: ImageUse("digits", row, REGISTRY, NOWHERE) for row in rows}
    for cell in models_of(WIDE.format(dataset="digits", count=60)).values():
        loaded.clear()
        with pytest.raises(Stop):
            REGISTRY.stages[cell.stage].run(cell, context())
        for row, image in images.items():
            data, use = pixels[row].tobytes(), image.use(cell)
            if cell.stage == "train":
                assert (use == "trained") == (data in loaded["trained"]), (cell.title, row)
            else:
                assert (use == "forget", use == "retain") == (data in loaded["forget"], data in loaded["retain"])
                assert (use == "selection") == (cell.method in USES_VALIDATION and data in loaded["validation"])


# --- the store


CELLS = cells_of(BOTH)


@pytest.fixture
def full(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store")
    fill(store, CELLS.values())
    return store


def search(store: Store, what: str, registry: Registry = REGISTRY) -> Descendants:
    return find_descendants(store, what, registry, NOWHERE)


def closure(keys: set[str]) -> set[str]:
    """`keys` and their descendants in CELLS, level by level."""
    while True:
        wider = keys | {key for key, cell in CELLS.items() if keys & set(cell.parents.values())}
        if wider == keys:
            return keys
        keys = wider


@pytest.mark.parametrize("key", CELLS)
def test_the_descendants_of_each_cell(key: str, full: Store) -> None:
    for what in (key, key[:12], CELLS[key].title):
        answer = search(full, what)
        assert {cell.key for cell in answer.cells} == closure({key})
        assert (answer.unknown, answer.cells_read) == ((), len(CELLS))
        assert all(cell.descends and cell.done and cell.use is None for cell in answer.cells)
        assert all((cell.title, cell.stage) == (CELLS[cell.key].title, CELLS[cell.key].stage) for cell in answer.cells)


def test_the_models_of_an_image_and_all_that_descends_from_them(full: Store) -> None:
    before = paths(full)
    for seed, row in ((1, None), (2, None), (None, 5)):
        if row is None:
            (row,) = index_table(DIGITS, NOWHERE, seed or 1, ForgetRequest("selective", 3, 25), test_pool="clean")[
                "forget_source"
            ][:1]
        answer = search(full, f"digits:{row}")
        uses = {
            key: brute_force(cell, DIGITS, NOWHERE)(row) if cell.stage in ("train", "unlearn") else "none"
            for key, cell in CELLS.items()
        }
        trained = {key for key, use in uses.items() if use == "trained"}
        assert {cell.key for cell in answer.cells if cell.descends} == closure(trained)
        left_out = {key for key, use in uses.items() if use == "left out"}
        assert {cell.key for cell in answer.cells} == closure(trained) | left_out
        assert {cell.key: cell.use for cell in answer.cells} == {c.key: uses[c.key] for c in answer.cells}
    assert paths(full) == before


def test_unfinished_cells_and_weights_that_do_not_count_are_told(full: Store) -> None:
    original, finetune = find_cell(CELLS, "train", "original"), find_cell(CELLS, "unlearn", "finetune")
    full.revoke(finetune.key, 1, "damaged")
    attempt = full.begin(finetune.key, finetune.identity, owner="test", run="second")
    assert attempt is not None
    attempt.save_checkpoint(b"state")
    full.objects.delete([f"attempts/{original.key}/1/{WEIGHTS}"])
    answer = {cell.key: cell for cell in search(full, original.key).cells}
    states = {
        key: (answer[key].done, answer[key].weights, answer[key].checkpoints) for key in (original.key, finetune.key)
    }
    assert states == {original.key: (True, False, False), finetune.key: (False, True, True)}


def test_what_cannot_be_known_is_said(full: Store) -> None:
    original, finetune = find_cell(CELLS, "train", "original"), find_cell(CELLS, "unlearn", "finetune")
    full.objects.put(f"cells/{original.key}/cell.json", b"{")
    answer = search(full, finetune.key)
    known = closure({finetune.key})
    assert {cell.key for cell in answer.cells} == known
    expected = {CELLS[key].title for key in closure({original.key}) - known - {original.key}}
    assert set(answer.unknown) == expected | {f"cell-{original.key[:8]}"}
    assert full.log(original.key).done == 1, "damage is not revoked by a question"
    answer = search(full, "digits:3", registry_with(digits=replace(DIGITS, revision=2)))
    assert answer.cells == ()
    assert len(answer.unknown) == len(CELLS)


def test_an_ambiguous_or_unknown_cell_is_an_error_that_names_candidates(full: Store) -> None:
    with pytest.raises(InputError, match=r"must name one cell, got 'train-original'") as caught:
        search(full, "train-original")
    assert all(find_cell(CELLS, "train", "original", seed).key in str(caught.value) for seed in (1, 2))
    with pytest.raises(InputError, match="unknown cell 'trian'"):
        search(full, "trian")
