"""Every reading of the paper's numbers: which one docs/fidelity.md shows, and all of them as docs/fidelity.csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.tables.format import format_estimate
from adaprob_ray.reporting.tables.model import Row, Table
from adaprob_ray.reporting.tables.render import to_csv
from analysis.paper.values import PaperValue, paper_values, with_alternatives
from analysis.paper.verdicts import NOT_MEASURED, Judgement, is_reduced, judgements
from analysis.registry import ARTEFACTS

PAPER_TABLES = ("1", "2", "3", "4", "5", "sec5.6")
EQUATION_1 = {"reference": "original", "totals": "pseudo", "pseudo": "uniform", "source": "original"}
DEFAULT_LAM = 1.0  # of every experiment but Table 5 (paper §5.2)
FIELDS = (
    "table", "dataset", "architecture", "forget", "method", "lam", "metric", "paper", "contradiction", "read_as", "shown",
    "ours", "mean", "half_width", "n", "label", "scored", "reference", "totals", "pseudo", "source", "forget_measured",
    "test_pool", "records", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class MeasuredJudgement:
    """A judgement, the group that it is about, and the file of Records that it comes from."""

    judgement: Judgement
    table: Table
    records: str


def measured_judgements(name: str, tables_by_source: Mapping[str, Sequence[Table]]) -> list[MeasuredJudgement]:
    """What the tables of each file of Records say about one table of the paper."""
    entries = with_alternatives(paper_values(name))
    return [
        MeasuredJudgement(judgement, table, source)
        for source, tables in tables_by_source.items()
        for table in tables
        for judgement in judgements(entries, table)
    ]


def shown_judgement(number: PaperValue, judged: Sequence[MeasuredJudgement]) -> MeasuredJudgement | None:
    """The one reading of a number that the page shows; None where nothing of ours is about the number as printed.

    The order of choice does not depend on any value: never another reading of the number; the paper's scale before a reduced
    one; the trained model before AdaProb's targets; Eq. (1) as written before its other readings; then files of Records in
    the order of the registry, and labels in the order of their sweep file.
    """
    candidates = [item for item in judged if item.judgement.published is number]
    sweeps = next(artefact.sweeps for artefact in ARTEFACTS.values() if artefact.table == number.table)

    def priority(item: MeasuredJudgement) -> tuple[bool, bool, bool, int]:
        place = sweeps.index(item.records) if item.records in sweeps else len(sweeps)
        is_target = item.judgement.column != number.column
        return is_reduced(number, item.table.group), is_target, not is_as_written(number, item.judgement.row), place

    return min(candidates, key=priority, default=None)


def is_as_written(number: PaperValue, row: Row) -> bool:
    """Whether a row is Eq. (1) with the paper's default λ; rows of other methods are."""
    if row.method != "adaprob":
        return True
    same_lam = number.lam is not None or float(row.chosen.get("lam", DEFAULT_LAM)) == DEFAULT_LAM
    return same_lam and adaprob_reading(row) == EQUATION_1


def adaprob_reading(row: Row) -> dict[str, str]:
    """Which AdaProb: its reference, totals, pseudo-probabilities and source; empty for other methods."""
    if row.method != "adaprob":
        return {}
    return {name: str(row.chosen.get(name, "original")) for name in EQUATION_1}


def ours_text(judgement: Judgement) -> str:
    """Our number as on the page, such as `15.3 ± 0.6`."""
    return format_estimate(judgement.ours, metric_format(judgement.column))


def readings_csv(judged: Mapping[str, Sequence[MeasuredJudgement]]) -> str:
    """A line for each number of the paper and each row of ours that it is compared with, other readings below their number.

    A number without any row of ours has one line. `shown` marks the line that the page shows.
    """
    lines = [line for name in PAPER_TABLES for number in paper_values(name) for line in _lines(number, judged[name])]
    return to_csv(lines, FIELDS)


def _lines(number: PaperValue, judged: Sequence[MeasuredJudgement]) -> Iterator[dict[str, object]]:
    shown = shown_judgement(number, judged)
    if shown is None:
        yield {**_number(number), "shown": "yes", "verdict": NOT_MEASURED}
    for reading in (number, *number.alternatives):
        for item in judged:
            if item.judgement.published is reading:
                yield {**_number(reading), "shown": "yes" if item is shown else "no", **_measured(item)}


def _number(number: PaperValue) -> dict[str, object]:
    return {
        **vars(number),
        "dataset": number.paper_dataset,
        "forget": " or ".join(number.forgets),
        "metric": number.column,
        "paper": number.text,
        "read_as": number.reading,
    }


def _measured(item: MeasuredJudgement) -> dict[str, object]:
    judgement = item.judgement
    return {
        "ours": ours_text(judgement),
        "mean": _six_digits(judgement.ours.mean),
        "half_width": _six_digits(judgement.ours.half_width),
        "n": judgement.ours.n,
        "label": judgement.row.name,
        "scored": "model" if judgement.column == judgement.published.column else "targets",
        **adaprob_reading(judgement.row),
        "forget_measured": item.table.group["forget"],
        "test_pool": item.table.group["test_pool"],
        "records": f"results/{item.records}.jsonl",
        "verdict": judgement.verdict,
    }


def _six_digits(value: float | None) -> str | None:
    """Fewer digits than processors agree on."""
    return None if value is None else f"{value:.6g}"
