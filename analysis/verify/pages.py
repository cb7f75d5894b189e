"""README, docs and results/ against the Records: tables built again from Records, and Records again from Outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.records.load import in_order_of_groups, load_sweep, read_lines
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_columns, metric_format
from adaprob_ray.reporting.records.selection import shown_seed
from adaprob_ray.reporting.tables.compare import comparison_name
from adaprob_ray.reporting.tables.format import table_blocks, table_document
from adaprob_ray.reporting.tables.model import RETRAIN, Table, tables
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.reporting.tables.render import MARKDOWN_WIDTH, document_files, markdown_table, table_csv, write_whole
from adaprob_ray.sweep.sweep import Sweep
from analysis.paper.claims import claims_by_table
from analysis.paper.equivalence import PREFIX, equivalence_columns, equivalence_pages
from analysis.paper.scrub_traces import trace_numbers, trace_page, traces
from analysis.paper.training_recipes import recipe_lines
from analysis.registry import CLAIMED, NOTEBOOKS, ROOT
from analysis.verify.archives import check_archive
from analysis.verify.fidelity_page import fidelity_text, scored_columns
from analysis.verify.fidelity_readings import PAPER_TABLES, measured_judgements, readings_csv
from analysis.verify.marks import LABELS, SELECTORS, CheckResult, Mark, parse_marks, with_bodies
from analysis.verify.sentences import BENCHMARKS, benchmark_faults, matching_tables, sentence_faults

FIDELITY, READINGS = "fidelity.md", "fidelity.csv"
TRACES = ("scrub_traces", "scrub_traces_bfloat16")
UNLIMITED_WIDTH = 10_000  # characters: a page's table is one block


class Results:
    """The files of results/ with the sweep files that they are Records of, each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._cache: dict[Path, tuple[Sweep, pd.DataFrame]] = {}

    def files(self, ending: str) -> list[Path]:
        return sorted((self.root / "results").glob(f"*.{ending}"))

    def sweep(self, path: Path) -> Sweep:
        return self._read(path)[0]

    def records(self, path: Path) -> pd.DataFrame:
        return self._read(path)[1]

    def tables(self, path: Path, columns: Sequence[MetricFormat], against: str = RETRAIN) -> list[Table]:
        """The tables of the Records in results/NAME.jsonl, in the order of sweeps/NAME.yaml."""
        sweep, records = self._read(path)
        return tables(records, columns, sweep.file.methods, sweep.file.primary_label, against)

    def compared_labels(self, path: Path) -> list[str]:
        """The labels of which there is a compare-NAME-against-LABEL.csv."""
        prefix = comparison_name(path.stem, against="")
        return [file.stem.removeprefix(prefix) for file in self.files("csv") if file.stem.startswith(prefix)]

    def _read(self, path: Path) -> tuple[Sweep, pd.DataFrame]:
        if path not in self._cache:
            sweep = load_sweep(self.root / "sweeps" / f"{path.stem}.yaml")
            self._cache[path] = sweep, in_order_of_groups(read_lines(path), sweep)
        return self._cache[path]


def build_verification(*, rewrite: bool = False) -> Output:
    """Compare README, docs and results/ with the Records and Outputs in results/. Raises InputError where they differ."""
    result = verify(rewrite=rewrite)
    if result.faults:
        raise InputError(*result.faults)
    words = f"{result.tables} tables and {result.numbers} numbers agree with the Records and Outputs in results/"
    return Output(text="\n".join([words, *(f"note: {note}" for note in result.notes)]))


def verify(root: Path = ROOT, *, rewrite: bool = False) -> CheckResult:
    """Compare all; with `rewrite`, tables that differ are rewritten, Records never."""
    results = Results(root)
    pages = [root / "README.md", *sorted(path for path in (root / "docs").glob("*.md") if path.name != FIDELITY)]
    pages += (root / "analysis" / "verify").glob("*.md")  # the conclusions of FIDELITY
    checked = [
        _files(path, results, rewrite, against)
        for path in results.files("jsonl")
        for against in (RETRAIN, *results.compared_labels(path))
    ]
    checked += [_equivalence(path, results, rewrite) for path in results.files("jsonl")]
    marks = {path: parse_marks(path.read_text(encoding="utf-8"), path.name) for path in pages}  # before any is written
    checked += [_tables_in(path, page_marks, results, rewrite) for path, page_marks in marks.items()]
    checked += [_sentences_in(path, page_marks, results) for path, page_marks in marks.items()]
    checked += [_traces(results, rewrite), _fidelity(results, rewrite)]
    checked += [check_archive(path) for path in results.files("zip")]
    return CheckResult(
        sum(result.tables for result in checked),
        sum(result.numbers for result in checked),
        [fault for result in checked for fault in result.faults],
        [
            *(note for path in results.files("jsonl") for note in _notes(path, results)),
            *(note for result in checked for note in result.notes),
        ],
    )


def _notes(path: Path, results: Results) -> list[str]:
    """What cannot be verified of a file of Records: rows without Outputs, and rows that the current sweep would recompute."""
    records, cells = results.records(path), results.sweep(path).cells
    earlier = sum(key not in cells for key in records["key"])
    notes = [f"{earlier} of {len(records)} Records of {path.name} are of earlier revisions of the code"] * bool(earlier)
    return notes + [f"{path.name} has no archive of Outputs"] * (not path.with_suffix(".zip").is_file())


# -- tables in results/ ----------------------------------------------------------------------------------------------------


def _files(path: Path, results: Results, rewrite: bool, against: str) -> CheckResult:
    """compare-NAME.md, .tex and .csv of NAME.jsonl, or compare-NAME-against-LABEL.*."""
    file_tables = results.tables(path, metric_columns(results.sweep(path).file.metrics), against)
    pages, numbers = [table_document(table, MARKDOWN_WIDTH) for table in file_tables], table_csv(file_tables, path.stem)
    return _compare(document_files(pages, numbers, path.with_name(comparison_name(path.stem, against))), rewrite)


def _equivalence(path: Path, results: Results, rewrite: bool) -> CheckResult:
    """equivalence-NAME.md, .tex and .csv of NAME.jsonl, if there are such files."""
    output = path.with_name(PREFIX + path.stem)
    if not output.with_name(f"{output.name}.csv").is_file():
        return CheckResult()
    return _compare(document_files(*equivalence_pages(results.tables(path, equivalence_columns())), output), rewrite)


def _compare(files: Mapping[Path, str], rewrite: bool) -> CheckResult:
    """Files with what they should hold; the numbers are the lines of those that are CSV."""
    faults = []
    for path, text in files.items():
        is_file = path.is_file()
        if is_file and path.read_text(encoding="utf-8") == text:
            continue
        if rewrite:
            write_whole(path, text)
        else:
            faults.append(f"{path.parent.name}/{path.name}: {'differs from its Records' if is_file else 'is missing'}")
    numbers = sum(text.count("\n") - 1 for path, text in files.items() if path.suffix == ".csv")
    return CheckResult(len(files), numbers, faults)


# -- pages -----------------------------------------------------------------------------------------------------------------


def _tables_in(path: Path, marks: Sequence[Mark], results: Results, rewrite: bool) -> CheckResult:
    """Marked tables, and tables that should be marked."""
    text, numbers = path.read_text(encoding="utf-8"), 0
    marks = [mark for mark in marks if mark.kind == "from"]
    faults, bodies = [], {}
    for mark in marks:
        if mark.is_of_records:
            body, name = _table(mark, results), f"{mark.head} differs from its Records"
            numbers += body.count("±")
        else:
            body, name = _benchmark_table(mark, path, results), f"of {Path(mark.file).name} differs from it"
            numbers += len(re.findall(r"\d+(?:\.\d+)?", mark.body))
        if body != mark.body:
            bodies[mark.span] = body
            faults.append(f"{path.name}: the table {name}")
    if rewrite and bodies:
        write_whole(path, with_bodies(text, bodies))
        faults = []
    unmarked = with_bodies(text, {mark.span: "" for mark in marks})
    faults += [
        f"{path.name}: a table with intervals has no mark that names its source: {table.splitlines()[0]}"
        for table in re.findall(r"(?:^\|.*\n)+", unmarked, re.M)
        if re.search(r"\s±\s", table)
    ]
    return CheckResult(len(marks), numbers, faults)


def _table(mark: Mark, results: Results) -> str:
    """The table of Records that a mark selects."""
    file_tables = results.tables(results.root / mark.file, list(map(metric_format, mark.content)))
    where = dict(mark.where)
    labels = where.pop(LABELS, None)
    chosen = matching_tables(file_tables, where)
    if len(chosen) != 1:
        groups = "; ".join(", ".join(f"{name} {table.group[name]}" for name in SELECTORS) for table in file_tables)
        raise InputError(f"{mark.head}: must select one table, got {len(chosen)} (known: {groups})")
    table = chosen[0] if labels is None else with_labels(chosen[0], labels.split("+"))
    text = markdown_table(table_blocks(table, UNLIMITED_WIDTH)[0]) + "\n"
    # No-break spaces keep a number and its interval on one line however narrow the page is.
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}").replace(" (", "\N{NO-BREAK SPACE}(")


def with_labels(table: Table, labels: Sequence[str]) -> Table:
    """The table with these of its rows, and those that are no models, such as the noise floor. Raises InputError."""
    known = [row.name for row in table.rows if row.method]
    if faults := [unknown_name("label", label, known) for label in labels if label not in known]:
        raise InputError(*faults)
    return replace(table, rows=[row for row in table.rows if row.name in labels or not row.method])


def _benchmark_table(mark: Mark, path: Path, results: Results) -> str:
    name = Path(mark.file).name
    if name not in BENCHMARKS:
        raise InputError(f"{path.name}: {unknown_name('benchmark', name, BENCHMARKS)}")
    return BENCHMARKS[name](pd.read_csv(results.root / mark.file))


def _sentences_in(path: Path, marks: Sequence[Mark], results: Results) -> CheckResult:
    """Numbers in marked paragraphs, against Records and benchmarks. A sentence is never rewritten."""
    marks = [mark for mark in marks if mark.kind == "says"]

    def make(file: Path, names: Sequence[str]) -> list[Table]:
        return results.tables(file, list(map(metric_format, dict.fromkeys(names))))

    faults: list[str] = []
    for mark in marks:
        if mark.is_of_records:
            faults += sentence_faults(mark, results.records, make, results.root)
        else:
            faults += benchmark_faults(mark, pd.read_csv(results.root / mark.file))
    return CheckResult(0, sum(len(mark.content) for mark in marks), [f"{path.name}: {fault}" for fault in faults])


def _traces(results: Results, rewrite: bool) -> CheckResult:
    """traces.md, .tex and .csv of the Records of SCRUB epoch by epoch, if there are any."""
    frames = [results.records(path) for path in results.files("jsonl") if path.stem in TRACES]
    scrub_traces = [trace for records in frames for trace in traces(records, shown_seed(records))]
    pages, path = list(map(trace_page, scrub_traces)), results.root / "results" / "traces"
    return _compare(document_files(pages, trace_numbers(scrub_traces), path) if pages else {}, rewrite)


def _fidelity(results: Results, rewrite: bool) -> CheckResult:
    """docs/fidelity.md and .csv against the Records."""
    columns = list(map(metric_format, scored_columns()))
    # Runs of SCRUB with fewer epochs are not the paper's SCRUB.
    complete = [path for path in results.files("jsonl") if path.stem not in TRACES]
    tables_by_source = {path.stem: results.tables(path, columns) for path in complete}
    judged = {name: measured_judgements(name, tables_by_source) for name in PAPER_TABLES}
    claimed = []
    for path in (path for path in complete if path.stem in CLAIMED):
        file = results.sweep(path).file
        claimed += claims_by_table(results.records(path), file.methods, file.primary_label)
    sweeps = [load_sweep(results.root / "sweeps" / f"{name}.yaml") for name in NOTEBOOKS]
    page = fidelity_text(judged, claimed, {table: recipe_lines(table, sweeps) for table in ("6", "7")})
    docs = results.root / "docs"
    return _compare({docs / FIDELITY: page, docs / READINGS: readings_csv(judged)}, rewrite)
