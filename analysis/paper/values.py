"""The paper's printed numbers, in our words: `data/*.csv` are a transcription, checked number by number.

Where the paper is ambiguous, protocol §8 and §9 decide; where it contradicts itself, `contradiction` says so.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

FOLDER = Path(__file__).with_name("data")
STAND_INS = {"Lacuna-5": "faces5", "Lacuna-10": "faces10"}  # Lacuna's source, VGGFace2, is no longer distributed
ARCHITECTURES = {"ResNet": "resnet18", "ResNet-18": "resnet18", "ALLCNN": "allcnn", "ALL-CNN": "allcnn"}
METHODS = {
    "Retrain": "retrain", "Original": "original", "Finetune": "finetune", "NegGrad+": "neggrad_plus", "CF-k": "cf_k",
    "EU-k": "eu_k", "Bad-T": "bad_teacher", "SCRUB": "scrub", "SCRUB+R": "scrub_rewind", "AdaProb": "adaprob",
}  # fmt: skip
COLUMNS = {
    "KL(method||Retrain) on forget set": "kl_forget_same_seed_nats",
    "KL(method||Retrain) on test set": "kl_test_same_seed_nats",
    "MIA accuracy": "membership_accuracy_percent",
    "test_error": "test_error_percent",
    "retain_error": "retain_error_percent",
    "forget_error": "forget_error_percent",
}
FORMULAS = {  # of Tables 1 and 3, which name none: part of a column's name, and words
    "": "KL(model ‖ independent Retrain)",
    "_reverse": "KL(independent Retrain ‖ model)",
    "_centroid": "KL between centroids, independent Retrain",
    "_centroid_reverse": "KL between centroids, reverse, independent Retrain",
}
SMALL, CLASS, SELECTIVE = "25of0", "class5", "100of5"
SEEDS_OF_TABLES_2_AND_4 = 3  # of the baselines: their entries lie on a grid of three seeds (protocol §9, 23)


@dataclass(frozen=True)
class PaperValue:
    """One number of the paper: `value` in the unit of `column`, `text` as printed, `rounding` half a unit of its last digit.

    `runs` is how many runs it is the mean of, 1 if unknown. `forgets` are the forget requests that it may be about: several
    where the paper does not say. `datasets` are ours: the paper's own, and a stand-in for it. `contradiction` says why it
    cannot be right as printed. `alternatives` are other readings of the number, each with its `reading` in words.
    """

    table: str
    datasets: tuple[str, ...]
    paper_dataset: str
    architecture: str
    filters: float
    forgets: tuple[str, ...]
    method: str
    column: str
    value: float
    deviation: float | None
    text: str
    rounding: float
    runs: int
    lam: float | None = None
    contradiction: str = ""
    reading: str = ""
    alternatives: tuple[PaperValue, ...] = ()


def our_dataset(name: str) -> str:
    """Our name of the paper's data set, or of what stands in for it."""
    return STAND_INS.get(name, name.lower().replace("-", ""))


@functools.cache
def paper_values(table: str) -> tuple[PaperValue, ...]:
    """All numbers of a table: `1` to `5`, `sec5.6`."""
    return tuple(map(_entry, transcribed("sec56_cifar100" if table == "sec5.6" else f"table{table}")))


def transcribed(name: str) -> list[dict[str, str]]:
    """The lines of data/NAME.csv."""
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _entry(line: dict[str, str]) -> PaperValue:
    dataset = line["dataset"] if "not stated" not in line["dataset"] else "CIFAR-10"
    method, column, lam = METHODS[line["method"]], COLUMNS[line["metric"]], line["setting"].partition("lambda=")[2]
    entry = PaperValue(
        table=line["table"],
        datasets=tuple(filter(None, (dataset.lower().replace("-", ""), STAND_INS.get(dataset)))),
        paper_dataset=dataset,
        architecture=(architecture := ARCHITECTURES[line["model"]]),
        filters=0.4 if dataset.endswith("-5") and architecture == "resnet18" else 1.0,
        forgets=_forgets(line, dataset),
        method=method,
        column=column,
        value=float(line["value"]),
        deviation=float(line["std"]) if line["std"] else None,
        text=" ± ".join(filter(None, (line["value"], line["std"]))),
        rounding=0.5 * 10.0 ** -len(line["value"].partition(".")[2]),
        runs=SEEDS_OF_TABLES_2_AND_4 if line["table"] in ("2", "4") and method != "adaprob" else 1,
        lam=float(lam) if lam else None,
    )
    return replace(entry, contradiction=_contradiction(entry), alternatives=tuple(_alternatives(entry)))


def _forgets(line: dict[str, str], dataset: str) -> tuple[str, ...]:
    if dataset.endswith("-5"):
        return (SMALL,)
    if line["table"] == "2":
        return (SELECTIVE,)  # Retrain's forget error of 26.67 % rules the whole class out
    if line["table"] == "sec5.6":
        return ("class0", CLASS)  # the class is not named
    return {"class": (CLASS,), "selective": (SELECTIVE,)}.get(line["task"], (CLASS, SELECTIVE))


def _is_interchanged(entry: PaperValue) -> bool:
    return entry.table == "4" and entry.architecture == "allcnn" and entry.method != "bad_teacher"


def _contradiction(entry: PaperValue) -> str:
    """Protocol §9, items 22 and 23: what a number cannot be."""
    if _is_interchanged(entry):
        return (
            "columns of ALL-CNN look interchanged: the class column lies on the grid of 100 samples (protocol §9, 22)"
        )
    if entry.table == "4" and entry.method == "adaprob" and entry.forgets == (SELECTIVE,):
        return "no mean of three attacks on 100 samples has this value and deviation (protocol §6.3)"
    rows = {"2": 100, "5": 25, "sec5.6": 400}.get(entry.table)
    off_grid = rows is not None and round(entry.value * rows / 100, 6) % 1
    if entry.column == "forget_error_percent" and entry.runs == 1 and off_grid:
        step = 100 / (rows or 1)
        return f"{rows} samples give multiples of {step:g} % in one run, and no more are named (protocol §9, 23)"
    return ""


def _alternatives(entry: PaperValue) -> Iterator[PaperValue]:
    """What else a number may be (protocol §9, 22 and 24): compare to all."""
    if _is_interchanged(entry):
        (task,) = entry.forgets
        other = CLASS if task == SELECTIVE else SELECTIVE
        runs = 2 if other == SELECTIVE else entry.runs  # what its spread fits, in steps of 1 % (protocol §6.3)
        yield replace(entry, forgets=(other,), runs=runs, reading="ALL-CNN's columns interchanged")
    if entry.table == "1" and entry.paper_dataset == "Lacuna-5" and entry.architecture == "resnet18":
        other, reading = "scrub" if entry.method == "adaprob" else "adaprob", "ALL-CNN's, roles as in the notebook"
        yield replace(entry, architecture="allcnn", filters=1.0, method=other, reading=reading)
    if entry.table in ("1", "3"):
        for formula, words in FORMULAS.items():
            yield replace(entry, column=entry.column.replace("_same_seed", formula), reading=words)


def with_alternatives(entries: Sequence[PaperValue]) -> list[PaperValue]:
    """Each number, and then its other readings."""
    return [reading for entry in entries for reading in (entry, *entry.alternatives)]
