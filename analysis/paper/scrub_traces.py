"""SCRUB epoch by epoch: the errors that the authors' notebooks print before each epoch, and ours at the same point.

A run of e epochs is what a run of ten is after e of them, so that the Records of `epochs: [1, …, 10]` are one trace: errors of
the network at rest, evaluated as every other network is. Before the first epoch it is the original.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.records.provenance import provenance
from adaprob_ray.reporting.records.selection import Selection, shown_seed
from adaprob_ray.reporting.tables.format import EMPTY_CELL
from adaprob_ray.reporting.tables.layout import Block, Document
from adaprob_ray.reporting.tables.output import Output, missing_document
from adaprob_ray.reporting.tables.render import to_csv, write_documents
from analysis.paper.values import ARCHITECTURES, STAND_INS, our_dataset, transcribed

ERRORS = ("retain_error_percent", "forget_error_percent")
NOTEBOOKS = "notebooks"
TRACE_GROUP = ("dataset", "architecture", "filters", "forget", "precision")

Points = dict[int, tuple[float, float]]  # before epoch e → retain error, forget error, both in percent


@dataclass(frozen=True)
class ScrubTrace:
    """One group at one seed: by label, ours and the notebooks'. `note`: what is wrong with the notebooks'."""

    title: str
    seed: int
    points: dict[str, Points]
    note: str
    records: pd.DataFrame


@functools.cache
def _printed() -> dict[tuple[str, str], tuple[Points, str]]:
    """Our data set and architecture → the notebooks' trace, and what is wrong with it."""
    traces_by_network: dict[tuple[str, str], tuple[Points, str]] = {}
    for line in transcribed("scrub_traces"):
        network = our_dataset(line["dataset"]), ARCHITECTURES[line["model"]]
        points, _ = traces_by_network.setdefault(network, ({}, line["note"]))
        points[int(line["before_epoch"])] = (float(line[ERRORS[0]]), float(line[ERRORS[1]]))
    return traces_by_network


def build_traces(selection: Selection, out: Path) -> Output:
    """Write traces.md, .tex and .csv to `out`."""
    gathered = selection.gather_some("traces")
    scrub_traces = traces(gathered.records, shown_seed(gathered.records))
    if not scrub_traces:
        groups = ", ".join(" · ".join(group) for group in _printed())
        raise InputError(f"traces: must be Records of a group that the notebooks print, got none (known: {groups})")
    documents = [*map(trace_page, scrub_traces), *missing_document(gathered.missing)]
    return Output(documents, write_documents(documents, trace_numbers(scrub_traces), "traces", out))


def traces(records: pd.DataFrame, seed: int) -> list[ScrubTrace]:
    """The traces of every group that the notebooks print; a point without a Record is left out.

    Raises InputError where an epoch of a label is there twice.
    """
    scrub_traces = []
    for group, members in records[records["seed"] == seed].groupby(list(TRACE_GROUP), sort=False):
        dataset, architecture, _, forget, precision = map(str, group)
        if (dataset, architecture) not in _printed():
            continue
        printed, note = _printed()[dataset, architecture]
        title = f"{dataset} · {architecture} · forget {forget} · {precision}"
        originals = members[members["label"] == "original"]
        before = {1: _errors(originals, f"{title}: original")} if len(originals) else {}
        points = {NOTEBOOKS: printed}
        for label in dict.fromkeys(members.loc[members["method"] == "scrub", "label"]):
            runs = members[members["label"] == label].groupby("method.epochs")
            after = {int(e): _errors(run, f"{title}: {label}, {e:g} epochs") for e, run in runs}
            points[str(label)] = {**before, **{epoch + 1: errors for epoch, errors in sorted(after.items())}}
        scrub_traces.append(ScrubTrace(title, seed, points, note, members))
    return scrub_traces


def _errors(records: pd.DataFrame, words: str) -> tuple[float, float]:
    if len(records) != 1:
        varying = [name for name in records if records[name].map(str).nunique() > 1 and str(name).startswith("method.")]
        differ = f", which differ in {', '.join(map(str, varying))}" if varying else ""
        raise InputError(f"{words}: must be one Record, got {len(records)}{differ}")
    retain, forget = (float(records[name].iloc[0]) for name in ERRORS)
    return retain, forget


def trace_page(trace: ScrubTrace) -> Document:
    """Retain and forget errors, the notebooks' first, a line for each epoch."""
    epochs = sorted({epoch for points in trace.points.values() for epoch in points})
    blocks = []
    for column, title in enumerate(("retain error (%)", "forget error (%)")):
        lines = [[str(epoch), *(_entry(points, epoch, column) for points in trace.points.values())] for epoch in epochs]
        blocks.append(Block(title, ["before epoch", *trace.points], lines))
    notes = [f"the notebook's trace: {trace.note}"] if trace.note else []
    dataset = trace.title.partition(" ")[0]
    names = [name for name, ours in STAND_INS.items() if ours == dataset]
    notes += [f"{dataset} stands in for {name}: other people, other numbers" for name in names]
    return Document(f"{trace.title} · seed {trace.seed}", blocks, [*notes, *provenance(trace.records)])


def _entry(points: Points, epoch: int, column: int) -> str:
    return f"{points[epoch][column]:.1f}" if epoch in points else EMPTY_CELL


def trace_numbers(scrub_traces: Sequence[ScrubTrace]) -> str:
    """A line for each trace, label and epoch, as CSV."""
    columns = ("group", "seed", "label", "before_epoch", *ERRORS)
    lines = [
        (trace.title, trace.seed, label, epoch, *errors)
        for trace in scrub_traces
        for label, points in trace.points.items()
        for epoch, errors in points.items()
    ]
    return to_csv([dict(zip(columns, line, strict=True)) for line in lines], columns)
