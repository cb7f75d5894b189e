"""Where the numbers of a table come from, in words; several values are marked as MIXED."""

from __future__ import annotations

from typing import Any

import pandas as pd

COMMIT_DIGITS = 7
# A column of Records, for one value and for several.
_NAMES = {
    "precision": ("precision", "precisions"),
    "device": ("device", "devices"),
    "threads": ("threads per cell", "thread counts per cell"),
    "commit": ("commit", "commits"),
}
_FACTS = {  # words of a report: column
    "data sets": "dataset", "architectures": "architecture", "forget requests": "forget", "labels": "label",
    "precision": "precision", "hardware": "device", "hosts": "host", "PyTorch": "torch_version", "Python": "python_version",
}  # fmt: skip


def provenance(records: pd.DataFrame) -> list[str]:
    """What a caption says: precision, devices, threads and commits on one line, and whether times may be compared."""
    facts = []
    for column, (one, several) in _NAMES.items():
        values = _values(records, column) or ["unknown"]
        facts.append(f"MIXED {several}: {', '.join(values)}" if len(values) > 1 else f"{one} {values[0]}")
    alone = _count_true(records, "exclusive")
    times = f"NOT comparable: {alone} of {len(records)} models ran with no other cell at the same time"
    if alone == len(records):
        times = "exclusive: no other cell of the run ran at the same time"
    return ["; ".join(facts), f"times are {times}"]


def _values(records: pd.DataFrame, column: str) -> list[str]:
    """The different values of a column as text, none if the Records lack it."""
    if column not in records:
        return []
    if column == "commit":
        return list(dict.fromkeys(commit_words(row) for _, row in records.iterrows()))
    return unique_strings(records[column])


def _count_true(records: pd.DataFrame, name: str) -> int:
    return int(records[name].eq(True).sum()) if name in records else 0  # the column may hold None


def figure_notes(records: pd.DataFrame) -> list[str]:
    """The notes below a figure: the seeds, then precision, device, threads and commit."""
    seeds = sorted({int(seed) for seed in records["seed"]})
    noun = "seed" if len(seeds) == 1 else "seeds"
    return [f"n = {len(seeds)} {noun} ({', '.join(map(str, seeds))})", provenance(records)[0]]


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
    facts = [(words, _values(records, name)) for words, name in _FACTS.items()]
    seeds = [str(seed) for seed in sorted(set(records["seed"]))] if "seed" in records else []
    facts += [("seeds", seeds), ("commits", _values(records, "commit"))]
    return [(words, values) for words, values in facts if values]


def summary_warnings(records: pd.DataFrame) -> list[str]:
    """One sentence for each property that is mixed, dirty or not comparable."""
    if records.empty:
        return []
    total = len(records)
    names = {"precision": "precision", "hardware": "device", "threads per cell": "threads", "commits": "commit"}
    names |= {name.replace("_", " "): name for name in map(str, records) if name.endswith("_version")}
    all_values = {words: _values(records, name) for words, name in names.items()}
    warnings = [f"Mixed {words}: {', '.join(values)}" for words, values in all_values.items() if len(values) > 1]
    counts = {
        "were made from a checkout with uncommitted changes": _count_true(records, "run_dirty"),
        "ran concurrently with other cells: their times are not comparable": total - _count_true(records, "exclusive"),
    }
    return warnings + [f"{count:,} of {total:,} Records {words}" for words, count in counts.items() if count]
