"""Numbers on docs/protocol.md are those of the code, the sweep files and the transcription of the paper."""

from __future__ import annotations

import csv
import re

import pytest

from adaprob_ray.catalogue import ARCHITECTURES, DATASETS, REGISTRY
from adaprob_ray.recipe import RECIPES
from adaprob_ray.sweep.cell_settings import EvaluateSettings
from adaprob_ray.sweep.sweep import Sweep
from analysis.paper.values import paper_values
from analysis.registry import ROOT, SWEEPS
from analysis.verify.fidelity_readings import PAPER_TABLES

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
ARCHITECTURE_NAMES = {"ResNet-18": "resnet18", "ALL-CNN": "allcnn"}


def section(number: str) -> str:
    """The text of a section, without its subsections."""
    text = re.split(rf"^##+ {re.escape(number)}\.? ", PAGE, maxsplit=1, flags=re.M)[1]
    return re.split(r"^##+ ", text, maxsplit=1, flags=re.M)[0]


def rows(number: str) -> list[list[str]]:
    """The lines of a section's tables, without headers."""
    lines = [line for line in section(number).splitlines() if line.startswith("|")]
    cells = [[cell.strip(" *`") for cell in line[1:-1].split("|")] for line in lines]
    rules = [at for at, line in enumerate(lines) if set(line) <= set("|-: ")]
    return [line for at, line in enumerate(cells) if at not in rules and at + 1 not in rules]


@pytest.mark.parametrize(("number", "architecture"), [("2.1", "resnet18"), ("2.2", "allcnn")])
def test_parameter_counts_are_those_of_the_networks(number: str, architecture: str) -> None:
    for line in rows(number):
        filters = float(line[0].removeprefix("f = "))
        for classes, text in zip((5, 10, 100), line[1:], strict=True):
            count = ARCHITECTURES[architecture].parameter_count(classes=classes, channels=3, filters=filters)
            assert text in (f"{count:,}", "–")
    assert len(rows(number)) == 2


def test_sizes_are_those_of_the_data_sets() -> None:
    for name, classes, _, *texts in rows("1.1"):
        dataset = DATASETS[name.partition(",")[0].lower().replace("-", "")]
        train, validation, test = (int(text.partition(" ")[0].replace(",", "")) for text in texts)
        counts = (sum(dataset.train_per_class), sum(dataset.validation_per_class), dataset.test_count)
        assert (train, validation, test) == counts, name
        assert int(classes) == dataset.classes


def test_settings_at_a_glance_are_those_of_the_notebooks() -> None:
    with (ROOT / "analysis" / "paper" / "data" / "notebook_settings.csv").open(newline="", encoding="utf-8") as file:
        known = [line for line in csv.DictReader(file) if line["dataset"] != "CIFAR-100"]
    lines = rows("0")[:-1]
    assert len(lines) == len(known) == 12
    for line, setting in zip(lines, known, strict=True):
        assert line[0] == f"{setting['dataset']}, {setting['model']}"
        assert re.sub(",", "", line[1]).endswith(f"{setting['n_retain']}")
        width, count = line[2].split(", ")
        assert (float(width), count) == (float(setting["filters"]), f"{int(setting['params']):,}")
        assert line[3] == setting["data_seed"].partition(" ")[0]


def test_recipes_are_those_of_the_package() -> None:
    table = {name: values for name, *values in rows("3")}
    for column, name in enumerate(table["our recipe"]):
        recipe = RECIPES[name]
        assert float(table["SGD, momentum 0.9"][column].removeprefix("lr ")) == recipe.lr
        assert table["epochs, batch"][column] == f"{recipe.epochs}, {recipe.batch_size}"
        assert float(table["wd"][column].partition(",")[0]) == recipe.decay
        assert ("loss" in table["wd"][column]) == bool(recipe.decay_to_start)
        assert table["batch norm"][column].partition(" ")[0].replace("training", "train") == recipe.batch_norm
        assert recipe.momentum == 0.9


SCRUB_LINES = (
    {  # of the small and of the large scale: how the page names a setting -> a sweep file and the setting there
        f"{data} {network}{words}": (file, (dataset, ARCHITECTURE_NAMES[network], kind))
        for file, sets, kinds in (
            ("notebook_small", {"CIFAR-5": "cifar5", "Lacuna-5": "faces5"}, {"": "selective"}),
            (
                "notebook_large",
                {"CIFAR-10": "cifar10", "Lacuna-10": "faces10"},
                {" class": "class", " selective": "selective"},
            ),
        )
        for data, dataset in sets.items()
        for network in ARCHITECTURE_NAMES
        for words, kind in kinds.items()
    }
    | {
        "membership notebook (CIFAR-10 ResNet-18 selective)": (
            "notebook_membership",
            ("cifar10", "resnet18", "selective"),
        ),
        "Bad-T notebook (CIFAR-10 ALL-CNN class)": ("notebook_membership", ("cifar10", "allcnn", "class")),
        "SCRUB's CIFAR-100 ResNet-50 (100 of class 0)": ("notebook_cifar100", ("cifar100", "resnet18", "class")),
    }
)
SCRUB_FIELDS = (
    "lr",
    "epochs",
    "forget_epochs",
    "gamma",
    "alpha",
    "temperature",
    "smoothing",
    "forget_batch",
    "retain_batch",
)


def scrub_settings(file: str) -> dict[tuple[str, str, str], list[float]]:
    """SCRUB's settings in a sweep file: (data set, architecture, kind of request) -> SCRUB_FIELDS."""
    settings = [cell.settings for cell in Sweep.load(SWEEPS / f"{file}.yaml", REGISTRY).cells.values()]
    return {
        (entry.dataset.name, entry.architecture.name, entry.forget.kind): [
            float(entry.hyper[name]) for name in SCRUB_FIELDS
        ]
        for entry in settings
        if isinstance(entry, EvaluateSettings) and entry.label == "scrub_notebook"
    }


def test_scrubs_settings_are_those_of_the_sweep_files() -> None:
    lines = {name: [float(n) for n in re.findall(r"[\d.]+(?:e-\d)?", " ".join(texts))] for name, *texts in rows("5.8")}
    assert lines.keys() == SCRUB_LINES.keys()
    known = {file: scrub_settings(file) for file, _ in SCRUB_LINES.values()}
    for name, numbers in lines.items():
        file, setting = SCRUB_LINES[name]
        assert numbers == known[file][setting], name


def test_numbers_of_the_paper_are_as_transcribed() -> None:
    counted = sum(len(paper_values(name)) for name in PAPER_TABLES)
    assert f"Each of the {counted} numbers" in " ".join(section("8").split())
    table_2 = {(n.paper_dataset, n.method, n.column.partition("_")[0]): n.text for n in paper_values("2")}
    for name, *texts in rows("7.3"):
        dataset, _, where = name.partition(", ")
        if where.startswith("Table 2"):
            original, retrain, scrub = texts
            assert original == table_2[dataset, "original", "test"]
            for method, text in (("retrain", retrain), ("scrub", scrub)):
                assert text == ", ".join(table_2[dataset, method, part] for part in ("test", "retain", "forget"))


def test_differences_with_numbers_say_what_the_data_say() -> None:
    texts = {line[0]: line[1] for number in ("9.1", "9.2") for line in rows(number)}
    contradicting = [n.text for name in ("5", "sec5.6") for n in paper_values(name) if n.contradiction]
    assert contradicting == ["23.00", "30.00", "5.19"]
    assert "23 and 30 in Table 5, 5.19 in section 5.6" in texts["23"]
    retrain = next(n for n in paper_values("2") if n.method == "retrain" and n.column == "forget_error_percent")
    assert retrain.text in {line[0]: line[2] for line in rows("9.2")}["21"]
