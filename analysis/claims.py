"""The abstract's two claims against Records: over 20 % better forgetting, under half of SCRUB's time.

No table of the paper defines the first (protocol §9, 37), so that it is shown and not judged. The second is judged by the
interval of the ratio of times, seed by seed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.columns import column
from analysis.fidelity import CONTRADICTS, NOT_REPRODUCED, REPRODUCED, UNDETERMINED
from analysis.statistics import Estimate, mean_interval
from analysis.tables import Row, Table
from analysis.words import NOTHING, Page, Piece, entry, heading

FORGET, SECONDS = "forget_error_percent", "unlearn_seconds"
HALF = 50.0  # percent of SCRUB's time


@dataclass(frozen=True)
class Claim:
    """One reading of AdaProb against one SCRUB: the paper's words, ours as an Estimate in the unit of `unit`, the verdict."""

    words: str
    paper: str
    reading: str
    rival: str
    ours: Estimate
    unit: str
    verdict: str


def claims(table: Table) -> list[Claim]:
    """Both claims for each label of AdaProb and each of SCRUB in a group that has what they need."""
    ours = [row for row in table.rows if row.method == "adaprob"]
    rivals = [row for row in table.rows if row.method == "scrub"]
    retrain = next((row for row in table.rows if row.label == "retrain"), None)
    found = []
    for row in ours:
        for rival in rivals:
            found += _forgetting(row, rival, retrain) + _time(row, rival)
    return found


def _forgetting(row: Row, rival: Row, retrain: Row | None) -> list[Claim]:
    """How much nearer to Retrain's forget error, in points: positive is nearer."""
    if retrain is None:
        return []
    own, other, target = (_values(item, FORGET) for item in (row, rival, retrain))
    seeds = sorted(own.keys() & other.keys() & target.keys())
    nearer = [abs(other[seed] - target[seed]) - abs(own[seed] - target[seed]) for seed in seeds]
    if not nearer:
        return []
    words = "forget error nearer to retrain's than SCRUB's"
    return [Claim(words, "> 20 %", row.name, rival.name, mean_interval(nearer), "% points", CONTRADICTS)]


def _time(row: Row, rival: Row) -> list[Claim]:
    """Percent of SCRUB's time, by the geometric mean over seeds, whose interval is that of the logarithms."""
    own, other = _values(row, SECONDS), _values(rival, SECONDS)
    ratios = [math.log(own[seed] / other[seed]) for seed in sorted(own.keys() & other.keys())]
    if not ratios:
        return []
    logs = mean_interval(ratios)
    percent = 100 * math.exp(logs.mean)
    half = None if logs.half_width is None else percent * math.expm1(logs.half_width)  # the farther bound's
    estimate = Estimate(percent, half, logs.n)
    return [Claim("time of SCRUB's", "< 50 %", row.name, rival.name, estimate, "%", _below_half(estimate))]


def _below_half(percent: Estimate) -> str:
    if percent.half_width is None:
        return UNDETERMINED
    if percent.mean + percent.half_width < HALF:
        return REPRODUCED
    return NOT_REPRODUCED if percent.mean - percent.half_width > HALF else UNDETERMINED


def _values(row: Row, name: str) -> Mapping[int, float]:
    return row.seeds.get(name, {})


def claims_page(table: Table, found: Sequence[Claim]) -> Page:
    head = ["", "reading", "against", "paper", "ours", "verdict"]
    shown = column(FORGET)
    lines = [
        [
            claim.words,
            claim.reading,
            claim.rival,
            claim.paper,
            f"{entry(claim.ours, shown, 1)} {claim.unit}",
            claim.verdict,
        ]
        for claim in found
    ]
    widths = [max([len(row[at]) for row in [head, *lines]]) for at in range(len(head))]
    alone = table.provenance.exclusive == table.provenance.records
    beside = "" if alone else "; some cells ran beside others, so that their times are not comparable"
    notes = [
        "no table of the paper defines an improvement in forgetting of 20 % (protocol §9, 37): points of forget error by which "
        "AdaProb is nearer to retrain than SCRUB, seed by seed, without a verdict",
        "time: geometric mean over seeds of the ratio, with the farther bound of its 95 % interval" + beside,
        *table.provenance.lines(),
    ]
    return Page(heading(table), [Piece("", head, widths, lines)] if lines else [], notes if lines else [NOTHING])


def claim_numbers(found: Sequence[tuple[Table, Claim]]) -> str:
    """The same as CSV."""
    text = io.StringIO()
    fields = ["dataset", "architecture", "filters", "forget", "claim", "paper", "reading", "against"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*fields, "mean", "half_width", "n", "unit", "verdict"])
    for table, claim in found:
        group = [table.group[name] for name in fields[:4]]
        own = [claim.ours.mean, claim.ours.half_width, claim.ours.n, claim.unit, claim.verdict]
        writer.writerow([*group, claim.words, claim.paper, claim.reading, claim.rival, *own])
    return text.getvalue()
