"""The lines of a status report, for a terminal of a given width or, with full names, for a file."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from adaprob_ray.runtime.status_report import DeviceStatus, FailedCell, RunningCell, StatusReport
    from adaprob_ray.sweep.plan import State

# Names that people read; a cell that another process runs is "leased" in the plan.
COLUMNS: Mapping[State, str] = {
    "done": "done",
    "leased": "running",
    "ready": "ready",
    "waiting": "waiting",
    "failed": "failed",
    "blocked": "blocked",
}
STYLES: Mapping[State, str] = {"done": "green", "leased": "cyan", "failed": "bold red", "blocked": "red"}
FAILED: Sequence[State] = ("failed", "blocked")
# Rows of the lists, so that all fits on a screen; --json lists everything.
MAX_MESSAGES, MAX_DEVICES, MAX_RUNNING = 3, 12, 8
MESSAGE_ROWS = 2
HOST_WIDTH = 20
# Heartbeats come every 5 s. A device that is silent for this long is worth a remark: clocks of two hosts may differ a bit.
SILENT_SECONDS = 60.0


def status_lines(
    report: StatusReport,
    *,
    headline: str,
    remarks: Sequence[str],
    skipped: Sequence[str],
    width: int | None,
    compact: bool = False,
    curves: str | None = None,
) -> list[Text]:
    """The report.

    Args:
        report: What to show.
        headline: The first line.
        remarks: Lines that follow the summary. They are folded, not shortened: a command must stay whole.
        skipped: Labels that their methods decline.
        width: Columns of the terminal. None shortens nothing.
        compact: One line for each class of failures, and no list of the cells that run: for a terminal of few rows.
        curves: The command that shows curves, folded too; None for none.

    Returns:
        One Text per line.
    """
    from rich.text import Text

    lines = [Text(headline, style="bold"), Text(_summary(report))]
    remark_rows = [row for remark in remarks for row in _fold(remark, width, rows=None)]
    lines += [Text(row, style="yellow") for row in remark_rows]
    lines += [Text(), *_stages(report)]
    failed = [cell for cell in report.failures if cell.state == "failed"]
    for title, rows in (
        ("failures", _failures(failed, width, compact=compact)),
        (f"nodes: {len({device.host for device in report.devices})}", _devices(report.devices, width)),
        ("running", () if compact else _running(report.running, width)),
    ):
        body = [Text(row) for row in rows]
        lines += [Text(), Text(title, style="bold"), *body] if body else []
    lines += [Text(f"skipped: {line}") for line in skipped]
    lines += [Text(row) for row in (_fold(f"tensorboard: {curves}", width, rows=None) if curves else ())]
    if width is not None:
        for line in lines:
            line.truncate(width, overflow="ellipsis")
    return lines


def duration(seconds: float) -> str:
    """About how long, in one unit.

    >>> [duration(seconds) for seconds in (3.2, 100, 7000, 200_000)]
    ['3 s', '2 min', '1.9 h', '2.3 days']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36 * 3600 else f"{seconds / 86400:.1f} days"


def shorten(text: str, width: int | None) -> str:
    """`text` without its middle, if it is longer than `width`: the ends of titles and host names tell them apart.

    >>> shorten("unlearn-scrub-cifar10-s1-0a1b2c3d", 20)
    'unlearn-s…1-0a1b2c3d'
    """
    if width is None or len(text) <= width:
        return text
    head = max((width - 1) // 2, 1)
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def plural(count: int, name: str) -> str:
    """
    >>> plural(1, "cell"), plural(2, "cell")
    ('1 cell', '2 cells')
    """
    return f"{count} {name}{'' if count == 1 else 's'}"


def device_name(gpu: float | None, gpu_id: str) -> str:
    """The device of a cell: a card, the processor, or unknown in the leases of earlier versions."""
    if gpu_id:
        return f"gpu {shorten(gpu_id, 8)}"
    return "unknown" if gpu is None else "cpu"


def _summary(report: StatusReport) -> str:
    items = [f"{100 * report.count('done') // max(report.count(), 1)} % done"]
    if report.running:
        left = report.seconds_left
        items.append("time left not known yet" if left is None else f"about {duration(left)} left")
    if report.cells_per_minute is not None:
        items.append(f"{report.cells_per_minute:.3g} cells/min")
    items.append(f"{len(report.running)} running")
    items += [f"{n} {state}" for state in FAILED if (n := report.count(state))]
    return ", ".join(items)


def _stages(report: StatusReport) -> Iterator[Text]:
    from rich.text import Text

    yield Text(f"{'stage':<10}{'cells':>8}" + "".join(f"{name:>9}" for name in COLUMNS.values()), style="dim")
    for stage, counts in report.stages.items():
        row = Text(f"{stage:<10}{sum(counts.values()):>8}")
        for state in COLUMNS:
            row.append(f"{counts[state] or '-':>9}", style=STYLES.get(state, "") if counts[state] else "dim")
        yield row


def _failures(failed: Sequence[FailedCell], width: int | None, *, compact: bool) -> Iterator[str]:
    """By class the number of cells and the latest messages, each with the latest cell that has it."""
    classes: dict[str, dict[str, list[FailedCell]]] = defaultdict(lambda: defaultdict(list))
    for cell in failed:
        classes[cell.failure.failure_class][cell.failure.reason].append(cell)
    for failure_class, messages in classes.items():
        heading = f"  {failure_class}: {plural(sum(map(len, messages.values())), 'cell')}"
        if compact:
            yield f"{heading}: {next(iter(messages))}"
            continue
        yield heading
        for message, cells in list(messages.items())[:MAX_MESSAGES]:
            yield from (f"    {row}" for row in _fold(message, width and width - 4, rows=MESSAGE_ROWS))
            more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
            yield f"      {shorten(cells[0].title, width and width - 6 - len(more))}{more}"
        if len(messages) > MAX_MESSAGES:
            yield f"    and {plural(len(messages) - MAX_MESSAGES, 'other message')}; --json lists them"


def _fold(text: str, width: int | None, *, rows: int | None) -> list[str]:
    """`text` in rows of `width` columns, cut off after so many rows."""
    if width is None:
        return [text]
    return textwrap.wrap(text, width, max_lines=rows, placeholder="…", break_on_hyphens=False)


def _devices(devices: Sequence[DeviceStatus], width: int | None) -> Iterator[str]:
    """A row for each device: its cells, how much of the card they were granted, and the largest peak of one cell."""
    from rich.filesize import decimal

    hosts = [shorten(device.host, width and HOST_WIDTH) for device in devices]
    names = [device_name(device.gpus_granted, device.gpu_id) for device in devices]
    host_width, name_width = max(map(len, ["node", *hosts])), max(map(len, ["device", *names]))
    if devices:
        yield f"  {'node':<{host_width}}  {'device':<{name_width}}{'cells':>7}{'granted':>9}{'peak/cell':>11}"
    for host, name, device in list(zip(hosts, names, devices, strict=True))[:MAX_DEVICES]:
        granted = f"{100 * device.gpus_granted:.0f} %" if device.gpu_id else "-"
        peak = "-" if device.peak_bytes is None else decimal(device.peak_bytes)
        silent = f"  silent {duration(device.silent_seconds)}" if device.silent_seconds > SILENT_SECONDS else ""
        yield f"  {host:<{host_width}}  {name:<{name_width}}{device.cells:>7}{granted:>9}{peak:>11}{silent}"
    if len(devices) > MAX_DEVICES:
        rest = devices[MAX_DEVICES:]
        cells = plural(sum(device.cells for device in rest), "cell")
        yield f"  and {plural(len(rest), 'device')} more with {cells}; --json lists them"


def _running(running: Sequence[RunningCell], width: int | None) -> Iterator[str]:
    for cell in running[:MAX_RUNNING]:
        place = f"{shorten(cell.host, width and HOST_WIDTH)} {device_name(cell.gpu, cell.gpu_id)}"
        title_width = width and width - 4 - len(place)
        yield f"  {shorten(cell.title, title_width):<{title_width or 0}}  {place}"
    if len(running) > MAX_RUNNING:
        yield f"  and {len(running) - MAX_RUNNING} more"
