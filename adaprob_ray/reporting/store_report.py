"""`adaprob-ray report`: the HTML file of a store, with the searches whose files are named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from adaprob_ray.reporting.records.load import FILES, all_records
from adaprob_ray.reporting.records.selection import SelectedRecords, Selection
from adaprob_ray.reporting.report.build import write_report
from adaprob_ray.reporting.search.report_section import search_sections
from adaprob_ray.reporting.search.studies import load_searches
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.search.search_file import is_search_file
from adaprob_ray.store import Store
from adaprob_ray.store.studies import stored_studies


def build_report(
    location: str, paths: Iterable[str], out: Path, *, only: str | None = None, warnings: Sequence[str] = ()
) -> Output:
    """Write report.html to `out`. Missing Records are listed and raise no error.

    Args:
        location: A store, or a .jsonl or .zip file of Records.
        paths: Sweep files whose Records are shown, and search files whose trials are; without any, every Record is.
        out: A folder, created if absent.
        only: Conditions on cells of the sweep files.
        warnings: What a reader should know about the cells.
    """
    paths = list(paths)
    search_files = [path for path in paths if is_search_file(path)]
    sweep_files = [path for path in paths if path not in search_files]
    selection = Selection.load(location, sweep_files, only=only, partial=True)
    groups = load_searches(location, search_files) if search_files else []
    gathered = selection.gather() if paths else SelectedRecords(all_records(location), [])
    names = [*(sweep.name for sweep in selection.sweeps.values()), *(group.first.search.name for group in groups)]
    path = write_report(
        gathered.records,
        missing=[cell.title for cell in gathered.missing],
        title=", ".join(dict.fromkeys(names)) or Path(location).name,
        folder=out,
        primary_label=selection.primary_label,
        extra=search_sections(groups),
        notes=[*warnings, *([] if groups else _other_searches(location))],
    )
    return Output(paths=[path])


def _other_searches(location: str) -> list[str]:
    """A note that a store has searches, which only their files can show."""
    studies = [] if location.endswith(FILES) else stored_studies(Store.open(location, create=False))
    labels = ", ".join(dict.fromkeys(str(study["label"]) for study in studies))
    return [f"The store has studies of searches ({labels}); name their search files to show them"] if labels else []
