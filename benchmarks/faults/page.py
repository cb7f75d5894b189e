"""docs/faults.md: the results of all experiments as a table, with the commit and the versions that they were run on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence

from benchmarks.faults.experiment import ROOT, Result
from benchmarks.faults.injections import FAULTS, Fault

PAGE = ROOT / "docs" / "faults.md"

HEAD = """\
# Faults

What became of a running sweep when something broke. Every row is measured: `python -m benchmarks.faults` starts
`adaprob-ray run` on real cells (36 on scikit-learn's digits: train, unlearn, evaluate; 0.2 to 0.5 s each), injects the
fault while a cell is being executed, and repeats the command as its user would until the sweep is complete. This page is
written by that command; do not edit it.

{provenance}

{table}

The three columns after *runs* count over all runs of a fault, and must be 0:

* *executed again*: executions of a cell that already had a commit, except one whose artefact the fault itself damaged;
* *second commits*: commits of a cell beyond the one that counts;
* *wrong Records*: Records that are missing or differ from those of an undisturbed run in any column. Compared bit for bit,
  without the columns that may differ between two executions on one machine (times, host, commit and `run_*`).

*Work went on after* is the time from the fault to the next commit of any cell, *Hit cell after* the time to the commit of the
cell that was hit; smallest and largest of the runs. *Repeated* is how often the command had to be given again{interrupts}.
*Status* is what `adaprob-ray status` said in the first repetition, just after the fault and when everything had ended.

## What happens to each

{details}
"""

NOTES = {
    "worker": "The run continues: the cell is tried again in another worker process.",
    "raylet": "A second host of the cluster loses its raylet, and with it its workers. The head's workers continue, and the "
    "cell is tried again there. (Ray checks its nodes every 0.5 s in this cluster; by default it needs about 15 s to notice.)",
    "node": "All processes of the second host end at once; otherwise as before.",
    "driver": "Ray ends with its driver. The repeated command takes the cells over at once where it runs on the same host.",
    "head": "All processes of the head end, then both hosts start again. The driver ends, and the command is repeated. What "
    "ran on the other host is taken over after 30 s without a heartbeat.",
    "network": "Requests of one worker wait and are lost for 40 s while its cell runs on. A second run on the same store takes "
    "the silent worker's cell over. Afterwards both attempts try to commit: first the cut worker in repetition 1, first its "
    "successor in 2, both at once in 3. One of them succeeds.",
    "read-only": "The store is mounted read-only until the command has ended, then writable again.",
    "full": "The store is on a small tmpfs, filled except for five pages until the command has ended.",
    "truncated": "The weights of an original model lose their second half just before an unlearn cell reads them.",
    "flipped": "One bit of the weights of an original model is flipped just before an unlearn cell reads them.",
    "clock": "The wall clock of the worker that holds a lease is stepped (forward in repetitions 1 and 3, back in 2) by a "
    "preloaded library, while a second run watches the lease for 12 s.",
    "two-drivers": "The same command twice at the same time, each with a private Ray.",
    "poison": "The cell aborts its process each time: it is tried four times, then it has failed; its evaluation is blocked.",
    "nan": "A learning rate of 1e18. The cells fail as `diverged` and are not tried again; their evaluations are blocked.",
    "s3-503": "A proxy before the server refuses each fifth request from the start; seconds count from the first commit.",
}


def write_page(results: Sequence[Result], skipped: Mapping[str, str], commit: str) -> None:
    """Write docs/faults.md."""
    interrupts = sum(result.interrupts for result in results)
    text = HEAD.format(
        provenance=provenance(commit, results),
        table=table(results, skipped),
        details="\n".join(
            f"* **{fault.title}.** {NOTES[name]}{_details(fault, results)}" for name, fault in FAULTS.items()
        ),
        interrupts=f"; {interrupts} runs that did nothing more were interrupted by hand first" if interrupts else "",
    )
    PAGE.write_text(text, encoding="utf-8")


def table(results: Sequence[Result], skipped: Mapping[str, str]) -> str:
    """The results by fault, in Markdown."""
    columns: tuple[str, ...] = (
        "Fault",
        "Runs",
        "Executed again",
        "Second commits",
        "Wrong Records",
        "Work went on after (s)",
    )
    columns += ("Hit cell after (s)", "Repeated", "Status: just after → at the end")
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for name, fault in FAULTS.items():
        runs = sorted((result for result in results if result.fault == name), key=lambda result: result.repetition)
        if not runs:
            reason = skipped.get(name, "not run")
            lines.append(f"| {fault.title} | 0 | {' | '.join('–' * 6)} | {reason} |")
            continue
        row = [
            fault.title,
            str(len(runs)),
            str(sum(len(run.again) for run in runs)),
            str(sum(len(run.extra_commits) for run in runs)),
            str(sum(len(run.wrong_records) + len(run.not_done) for run in runs)),
            _span([run.resumed_after for run in runs]),
            _span([run.hit_cell_after for run in runs]),
            _counts([run.repeats for run in runs]),
            f"{runs[0].status} → {runs[0].status_at_end}",
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def provenance(commit: str, results: Sequence[Result]) -> str:
    """Commit, versions, machine and duration in one sentence."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ray", "torch", "obstore"))
    minutes = sum(result.seconds for result in results) / 60
    return (
        f"Commit {commit}; Python {platform.python_version()}, {versions}; Linux {platform.release()}, "
        f"{os.cpu_count()} cores. {len(results)} runs, {minutes:.0f} minutes."
    )


def commit_hash() -> str:
    """The commit of this checkout; with "-dirty" if files differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ".", ":!docs/faults.md"],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    return head[:12] + ("-dirty" if changed.stdout.strip() else "")


def _details(fault: Fault, results: Sequence[Result]) -> str:
    runs = [result for result in results if result.fault == fault.name]
    started = [cell for run in runs for cell in run.started_twice]
    text = ""
    if started:
        reason = fault.started_twice or "not explained by the fault"
        cells = ", ".join(sorted(set(started)))
        text = f" Started more than once ({reason}; how often in one run in parentheses): {cells}."
    notes = [run.note for run in runs if run.note]
    return text + (f" {'; '.join(notes)}." if notes else "")


def _span(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    low, high = f"{min(known):.1f}", f"{max(known):.1f}"
    return low if low == high else f"{low}–{high}"


def _counts(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}–{max(values)}"
