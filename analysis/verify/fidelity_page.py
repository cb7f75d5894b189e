"""docs/fidelity.md: every number of the paper once, ours where Records in results/ have one, and the verdict; generated.

The conclusions at its end are in fidelity_conclusions.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.tables.format import EMPTY_CELL
from adaprob_ray.reporting.tables.layout import Block
from adaprob_ray.reporting.tables.model import Table
from adaprob_ray.reporting.tables.render import markdown_table
from analysis.paper import verdicts
from analysis.paper.claims import Claim, printed_claims
from analysis.paper.training_recipes import SETTING_NAMES, RecipeSetting
from analysis.paper.values import METHODS, PaperValue, paper_values, with_alternatives
from analysis.verify import fidelity_readings

TITLES = {
    "1": "Table 1: KL to Retrain on the forget set",
    "2": "Table 2: errors, ALL-CNN, 100 images of a class forgotten",
    "3": "Table 3: KL to Retrain on the test set",
    "4": "Table 4: membership inference attack",
    "5": "Table 5: AdaProb over λ",
    "sec5.6": "Section 5.6: CIFAR-100, a class forgotten",
}
RECIPES = {"6": "pretraining", "7": "training of original and Retrain"}
NOTES = {  # protocol §9, 24, 25 and 32; §6.4
    "1": (
        "the notebook of Lacuna-5's two numbers is about ALL-CNN, and gives 3.65 to AdaProb and 1.35 to SCRUB",
        "small scale: 25 images of class 0; on ten classes the paper does not say whether class 5 or 100 images of it",
        "the paper names no formula: shown is the mean over samples of KL(model ‖ Retrain of the same seed); the CSV file has "
        "other formulas, against the independent Retrain",
    ),
    "3": (
        "forget sets and formulas as for Table 1",
        "our CIFAR-5 test set has no training sample (pool `clean`); the paper's has samples that its model was trained on",
    ),
    "4": ("ALL-CNN's columns are compared as printed and interchanged",),
}
# What the columns of a table of numbers without ours are; everything else that varies is in the name of the line.
COLUMNS_OF = {"1": "method", "2": "metric", "3": "method", "4": "forget", "5": "metric", "sec5.6": "metric"}
METHOD_NAMES = {ours: papers for papers, ours in METHODS.items()}
NETWORKS = {"resnet18": "ResNet-18", "allcnn": "ALL-CNN"}
FORGETS = {"25of0": "25 of class 0", "100of5": "100 of class 5", "class5": "all of class 5", "class0": "all of class 0"}
CONCLUSIONS = Path(__file__).with_name("fidelity_conclusions.md")
FOOTNOTES, NO_BREAK = "¹²³⁴⁵⁶⁷⁸⁹", "\u00a0"
SMALL_SCALE = ("CIFAR-5", "Lacuna-5")
WHERE = ("dataset", "network", "forget")  # the parts of a name before the colon


class TableOfPaper:
    """One table of the paper: its numbers, the readings shown, and the reasons why some numbers contradict themselves."""

    def __init__(self, name: str, judged: Sequence[fidelity_readings.MeasuredJudgement]) -> None:
        self.name, self.judged, self.numbers = name, judged, paper_values(name)
        self.shown = [fidelity_readings.shown_judgement(number, judged) for number in self.numbers]
        self.missing = [number for number, item in zip(self.numbers, self.shown, strict=True) if item is None]
        self.reasons = list(dict.fromkeys(number.contradiction for number in self.numbers if number.contradiction))
        parts = [self.parts(number) for number in self.numbers]
        self.values = {part: dict.fromkeys(entry[part] for entry in parts) for part in parts[0]}

    def verdicts(self) -> Counter[str]:
        return Counter(item.judgement.verdict if item else verdicts.NOT_MEASURED for item in self.shown)

    def parts(self, number: PaperValue) -> dict[str, str]:
        """What a number is about, in words."""
        return {
            "dataset": number.paper_dataset,
            "network": NETWORKS[number.architecture],
            "forget": " or ".join(FORGETS[forget] for forget in number.forgets),
            "method": METHOD_NAMES[number.method],
            "lam": "" if number.lam is None else f"λ = {number.lam:g}",
            "metric": metric_format(number.column).header(),
        }

    def constant(self) -> list[str]:
        """What all numbers have in common."""
        return [next(iter(values)) for values in self.values.values() if len(values) == 1 and all(values)]

    def name_of(self, number: PaperValue, without: str = "") -> str:
        """What distinguishes a number from others of its table; the forget request only where the data set does not say it."""
        varying = [part for part, values in self.values.items() if len(values) > 1 and part != without]
        requests = {(entry.paper_dataset, entry.forgets) for entry in self.numbers}
        if len(requests) == len(self.values["dataset"]) and "forget" in varying:
            varying.remove("forget")
        parts = self.parts(number)
        where = ", ".join(parts[part] for part in varying if part in WHERE)
        what = ", ".join(parts[part] for part in varying if part not in WHERE)
        return ": ".join(filter(None, [where, what]))

    def text_of(self, number: PaperValue) -> str:
        """The number as printed, with the mark of the note that says why it contradicts itself."""
        return number.text + (FOOTNOTES[self.reasons.index(number.contradiction)] if number.contradiction else "")


def scored_columns() -> list[str]:
    """Every Record column that a number of the paper is compared with."""
    entries = [entry for name in fidelity_readings.PAPER_TABLES for entry in with_alternatives(paper_values(name))]
    return list(dict.fromkeys(column for entry in entries for column in verdicts.scored_by(entry)))


def fidelity_text(
    judged: Mapping[str, Sequence[fidelity_readings.MeasuredJudgement]],
    claims: Sequence[tuple[Table, Sequence[Claim]]],
    recipes: Mapping[str, Sequence[RecipeSetting]],
) -> str:
    """The whole page. `judged`: table of the paper → every reading; `recipes`: the lines of Tables 6 and 7."""
    tables = [TableOfPaper(name, judged[name]) for name in fidelity_readings.PAPER_TABLES]
    parts = ["# Fidelity", _headline(tables), _summary(tables), _RULES]
    for table in tables:
        parts += [f"## {TITLES[table.name]}", *_section(table)]
    parts += ["## The abstract's claims", _claims_section(claims)]
    for name, lines in recipes.items():
        parts += [f"## Table {name}: {RECIPES[name]}", _recipes_section(lines)]
    parts.append(CONCLUSIONS.read_text(encoding="utf-8"))
    return "\n\n".join(parts)


def _headline(tables: Sequence[TableOfPaper]) -> str:
    """How many numbers there are, are measured and reproduced, and why most are not."""
    counts = sum((table.verdicts() for table in tables), Counter[str]())
    missing = [number for table in tables for number in table.missing]
    large = sum(number.paper_dataset not in SMALL_SCALE for number in missing)
    small, reduced = len(missing) - large, counts[verdicts.REDUCED_SCALE]
    words = (
        f"**Of the {counts.total()} numbers in the paper's tables, {counts.total() - len(missing) - reduced} are measured "
        f"({counts[verdicts.OTHER_DATA]} of them on a stand-in for Lacuna, where no verdict is possible) and "
        f"{_number_is(counts[verdicts.REPRODUCED])} reproduced.**"
    )
    if reduced:
        words += f" For {reduced} there is a number at reduced scale ([what that shows](reduced-scale.md)), without a verdict."
    if missing:
        words += (
            f" {len(missing)} are not measured. {large} of these need networks that are pretrained and trained at full width "
            "on CIFAR-10, CIFAR-100 or Lacuna-10, for several seeds: `make paper-large`, on GPUs, has not been run."
        ) + (f" For the other {small}, `sweeps/table5.yaml` has not been run." if small else "")
    return words + " [What the numbers say](#what-the-paper-probably-did)."


def _number_is(count: int) -> str:
    return f"{count or 'none'} {'is' if count < 2 else 'are'}"


def _summary(tables: Sequence[TableOfPaper]) -> str:
    """How many numbers have which verdict, by the reading that is shown."""
    total = sum((table.verdicts() for table in tables), Counter[str]())
    shown = [verdict for verdict in verdicts.VERDICTS if total[verdict] or verdict == verdicts.REPRODUCED]
    counts = {TITLES[table.name].partition(":")[0]: table.verdicts() for table in tables} | {"all": total}
    lines = [
        [f"{name} ({each.total()} numbers)", *(str(each[v] or EMPTY_CELL) for v in shown)]
        for name, each in counts.items()
    ]
    readings = [item.judgement.verdict for table in tables for item in table.judged]
    reproduced = _number_is(readings.count(verdicts.REPRODUCED))
    words = f"Of all {len(readings)} readings in [`fidelity.csv`](fidelity.csv), {reproduced} *reproduced*."
    if left_out := [f"*{verdict}*" for verdict in verdicts.VERDICTS if verdict not in shown]:
        words += f" No measured number is {' or '.join(left_out)}."
    return markdown_table(Block("", ["", *shown], lines)) + "\n\n" + words


def _section(table: TableOfPaper) -> list[str]:
    """The numbers with one of ours, one a line; then those without, in a table like the paper's; then the notes."""
    measured = [item for item in table.shown if item]
    parts = [f"All numbers: {', '.join(table.constant())}."] if table.constant() else []
    if measured:
        head = ["", "paper", "ours", "n", "verdict", "reading shown"]
        text = markdown_table(Block("", head, [_line(table, item) for item in measured]))
        # Words are set flush left, numbers flush right.
        parts.append(text.replace("| --: | --: | --: | --: | --: |", "| --: | --: | --: | :-- | :-- |", 1))
    if table.missing:
        parts += [f"Not measured, {len(table.missing)} of the paper's numbers:", _missing(table)]
    notes = [f"- {mark} contradicts itself: {reason}" for mark, reason in zip(FOOTNOTES, table.reasons, strict=False)]
    notes += [f"- {note}" for note in NOTES.get(table.name, ())]
    return [*parts, "\n".join(notes)] if notes else parts


def _line(table: TableOfPaper, item: fidelity_readings.MeasuredJudgement) -> list[str]:
    judgement, number = item.judgement, item.judgement.published
    words = f"`{judgement.row.name}`" + (", targets" if judgement.column != number.column else "")
    if not fidelity_readings.is_as_written(number, judgement.row):
        reading = fidelity_readings.adaprob_reading(judgement.row)
        words += " ({reference}/{totals}, {pseudo}, source {source})".format(**reading)
    return [
        table.name_of(number),
        table.text_of(number),
        fidelity_readings.ours_text(judgement).replace(" ", NO_BREAK),
        str(judgement.ours.n),
        judgement.verdict.replace(" ", NO_BREAK),
        f"{words} in [{item.records}](../results/{item.records}.jsonl)",
    ]


def _missing(table: TableOfPaper) -> str:
    """A line for each name, a column for each value of what the table's columns are; data sets and networks together."""
    part = COLUMNS_OF[table.name]
    order = list(dict.fromkeys((number.paper_dataset, number.architecture) for number in table.missing))
    numbers = sorted(table.missing, key=lambda number: order.index((number.paper_dataset, number.architecture)))
    columns = list(dict.fromkeys(table.parts(number)[part] for number in numbers))
    lines: dict[str, dict[str, str]] = {}
    for number in numbers:
        lines.setdefault(table.name_of(number, part), {})[table.parts(number)[part]] = table.text_of(number)
    body = [[name, *(entries.get(column, EMPTY_CELL) for column in columns)] for name, entries in lines.items()]
    return markdown_table(Block("", ["", *columns], body))


def _claims_section(claims: Sequence[tuple[Table, Sequence[Claim]]]) -> str:
    """Both claims with every pair of rows that they are judged by."""
    lines = []
    for words, printed in printed_claims().items():
        lines += [
            [
                words,
                printed,
                claim.text,
                str(claim.n),
                f"{claim.reading} against {claim.rival}, {table.heading}",
                claim.verdict,
            ]
            for table, table_claims in claims
            for claim in table_claims
            if claim.words == words
        ] or [[words, printed, EMPTY_CELL, EMPTY_CELL, EMPTY_CELL, verdicts.NOT_MEASURED]]
    head = ["", "paper", "ours", "n", "rows", "verdict"]
    return markdown_table(Block("", head, lines)) + "\n\n- no table of the paper defines the first (protocol §9, 37)"


def _recipes_section(lines: Sequence[RecipeSetting]) -> str:
    """Settings are chosen, not measured: whose ours are takes the verdict's place. Networks with equal entries share a line."""
    order = list(SETTING_NAMES)
    networks: dict[tuple[str, ...], list[str]] = {}
    for line in sorted(lines, key=lambda line: order.index(line.setting)):
        entry = (line.setting.replace("_", " "), line.paper, line.notebooks, line.ours, line.whose)
        networks.setdefault(entry, []).append(line.name)
    everything = list(dict.fromkeys(line.name for line in lines))
    head = ["setting", "of", "paper", "notebooks", "ours", "ours is"]
    body = [
        [entry[0], _networks(names, everything), *entry[1:4], entry[4].replace(" ", NO_BREAK)]
        for entry, names in networks.items()
    ]
    return markdown_table(Block("", head, body)).replace("| --: |", "| :-- |", 1)


def _networks(names: Sequence[str], everything: Sequence[str]) -> str:
    """Some networks of Tables 6 and 7 in a few words."""
    groups = {f"all {len(everything)}": "", "CIFAR5 and Lacuna5": "5)", "CIFAR10 and Lacuna10": "10)"}
    for words, part in groups.items():
        if names == [name for name in everything if part in name]:
            return words
    # More than half: at most one line of a setting has as many, so that the others are all named.
    return ", ".join(names) if len(names) <= len(everything) / 2 else "all others"


_RULES = f"""**Which reading is shown.** A line shows the reading that follows the paper's own words: the number as printed,
the trained model (not its targets), and AdaProb as Eq. (1) is written, with uniform pseudo-probabilities and the original's
outputs. If several rows qualify, we take the first file in the order of `analysis/registry.py`, and in it the first label in
alphabetical order. The choice does not depend on any value. All other readings, with their verdicts and files of Records, are
in [`fidelity.csv`](fidelity.csv); [`protocol.md`](protocol.md) says what they are.

**How a number is judged.** Our n seeds predict the mean of the paper's k runs (3 for the baselines of Tables 2 and 4, else 1):
x̄ ± t(0.975, n − 1) · s · √(1/n + 1/k). Outside is *not reproduced*; inside is *reproduced* where the half-width is within
{verdicts.MARGINS}, else
*undetermined*. These margins were fixed before any run. If very few or nearly all samples are misclassified, Fisher's exact
test replaces the interval test, and a Clopper-Pearson interval is printed, marked †. *Other data*: a stand-in replaces Lacuna,
whose source is no longer available. *Reduced scale*: trained on part of the data; the ranking of methods can be compared with
the paper's, the numbers cannot. *Contradicts itself*: the number cannot be what the paper says it is.

Generated by `python -m analysis verify --write` from the Records in [`results/`](../results/README.md);
`python -m analysis verify` fails if this page or the CSV file is stale."""
