"""Every number of README and docs against `results/`: tables made again from Records, Records again from Outputs.

A table in a page stands between marks that say what it is made of, and is made again from there:

    <!-- from results/cifar5.jsonl, dataset cifar5, forget 25of0: test_error_percent, retain_error_percent -->
    | … |
    <!-- end -->

What other marks there are, for benchmarks and for sentences: measured.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.records.load import in_order_of_groups, load_sweep, read_lines
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_columns, metric_format
from adaprob_ray.reporting.records.selection import shown_seed
from adaprob_ray.reporting.tables.format import blocks, document
from adaprob_ray.reporting.tables.latex import latex
from adaprob_ray.reporting.tables.model import Table, tables
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.reporting.tables.render import MARKDOWN_WIDTH, grid, markdown, table_csv, write_whole
from adaprob_ray.sweep.sweep import Sweep
from analysis.paper.claims import Claim, claim_tables, claims
from analysis.paper.scrub_traces import trace_numbers, trace_page, traces
from analysis.paper.training_recipes import recipe_lines
from analysis.registry import CLAIMED, NOTEBOOKS, ROOT
from analysis.verify.archives import check_archive
from analysis.verify.fidelity_page import fidelity_text, scored_columns
from analysis.verify.marks import Checked
from analysis.verify.sentences import (
    BENCHMARKS,
    COUNTS,
    SAYS,
    TOLD_BY,
    WHERE,
    benchmark_faults,
    count_of,
    meant,
    sentence_faults,
)

_BODY = r"(?P<body>(?:(?!<!-- ).)*?)(<!-- end -->)"  # no other mark stands between a table's two
BLOCK = re.compile(rf"(<!-- from (?P<file>results/\S+?\.jsonl){WHERE}: (?P<columns>[\w, ]+?) -->\n){_BODY}", re.S)
MEASURED = re.compile(rf"(<!-- from results/(?P<file>[\w-]+\.csv) -->\n){_BODY}", re.S)
_MARK = re.compile(r"<!-- (?P<kind>from|says) [^>]*>?")
_FORMS = {
    "from": "<!-- from results/NAME.jsonl[, dataset NAME][, architecture NAME][, forget REQUEST]: COLUMN, COLUMN --> or "
    "<!-- from results/NAME.csv -->, a table, <!-- end -->",
    "says": "<!-- says results/NAME.jsonl[, dataset NAME][, architecture NAME][, forget REQUEST]: CLAIM; CLAIM --> or "
    "<!-- says results/NAME.csv[, COLUMN VALUE]: CLAIM; CLAIM -->, a paragraph",
}
FIDELITY, TRACES = "fidelity.md", ("scrub_traces", "scrub_traces_bfloat16")
WIDE = 10_000  # characters: a page's table is one block


class Results:
    """The files of results/ with the sweep files that they are Records of, each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[Path, tuple[Sweep, pd.DataFrame]] = {}

    def files(self, ending: str) -> list[Path]:
        return sorted((self.root / "results").glob(f"*.{ending}"))

    def sweep(self, path: Path) -> Sweep:
        return self._read(path)[0]

    def records(self, path: Path) -> pd.DataFrame:
        return self._read(path)[1]

    def tables(self, path: Path, columns: Sequence[MetricFormat]) -> list[Table]:
        """The tables of the Records in results/NAME.jsonl, in the order of sweeps/NAME.yaml."""
        sweep, records = self._read(path)
        return tables(records, columns, sweep.file.methods, sweep.file.primary_label)

    def _read(self, path: Path) -> tuple[Sweep, pd.DataFrame]:
        if path not in self._known:
            sweep = load_sweep(self.root / "sweeps" / f"{path.stem}.yaml")
            self._known[path] = sweep, in_order_of_groups(read_lines(path), sweep)
        return self._known[path]


def build_verification(*, rewrite: bool = False) -> Output:
    """Compare README, docs and results/ with the Records and Outputs in results/. Raises InputError where they differ."""
    checked = verify(rewrite=rewrite)
    if checked.faults:
        raise InputError(*checked.faults)
    words = f"{checked.tables} tables and {checked.numbers} numbers are what Records and Outputs in results/ say"
    return Output(text="\n".join([words, *(f"note: {note}" for note in checked.notes)]))


def verify(root: Path = ROOT, *, rewrite: bool = False) -> Checked:
    """Compare all; with `rewrite` tables that differ are written anew, Records never."""
    results = Results(root)
    pages = [root / "README.md", *sorted(path for path in (root / "docs").glob("*.md") if path.name != FIDELITY)]
    checked = [_files(path, results, rewrite) for path in results.files("jsonl")]
    for path in pages:  # before any is written
        _require_readable(path)
    checked += [_blocks(path, results, rewrite) for path in pages]
    checked += [_benchmarks(path, results, rewrite) for path in pages]
    checked += [_sentences(path, results) for path in pages]
    checked += [_traces(results, rewrite), _fidelity(results, rewrite)]
    checked += [check_archive(path) for path in results.files("zip")]
    return Checked(
        sum(part.tables for part in checked),
        sum(part.numbers for part in checked),
        [fault for part in checked for fault in part.faults],
        [note for path in results.files("jsonl") for note in _notes(path, results)],
    )


def _notes(path: Path, results: Results) -> list[str]:
    """What a file of Records cannot vouch for: rows that no Outputs stand behind, or that today's sweep would make anew."""
    records, cells = results.records(path), results.sweep(path).cells
    earlier = sum(key not in cells for key in records["key"])
    notes = (
        [f"{earlier} of {len(records)} Records of {path.name} are of earlier revisions of the code"] if earlier else []
    )
    return notes if path.with_suffix(".zip").is_file() else [*notes, f"no Outputs stand behind {path.name}"]


# -- tables in results/ ----------------------------------------------------------------------------------------------------


def _files(path: Path, results: Results, rewrite: bool) -> Checked:
    """compare-NAME.md, .tex and .csv beside NAME.jsonl."""
    name = f"compare-{path.stem}"
    found = results.tables(path, metric_columns(results.sweep(path).file.metrics))
    pages = [document(table, MARKDOWN_WIDTH) for table in found]
    texts = {"md": markdown(pages, path.stem), "tex": latex(pages, path.stem), "csv": table_csv(found, path.stem)}
    files = {path.with_name(f"{name}.{ending}"): text for ending, text in texts.items()}
    faults = [fault for file, text in files.items() for fault in _differs(file, text, rewrite)]
    return Checked(len(files), texts["csv"].count("\n") - 1, faults)


def _differs(path: Path, text: str, rewrite: bool) -> list[str]:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return []
    if rewrite:
        write_whole(path, text)
        return []
    return [f"{path.parent.name}/{path.name}: {'differs from' if path.is_file() else 'is missing beside'} its Records"]


# -- marks -----------------------------------------------------------------------------------------------------------------


def _require_readable(path: Path) -> None:
    """Raises InputError for a mark that would be passed over: of another form, or without what it is about."""
    text = path.read_text(encoding="utf-8")
    read = {match.start() for pattern in (BLOCK, MEASURED, SAYS, COUNTS) for match in pattern.finditer(text)}
    for mark in _MARK.finditer(text):
        if mark.start() not in read:
            words = " ".join(mark[0].split())
            raise InputError(f"{path.name}: mark {words!r} cannot be read; expected {_FORMS[mark['kind']]}")


# -- tables in pages -------------------------------------------------------------------------------------------------------


def _blocks(path: Path, results: Results, rewrite: bool) -> Checked:
    text = path.read_text(encoding="utf-8")
    found = [(match, _block(match, results)) for match in BLOCK.finditer(text)]
    stale = [match for match, body in found if match["body"] != body]
    if rewrite and stale:
        bodies = iter(body for _, body in found)
        write_whole(path, BLOCK.sub(lambda match: f"{match[1]}{next(bodies)}{match[6]}", text))
        stale = []
    faults = [f"{path.name}: the table {match[1].strip()} differs from its Records" for match in stale]
    unmarked = _unmarked(MEASURED.sub("", BLOCK.sub("", text)))
    faults += [
        f"{path.name}: a table with intervals is not marked with what it is made from: {line}" for line in unmarked
    ]
    return Checked(len(found), sum(body.count(" ± ") for _, body in found), faults)


def _unmarked(text: str) -> Iterator[str]:
    """The head line of each table that holds an interval and stands between no marks."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        if " ± " in table:
            yield table.splitlines()[0]


def _block(match: re.Match[str], results: Results) -> str:
    columns = [metric_format(name.strip()) for name in match["columns"].split(",")]
    known = results.tables(results.root / match["file"], columns)
    chosen = meant(known, match["where"])
    if len(chosen) != 1:
        groups = "; ".join(", ".join(f"{name} {table.group[name]}" for name in TOLD_BY) for table in known)
        raise InputError(f"{match[1].strip()}: {len(chosen)} tables are meant, one must be; there are: {groups}")
    return grid(blocks(chosen[0], WIDE)[0]) + "\n"


def _benchmarks(path: Path, results: Results, rewrite: bool) -> Checked:
    """Tables of benchmarks' numbers, from results/NAME.csv."""
    text = path.read_text(encoding="utf-8")
    found = list(MEASURED.finditer(text))
    faults = []
    for match in found:
        if match["file"] not in BENCHMARKS:
            raise InputError(f"{path.name}: {unknown_name('benchmark', match['file'], BENCHMARKS)}")
        body = BENCHMARKS[match["file"]](pd.read_csv(results.root / "results" / match["file"]))
        if body != match["body"] and rewrite:
            write_whole(path, path.read_text(encoding="utf-8").replace(match[0], f"{match[1]}{body}{match[4]}"))
        elif body != match["body"]:
            faults.append(f"{path.name}: the table of {match['file']} differs from it")
    return Checked(len(found), sum(len(re.findall(r"\d+(?:\.\d+)?", match["body"])) for match in found), faults)


def _sentences(path: Path, results: Results) -> Checked:
    """Numbers in marked paragraphs, against Records and benchmarks. A sentence is never written anew."""
    text = path.read_text(encoding="utf-8")
    found, counted = list(SAYS.finditer(text)), list(COUNTS.finditer(text))

    def make(file: Path, names: Sequence[str]) -> list[Table]:
        return results.tables(file, list(map(metric_format, dict.fromkeys(names))))

    faults = [
        f"{path.name}: {fault}"
        for match in found
        for fault in sentence_faults(match, results.records, make, results.root)
    ]
    for match in counted:
        measured = pd.read_csv(results.root / match["file"])
        faults += [f"{path.name}: {fault}" for fault in benchmark_faults(match, measured)]
    return Checked(0, sum(map(count_of, [*found, *counted])), faults)


def _traces(results: Results, rewrite: bool) -> Checked:
    """traces.md, .tex and .csv beside the Records of SCRUB epoch by epoch, if there are any."""
    parts = [results.records(path) for path in results.files("jsonl") if path.stem in TRACES]
    found = [trace for records in parts for trace in traces(records, shown_seed(records))]
    if not found:
        return Checked(0, 0, [])
    path = results.root / "results" / "traces"
    pages = list(map(trace_page, found))
    texts = {"md": markdown(pages, "traces"), "tex": latex(pages, "traces"), "csv": trace_numbers(found)}
    faults = [fault for end, text in texts.items() for fault in _differs(path.with_suffix(f".{end}"), text, rewrite)]
    return Checked(len(texts), texts["csv"].count("\n") - 1, faults)


def _fidelity(results: Results, rewrite: bool) -> Checked:
    """docs/fidelity.md as the Records say it."""
    columns = list(map(metric_format, scored_columns()))
    whole = [path for path in results.files("jsonl") if path.stem not in TRACES]  # a SCRUB cut short is nobody's SCRUB
    found = {path.stem: results.tables(path, columns) for path in whole}
    claimed = [claim for path in results.files("jsonl") if path.stem in CLAIMED for claim in _claims(path, results)]
    sweeps = [load_sweep(results.root / "sweeps" / f"{name}.yaml") for name in NOTEBOOKS]
    text = fidelity_text(found, claimed, {table: recipe_lines(table, sweeps) for table in ("6", "7")})
    return Checked(1, text.count(" ± "), _differs(results.root / "docs" / FIDELITY, text, rewrite))


def _claims(path: Path, results: Results) -> list[tuple[Table, Claim]]:
    sweep, records = results.sweep(path), results.records(path)
    found = claim_tables(
        records, lambda own, name: tables(own, [metric_format(name)], sweep.file.methods, sweep.file.primary_label)
    )
    return [(table, claim) for table in found for claim in claims(table)]
