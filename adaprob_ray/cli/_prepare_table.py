"""What `data prepare` prints at its end: what was passed over and why, which images are copies, and one table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from adaprob_ray.data.copies import ImageCounts
from adaprob_ray.data.folder_files import PreparationReport, printable

# Files named for each reason, and pairs of copies; the table counts all.
MAX_FILES_SHOWN, MAX_COPIES_SHOWN = 5, 20
HEADER = ("data set", "read", "scaled", "passed over", "copies in training", "copies in test")


def folder_summary(name: str, report: PreparationReport) -> ImageCounts:
    """The row of an image folder."""
    return ImageCounts(
        name=name,
        read=report.read,
        scaled=report.scaled,
        passed_over=len(report.passed_over),
        copies=len(report.copies),
        test_copies=len(report.test_copies),
    )


def report_lines(name: str, report: PreparationReport, root: Path) -> Iterator[str]:
    """What was passed over, by reason, and each copy with the image that it is a copy of."""

    def short(path: Path) -> str:
        return printable(path.relative_to(root / name))

    by_reason = defaultdict[str, list[Path]](list)
    for path, reason in report.passed_over:
        by_reason[reason].append(path)
    for reason, paths in sorted(by_reason.items()):
        more = f" and {len(paths) - MAX_FILES_SHOWN} more" if len(paths) > MAX_FILES_SHOWN else ""
        shown = ", ".join(short(path) for path in sorted(paths)[:MAX_FILES_SHOWN])
        yield f"{name}: passed over ({printable(reason)}): {shown}{more}"
    for pairs, kind, of in (
        (report.copies, "training image", "forgotten together with"),
        (report.test_copies, "test image", "a copy of"),
    ):
        for path, original in pairs[:MAX_COPIES_SHOWN]:
            yield f"{name}: {short(path)}: {kind}, {of} {short(original)}"
        if len(pairs) > MAX_COPIES_SHOWN:
            yield f"{name}: {len(pairs) - MAX_COPIES_SHOWN} more {kind}s are copies"
    if report.test_count and len(report.test_copies) == report.test_count:
        yield f"{name}: all {report.test_count} test images are copies, so that `test_pool: clean` leaves few or none"


def scaled_line(name: str, report: PreparationReport) -> str:
    """What to do where all images have one size and were scaled to the default; empty where they have several."""
    if report.scaled < report.read or len(report.sizes) != 1:
        return ""
    width, height = next(iter(report.sizes))
    if width != height:
        return ""
    command = f"adaprob-ray data prepare {name} --size own"
    return f"{name}: all images are {width}×{height} pixels and were scaled; to keep their size: {command}"


def table_lines(summaries: Iterable[ImageCounts]) -> Iterator[str]:
    """The table; "-" where a data set is not read from image files by this command."""
    rows: list[tuple[str, ...]] = [HEADER]
    for counts in summaries:
        rows.append((counts.name, *("-" if cell is None else f"{cell:,}" for cell in counts[1:])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *cells in rows:
        numbers = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield f"{first:<{widths[0]}}  {numbers}"
