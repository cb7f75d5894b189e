"""docs/fidelity.md: every number of the paper, ours where Records in results/ have one, and the verdict; generated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.tables.format import EMPTY_CELL, format_estimate
from adaprob_ray.reporting.tables.layout import Block
from adaprob_ray.reporting.tables.model import Table
from adaprob_ray.reporting.tables.render import markdown_table
from analysis.paper.claims import Claim, printed_claims
from analysis.paper.training_recipes import RecipeSetting
from analysis.paper.values import PaperValue, paper_values, with_alternatives
from analysis.paper.verdicts import (
    MARGIN_ATTACK,
    MARGIN_DIVERGENCE,
    MARGIN_ERROR,
    NOT_MEASURED,
    VERDICTS,
    Judgement,
    judgements,
    scored_by,
)

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
        "no formula is named: first the mean over samples of KL(model ‖ Retrain of the same seed), then other formulas, "
        "against the independent Retrain",
    ),
    "3": (
        "formulas as for Table 1",
        "our CIFAR-5 test set has no training sample (pool `clean`); the paper's has samples that its model was trained on",
    ),
    "4": ("ALL-CNN's columns are compared as printed and interchanged",),
}
HEADER = ["", "metric", "paper", "ours", "n", "row", "Records", "verdict"]


@dataclass(frozen=True)
class MeasuredJudgement:
    """A judgement, the group that it is about, and the file of Records that it comes from."""

    judgement: Judgement
    table: Table
    source: str


def measured_judgements(name: str, tables_by_source: Mapping[str, Sequence[Table]]) -> list[MeasuredJudgement]:
    """What the tables of each file of Records say about one table of the paper."""
    entries = list(with_alternatives(paper_values(name)))
    return [
        MeasuredJudgement(judgement, table, source)
        for source, tables in tables_by_source.items()
        for table in tables
        for judgement in judgements(entries, table)
    ]


def scored_columns() -> list[str]:
    """Every Record column that a number of the paper is compared with."""
    entries = [entry for name in TITLES for entry in with_alternatives(paper_values(name))]
    return list(dict.fromkeys(column for entry in entries for column in scored_by(entry)))


def fidelity_text(
    tables_by_source: Mapping[str, Sequence[Table]],
    claims: Sequence[tuple[Table, Claim]],
    recipes: Mapping[str, Sequence[RecipeSetting]],
) -> str:
    """The whole page. `tables_by_source`: file of Records → its tables, with every column that a number of the paper is about.

    `recipes`: the lines of Tables 6 and 7.
    """
    judged = {name: measured_judgements(name, tables_by_source) for name in TITLES}
    parts = [_INTRODUCTION, _summary(judged)]
    for name, title in TITLES.items():
        parts += [f"## {title}", _section(name, judged[name])]
    parts += ["## The abstract's claims", _claims(claims)]
    for name, lines in recipes.items():
        parts += [f"## Table {name}: {RECIPES[name]}", _recipes(lines)]
    return "\n\n".join(parts) + "\n"


def _summary(judged: Mapping[str, Sequence[MeasuredJudgement]]) -> str:
    """How many numbers have which verdict; a number with several rows of ours counts once for each verdict that it gets."""
    lines = []
    for name, title in TITLES.items():
        counts = Counter(verdict for entry in paper_values(name) for verdict in _verdicts(entry, judged[name]))
        lines.append(
            [title, str(len(paper_values(name))), *(str(counts[verdict] or EMPTY_CELL) for verdict in VERDICTS)]
        )
    head = ["", "numbers", *VERDICTS]
    return markdown_table(Block("", head, lines)) + "\n\n" + _SEVERAL


def _verdicts(entry: PaperValue, judged: Sequence[MeasuredJudgement]) -> set[str]:
    return {item.judgement.verdict for item in judged if item.judgement.published is entry} or {NOT_MEASURED}


def _section(name: str, judged: Sequence[MeasuredJudgement]) -> str:
    lines = []
    for number in paper_values(name):
        matching = [item for item in judged if item.judgement.published is number]
        lines += [_line(item) for item in matching] or [
            [*_of(number), EMPTY_CELL, EMPTY_CELL, EMPTY_CELL, EMPTY_CELL, _unmeasured(number)]
        ]
        lines += [_line(item) for other in number.alternatives for item in judged if item.judgement.published is other]
    reasons = dict.fromkeys(number.contradiction for number in paper_values(name) if number.contradiction)
    notes = [f"- contradicts itself: {reason}" for reason in reasons] + [f"- {note}" for note in NOTES.get(name, ())]
    return "\n\n".join(filter(None, [markdown_table(Block("", HEADER, lines)), "\n".join(notes)]))


def _claims(claims: Sequence[tuple[Table, Claim]]) -> str:
    """Both claims with every pair of rows that they are judged by."""
    lines = []
    for words, printed in printed_claims():
        matching = [(table, claim) for table, claim in claims if claim.words == words]
        lines += [
            [words, printed, claim.text, str(claim.n), _rows_of(table, claim), claim.verdict]
            for table, claim in matching
        ] or [[words, printed, EMPTY_CELL, EMPTY_CELL, EMPTY_CELL, NOT_MEASURED]]
    head = ["", "paper", "ours", "n", "rows", "verdict"]
    return markdown_table(Block("", head, lines)) + "\n\n- no table of the paper defines the first (protocol §9, 37)"


def _rows_of(table: Table, claim: Claim) -> str:
    return f"{claim.reading} against {claim.rival}, {table.heading}"


def _recipes(lines: Sequence[RecipeSetting]) -> str:
    """Settings are chosen, not measured: whose ours are takes the verdict's place."""
    head = ["", "setting", "paper", "notebooks", "ours", "ours is"]
    texts = [
        [line.name, line.setting.replace("_", " "), line.paper, line.notebooks, line.ours, line.whose] for line in lines
    ]
    return markdown_table(Block("", head, texts))


def _of(number: PaperValue) -> list[str]:
    forget = " or ".join(number.forgets)
    lam = "" if number.lam is None else f", λ = {number.lam:g}"
    reading = f"; read as {number.reading}" if number.reading else ""
    where = f"{number.paper_dataset}, {number.architecture}, {forget}: {number.method}{lam}{reading}"
    return [where, metric_format(number.column).header(), number.text]


def _unmeasured(number: PaperValue) -> str:
    return f"{NOT_MEASURED}; contradicts itself" if number.contradiction else NOT_MEASURED


def _line(item: MeasuredJudgement) -> list[str]:
    judgement = item.judgement
    column_format = metric_format(judgement.column)
    words = "" if judgement.column == judgement.published.column else ", targets"
    return [
        *_of(judgement.published),
        format_estimate(judgement.ours, column_format, column_format.min_decimals),
        str(judgement.ours.n),
        f"{judgement.row.name}{words}{_reading(judgement)}, {item.table.group['forget']}, {item.table.group['test_pool']}",
        item.source,
        judgement.verdict,
    ]


def _reading(judgement: Judgement) -> str:
    """Which AdaProb: its reference, totals, pseudo-probabilities and source."""
    chosen = judgement.row.chosen
    if judgement.row.method != "adaprob":
        return ""
    return f" ({chosen['reference']}/{chosen['totals']}, {chosen['pseudo']}, source {chosen.get('source', 'original')})"


_SEVERAL = (
    "A number with several rows of ours, such as the readings of AdaProb, counts once under each verdict that it gets. "
    "Alternative readings of a number (`read as`) are judged below it and not counted."
)
_INTRODUCTION = f"""# Fidelity

Every number of the paper's tables, our number where Records in [`results/`](../results) have one, and the verdict.
Generated by `python -m analysis verify --write`; `python -m analysis verify` fails if this page is stale.

Our n seeds predict the mean of the paper's k runs (3 for the baselines of Tables 2 and 4, else 1):
x̄ ± t(0.975, n − 1) · s · √(1/n + 1/k). Outside is *not reproduced*; inside is *reproduced* where the half-width is within
{MARGIN_ERROR:g} pp of an error, {MARGIN_ATTACK:g} pp of the attack, {100 * MARGIN_DIVERGENCE:g} % of a divergence, margins
that were fixed before any run, else *undetermined*. Where few samples are misclassified, or few are not, Fisher's exact test of
the counts replaces the interval. *Other data*: a stand-in replaces Lacuna, whose source is no longer available.
*Contradicts itself*: the number cannot be what the paper says it is. A row of AdaProb names its reading: reference/totals,
pseudo-probabilities, and whose outputs it starts from."""
