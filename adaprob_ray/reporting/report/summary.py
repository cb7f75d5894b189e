"""The head of a report: which values occur among all its Records, and what of it is mixed, dirty or not comparable."""

from __future__ import annotations

import pandas as pd

from adaprob_ray.reporting.records.provenance import Provenance, provenance, unique_strings


def facts(records: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """What there is, and the values of it that occur, in their order; seeds in theirs."""
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
    known = [(words, unique_strings(records[name])) for words, name in names.items() if name in records]
    seeds = [str(seed) for seed in sorted(set(records["seed"]))] if "seed" in records else []
    commits = provenance(records).commits
    return [(words, values) for words, values in [*known, ("seeds", seeds), ("commits", commits)] if values]


def warnings(records: pd.DataFrame) -> list[str]:
    """What is mixed, dirty or not comparable, a sentence each."""
    if records.empty:
        return []
    known, total = provenance(records), len(records)
    dirty = int((records["run_dirty"] == True).sum()) if "run_dirty" in records else 0  # noqa: E712  (may hold None)
    found = _mixed(known, records)
    if dirty:
        found.append(f"{dirty:,} of {total:,} Records were made from a checkout with uncommitted changes")
    if beside := total - known.exclusive:
        found.append(f"{beside:,} of {total:,} Records were made beside other cells: their times are not comparable")
    return found


def _mixed(known: Provenance, records: pd.DataFrame) -> list[str]:
    versions = [name for name in map(str, records) if name.endswith("_version")]
    candidates = {
        "precision": known.precisions,
        "hardware": known.devices,
        "threads per cell": known.threads,
        "commits": known.commits,
        **{name.replace("_", " "): unique_strings(records[name]) for name in versions},
    }
    return [f"Mixed {words}: {', '.join(values)}" for words, values in candidates.items() if len(values) > 1]
