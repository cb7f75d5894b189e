"""Tables 6 and 7: how networks are pretrained and trained, as the paper prints it, as the notebooks do it, as our sweeps do.

Nothing here is measured: ours are the settings that the planner resolves from the sweep files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.format import EMPTY_CELL
from adaprob_ray.reporting.tables.layout import Block, Document
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.reporting.tables.render import to_csv, write_documents
from adaprob_ray.settings import as_mapping
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import ModelSettings, PretrainSettings
from adaprob_ray.sweep.sweep import Sweep
from analysis.paper.values import ARCHITECTURES, STAND_INS, our_dataset, transcribed

FROM_PAPER, FROM_NOTEBOOKS, FROM_NEITHER = "the paper's", "the notebooks'", "neither's"  # whose setting ours is
SETTING_NAMES = {  # the paper's name -> ours in a notebook's line, and in a cell's settings
    "filter": ("filters", "filters"),
    "learning_rate": ("finetune_lr", "lr"),
    "weight_decay": ("weight_decay", "decay"),
    "batch_size": ("batch_size", "batch_size"),
    "epochs": ("epochs", "epochs"),
    "seed": ("data_seed", "seed"),
}
DATASETS = {"CIFAR5": "CIFAR-5", "Lacuna5": "Lacuna-5", "CIFAR10": "CIFAR-10", "Lacuna10": "Lacuna-10"}
DECAY_TO_START, OPTIMISER_DECAY = "to start", "optimiser"


@dataclass(frozen=True)
class RecipeSetting:
    """One setting three times; a value that occurs in several ways has all of them."""

    name: str
    setting: str
    paper: str
    notebooks: str
    ours: str

    @property
    def whose(self) -> str:
        """Whose setting ours is; of several of ours one must be it. A decay counts whichever of the two kinds it is."""
        ours = _values(self.ours)
        if _values(self.paper) & ours:
            return FROM_PAPER
        return FROM_NOTEBOOKS if _values(self.notebooks) & ours else FROM_NEITHER


def _values(text: str) -> set[str]:
    return {_plain(value.partition(" (")[0]) for value in text.split(", ")} - {EMPTY_CELL}


def build_recipes(selection: Selection, out: Path, *, table: str, name: str) -> Output:
    """Write NAME.md, .tex and .csv of Table 6 or 7 to `out`, from sweep files alone."""
    lines = recipe_lines(table, selection.sweeps.values())
    documents = [recipe_page(table, lines)]
    return Output(documents, write_documents(documents, recipe_numbers(table, lines), name, out))


def recipe_lines(table: str, sweeps: Iterable[Sweep]) -> list[RecipeSetting]:
    """The lines of Table `6`, which names no data set, or `7`."""
    stage = "pretrain" if table == "6" else "train"
    cells = [cell for sweep in sweeps for cell in sweep.cells.values() if cell.stage == stage]
    lines = []
    for line in transcribed(f"table{table}"):
        architecture, setting, name = ARCHITECTURES[line["model"]], line["metric"], line["model"]
        notebooks = [row for row in transcribed("notebook_settings") if ARCHITECTURES.get(row["model"]) == architecture]
        own_cells = [cell for cell in cells if cell.settings.architecture.name == architecture]
        if table == "6":  # all pretrainings of that network
            field = {"filter": "filters", "learning_rate": "pretrain_lr"}[setting]
            theirs = [row[field] for row in notebooks if row["pretrain_lr"]]
        else:  # original and Retrain of one data set and network
            again = line["note"].startswith("printed a second time")
            dataset = "Lacuna-5" if again else DATASETS[line["dataset"]]
            theirs = [_theirs(row, setting) for row in notebooks if row["dataset"] == dataset]
            own_cells = [cell for cell in own_cells if cell.settings.dataset.name == our_dataset(dataset)]
            name += f" ({line['dataset']})" + (" again" if line["note"] else "")
            name += f": {our_dataset(dataset)}" if dataset in STAND_INS else ""
        ours = [_setting(cell, setting) for cell in own_cells]
        lines.append(RecipeSetting(name, setting, line["value"], _several(theirs), _several(ours)))
    return lines


def _theirs(row: Mapping[str, str], setting: str) -> str:
    value = row[SETTING_NAMES[setting][0]].partition(" ")[0]
    kind = DECAY_TO_START if row["weight_decay_kind"].startswith("L2 to post-load init") else OPTIMISER_DECAY
    return f"{value} ({kind})" if setting == "weight_decay" else value


def _setting(cell: Cell, setting: str) -> str:
    """One setting of a cell in words; which of the two decays a network has is said."""
    assert isinstance(cell.settings, (PretrainSettings, ModelSettings))
    recipe: Mapping[str, Any] = as_mapping(cell.settings.recipe)
    if setting == "weight_decay":
        kind = DECAY_TO_START if recipe["decay_to_start"] else OPTIMISER_DECAY
        return f"{recipe['decay_to_start'] or recipe['weight_decay']:g} ({kind})"
    values = {**recipe, "filters": cell.settings.architecture.filters, "seed": cell.settings.seed}
    return f"{values[SETTING_NAMES[setting][1]]:g}"


def _several(values: Iterable[str]) -> str:
    """All different values, the first come first; numbers are compared as numbers: 1.0 is 1."""
    return ", ".join(dict.fromkeys(map(_plain, values))) or EMPTY_CELL


def _plain(text: str) -> str:
    head, bracket, rest = text.partition(" (")
    try:
        return f"{float(head):g}{bracket}{rest}"
    except ValueError:
        return text


def recipe_page(table: str, lines: Sequence[RecipeSetting]) -> Document:
    """Three lines for each network: the paper's settings, the notebooks' and ours."""
    settings = list(dict.fromkeys(line.setting for line in lines))
    head = ["", "of", *(setting.replace("_", " ") for setting in settings)]
    texts = []
    for name in dict.fromkeys(line.name for line in lines):
        by_setting = {line.setting: line for line in lines if line.name == name}
        for source in ("paper", "notebooks", "ours"):
            entries = [getattr(by_setting[setting], source) for setting in settings]
            texts.append([name if source == "paper" else "", source, *entries])
    about = {"6": "Table 6: pretraining", "7": "Table 7: training of original and Retrain"}[table]
    return Document(about, [Block("", head, texts)], _CAPTIONS[table])


_CAPTIONS = {
    "6": [
        "ours: what the sweep files resolve to, which follow the notebooks",
        "the paper's two filters are swapped for small scale: a ResNet at 1.0 cannot be loaded into one at 0.4 (protocol §3.1)",
    ],
    "7": [
        "ours: what the sweep files resolve to, which follow the notebooks; seeds are a sweep's, the paper's among them",
        "ResNet (CIFAR5) is printed twice; the second is taken to be ResNet (Lacuna5) (protocol §3.1)",
        "weight decay: to start is (wd/2)·Σ(w − start)² in the loss, optimiser is SGD's own; the paper does not say which",
    ],
}


def recipe_numbers(table: str, lines: Sequence[RecipeSetting]) -> str:
    """The same as CSV."""
    columns = ("table", "name", "setting", "paper", "notebooks", "ours")
    return to_csv([{"table": table, **vars(line)} for line in lines], columns)
