"""Where the numbers of a table come from, in words; several values are marked as MIXED."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

COMMIT_DIGITS = 7


@dataclass(frozen=True)
class Provenance:
    """All values that occur in the Records of a table, and of how many Records the model was timed alone."""

    precisions: list[str]
    devices: list[str]
    threads: list[str]
    commits: list[str]
    exclusive: int
    records: int

    def lines(self) -> list[str]:
        """What the caption says: precision, devices, threads, commits, and whether times may be compared."""
        facts = [
            ("precision", "precisions", self.precisions),
            ("device", "devices", self.devices),
            ("threads per cell", "thread counts per cell", self.threads),
            ("commit", "commits", self.commits),
        ]
        words = [
            f"MIXED {many}: {', '.join(values)}" if len(values) > 1 else f"{one} {(values or ['unknown'])[0]}"
            for one, many, values in facts
        ]
        alone = f"{self.exclusive} of {self.records} models ran with no other cell at the same time"
        is_exclusive = self.exclusive == self.records
        exclusive = "times are exclusive: no other cell of the run ran at the same time"
        return ["; ".join(words), exclusive if is_exclusive else f"times are NOT comparable: {alone}"]


def provenance(records: pd.DataFrame) -> Provenance:
    """The provenance of Records; columns that they lack are unknown."""

    def values(name: str) -> list[str]:
        return unique_strings(records[name]) if name in records else []

    commits = [commit_words(row) for _, row in records.iterrows()] if "commit" in records else []
    return Provenance(
        precisions=values("precision"),
        devices=values("device"),
        threads=values("threads"),
        commits=list(dict.fromkeys(commits)),
        exclusive=_count_true(records, "exclusive"),
        records=len(records),
    )


def _count_true(records: pd.DataFrame, name: str) -> int:
    return int(records[name].eq(True).sum()) if name in records else 0  # the column may hold None


def figure_notes(records: pd.DataFrame) -> list[str]:
    """The notes below a figure: the seeds, then precision, device, threads and commit."""
    seeds = sorted({int(seed) for seed in records["seed"]})
    noun = "seed" if len(seeds) == 1 else "seeds"
    return [f"n = {len(seeds)} {noun} ({', '.join(map(str, seeds))})", provenance(records).lines()[0]]


def commit_words(record: pd.Series[Any]) -> str:
    """A short commit; `+dirty` where the checkout held changes."""
    short = str(record.get("commit", "unknown"))[:COMMIT_DIGITS]
    return f"{short}+dirty" if record.get("run_dirty") is True else short


def unique_strings(column: pd.Series[Any]) -> list[str]:
    """The different values of a column as text, in their order. An empty entry counts as the value `none`."""
    return list(dict.fromkeys("none" if is_empty(value) else str(value) for value in column))


def is_empty(value: Any) -> bool:
    """Whether a column does not apply to a Record: None, or what pandas makes of it."""
    return value is None or (isinstance(value, float) and value != value)


# -- times -------------------------------------------------------------------------------------------------------------


def timed_alone(records: pd.DataFrame, warm_up: int | None) -> pd.DataFrame:
    """Records whose time was measured with no other cell running, without the warm-up seed."""
    is_timed = records["unlearn_seconds"].notna() & (records["seed"] != warm_up) & records["exclusive"].eq(True)
    return records[is_timed]


def mixed_hardware(records: pd.DataFrame) -> list[str]:
    """A fault for each of device, threads and precision that is not the same everywhere."""
    return [
        f"times: must be of one kind of hardware, got {name} {', '.join(values)}"
        for name in ("device", "threads", "precision")
        if len(values := unique_strings(records[name])) > 1
    ]


# -- all Records of a report -------------------------------------------------------------------------------------------


def summary_facts(records: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Each property of the Records with its values, in order of occurrence; seeds are sorted."""
    names = {
        "data sets": "dataset",
        "architectures": "architecture",
        "forget requests": "forget",
        "labels": "label",
        "precision": "precision",
        "hardware": "device",
        "hosts": "host",
        "PyTorch": "torch_version",
        "Python": "python_version",
    }
    facts = [(words, unique_strings(records[name])) for words, name in names.items() if name in records]
    seeds = [str(seed) for seed in sorted(set(records["seed"]))] if "seed" in records else []
    commits = provenance(records).commits
    return [(words, values) for words, values in [*facts, ("seeds", seeds), ("commits", commits)] if values]


def summary_warnings(records: pd.DataFrame) -> list[str]:
    """One sentence for each property that is mixed, dirty or not comparable."""
    if records.empty:
        return []
    origin, total = provenance(records), len(records)
    versions = [name for name in map(str, records) if name.endswith("_version")]
    candidates = {
        "precision": origin.precisions,
        "hardware": origin.devices,
        "threads per cell": origin.threads,
        "commits": origin.commits,
        **{name.replace("_", " "): unique_strings(records[name]) for name in versions},
    }
    warnings = [f"Mixed {words}: {', '.join(values)}" for words, values in candidates.items() if len(values) > 1]
    counts = {
        "were made from a checkout with uncommitted changes": _count_true(records, "run_dirty"),
        "ran concurrently with other cells: their times are not comparable": total - origin.exclusive,
    }
    return warnings + [f"{count:,} of {total:,} Records {words}" for words, count in counts.items() if count]
