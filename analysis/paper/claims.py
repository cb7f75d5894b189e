"""The abstract's two claims against Records: over 20 % better forgetting, under half of SCRUB's time.

No table of the paper defines the first (protocol §9, 37), so that it is shown and not judged. The second is judged by the
interval of the ratio of times, seed by seed, of cells that ran alone on one kind of hardware, the warm-up seed left out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.records.provenance import mixed_hardware, timed_alone
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.stats.intervals import Estimate, mean_interval
from adaprob_ray.reporting.tables.format import MINUS_SIGN
from adaprob_ray.reporting.tables.layout import Block, Document
from adaprob_ray.reporting.tables.model import Row, Table, tables
from adaprob_ray.reporting.tables.output import Output, missing_document
from adaprob_ray.reporting.tables.render import to_csv, write_documents
from analysis.paper.values import transcribed
from analysis.paper.verdicts import NOT_REPRODUCED, REPRODUCED, UNDETERMINED

FORGET, SECONDS = "forget_error_percent", "unlearn_seconds"
CLAIMS = FORGETTING_CLAIM, TIME_CLAIM = (
    "forget error closer to retrain's than SCRUB's",
    "unlearning time relative to SCRUB's",
)  # in the order of data/claims.csv
NOT_DEFINED = "not defined"
WARM_UP = 1  # the seed of the sweeps of figure 4 that only warms the machine up
HALF = 50.0  # percent of SCRUB's time


@dataclass(frozen=True)
class Claim:
    """One reading of AdaProb against one SCRUB: the paper's words, our mean and its interval's ends in `unit`, the verdict."""

    words: str
    paper: str
    reading: str
    rival: str
    mean: float
    low: float | None
    high: float | None
    n: int
    unit: str
    verdict: str

    @property
    def text(self) -> str:
        """`31.2 (29.0 to 33.6) %`."""
        ends = "" if self.low is None or self.high is None else f" ({self.low:.1f} to {self.high:.1f})"
        return f"{self.mean:.1f}{ends} {self.unit}".replace("-", MINUS_SIGN)


def build_claims(selection: Selection, out: Path) -> Output:
    """Write claims.md, .tex and .csv to `out`."""
    gathered = selection.gather()
    by_table = claims_by_table(gathered.records, selection.labels, selection.primary_label)
    numbers = claim_numbers([(table, claim) for table, table_claims in by_table for claim in table_claims])
    documents = [*(claims_page(*each) for each in by_table), *missing_document(gathered.missing)]
    return Output(documents, write_documents(documents, numbers, "claims", out))


def claims_by_table(
    records: pd.DataFrame, labels: Iterable[str], primary_label: str | None
) -> list[tuple[Table, list[Claim]]]:
    """The tables of forget errors, and those of times that may be compared, that hold both a reading and a SCRUB.

    For `labels` and `primary_label` see `tables`. Raises InputError where times are of several kinds of hardware.
    """
    if not len(records):
        return []
    alone = timed_alone(records, WARM_UP)
    if faults := mixed_hardware(alone):
        raise InputError(*faults)
    group_tables = tables(records, [metric_format(FORGET)], labels, primary_label)
    group_tables += tables(alone, [metric_format(SECONDS)], labels, primary_label) if len(alone) else []
    return [(table, table_claims) for table in group_tables if (table_claims := claims(table))]


@functools.cache
def printed_claims() -> dict[str, str]:
    """What the paper claims, in our words, and its number as printed, such as `> 20 %`."""
    values = [line["value"] for line in transcribed("claims")]
    return {words: f"{value[0]} {value[1:]} %" for words, value in zip(CLAIMS, values, strict=True)}


def claims(table: Table) -> list[Claim]:
    """Both claims for each label of AdaProb and each of SCRUB in a group, as far as its columns hold what they need."""
    ours = [row for row in table.rows if row.method == "adaprob"]
    rivals = [row for row in table.rows if row.method == "scrub"]
    retrain = [row for row in table.rows if row.label == "retrain"]
    pairs = [(row, rival) for row in ours for rival in rivals]
    return [claim for row, rival in pairs for claim in (_forgetting(row, rival, retrain), _time(row, rival)) if claim]


def _forgetting(row: Row, rival: Row, retrain: Sequence[Row]) -> Claim | None:
    """How much nearer to Retrain's forget error, in points: positive is nearer."""
    seeds = _shared_seeds(FORGET, row, rival, *retrain)
    if not retrain or not seeds:
        return None
    adaprob, scrub, target = (item.seeds[FORGET] for item in (row, rival, retrain[0]))
    nearer = [abs(scrub[seed] - target[seed]) - abs(adaprob[seed] - target[seed]) for seed in seeds]
    return _claim(FORGETTING_CLAIM, row, rival, mean_interval(nearer), "pp", NOT_DEFINED)


def _time(row: Row, rival: Row) -> Claim | None:
    """Percent of SCRUB's time: the geometric mean over seeds, with the interval of the logarithms."""
    seeds = _shared_seeds(SECONDS, row, rival)
    if not seeds:
        return None
    logs = mean_interval([math.log(row.seeds[SECONDS][seed] / rival.seeds[SECONDS][seed]) for seed in seeds])
    claim = _claim(TIME_CLAIM, row, rival, logs, "%", UNDETERMINED, scale=lambda log: 100 * math.exp(log))
    if claim.low is None or claim.high is None:
        return claim
    verdict = REPRODUCED if claim.high < HALF else NOT_REPRODUCED if claim.low > HALF else UNDETERMINED
    return replace(claim, verdict=verdict)


def _shared_seeds(name: str, *rows: Row) -> list[int]:
    """The seeds of which each of these rows has a value."""
    return sorted(set.intersection(*(set(row.seeds.get(name, {})) for row in rows)))


def _claim(
    words: str, row: Row, rival: Row, ours: Estimate, unit: str, verdict: str, scale: Callable[[float], float] = float
) -> Claim:
    mean, half = ours.mean, ours.half_width
    low, high = (None, None) if half is None else (scale(mean - half), scale(mean + half))
    return Claim(words, printed_claims()[words], row.name, rival.name, scale(mean), low, high, ours.n, unit, verdict)


def claims_page(table: Table, table_claims: Sequence[Claim]) -> Document:
    head = ["", "reading", "against", "paper", "ours", "verdict"]
    lines = [[item.words, item.reading, item.rival, item.paper, item.text, item.verdict] for item in table_claims]
    return Document(table.heading, [Block("", head, lines)], [*_NOTES, *table.provenance])


_NOTES = (
    "no table of the paper defines an improvement in forgetting of 20 % (protocol §9, 37): percentage points of forget error "
    "by which AdaProb is closer to retrain than SCRUB, paired by seed, without a verdict",
    "time: geometric mean over seeds of the ratio with its 95 % interval; only cells that ran alone, without the warm-up seed",
)


def claim_numbers(pairs: Sequence[tuple[Table, Claim]]) -> str:
    """The same as CSV."""
    columns = (
        "dataset", "architecture", "filters", "forget", "claim", "paper", "reading", "against", "mean", "low", "high", "n",
        "unit", "verdict",
    )  # fmt: skip
    rows = [{**table.group, **vars(claim), "claim": claim.words, "against": claim.rival} for table, claim in pairs]
    return to_csv(rows, columns)
