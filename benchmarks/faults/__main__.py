"""The fault table: 15 faults, each injected for real into a running sweep, three times. About 30 minutes on two cores.

    python -m benchmarks.faults [--only FAULT …] [--repetitions 3] [--out FOLDER]

Faults that need root, namespaces or a C compiler are skipped where these are missing. What was measured on this commit is
not measured again: after an interruption give the same command. Writes docs/faults.md, unless --only is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import run_command
from benchmarks.faults.experiment import Result
from benchmarks.faults.injections import FAULTS
from benchmarks.faults.page import commit_hash, provenance, table, write_page
from benchmarks.faults.scenario import run_in_namespaces
from benchmarks.faults.sweep import undisturbed_records

SEEDS = 3
TIMEOUT_SECONDS = 400.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAULTS, metavar="FAULT", help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=Path("out/faults"), help="folder of the results (default: out/faults)"
    )
    options = parser.parse_args()
    commit, names = commit_hash(), options.only or list(FAULTS)
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out.absolute() / "results.jsonl"
    undisturbed = options.out.absolute() / f"undisturbed-{commit}.json"
    if not undisturbed.exists():
        with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
            undisturbed.write_text(json.dumps(undisturbed_records(Path(scratch), seeds=SEEDS)), encoding="utf-8")
    skipped = {name: reason for name in names if (reason := FAULTS[name].missing())}
    results = _read(log, commit)
    known = {(result.fault, result.repetition) for result in results}
    for repetition in range(1, options.repetitions + 1):
        for name in names:
            if name in skipped or (name, repetition) in known:
                continue
            print(f"{name}, repetition {repetition} … ", end="", flush=True)
            folder = Path(tempfile.mkdtemp(prefix="faults-"))
            try:
                result = run_in_namespaces(
                    name,
                    folder=folder,
                    undisturbed=undisturbed,
                    repetition=repetition,
                    seeds=SEEDS,
                    timeout=TIMEOUT_SECONDS,
                )
            except RuntimeError as error:
                print(error)
                continue
            print(f"{result.seconds:.0f} s{'' if result.clean else f'; NOT CLEAN, see {folder}'}", flush=True)
            results.append(result)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"commit": commit, **asdict(result)}) + "\n")
            if result.clean:
                shutil.rmtree(folder, ignore_errors=True)
    results = [result for result in results if result.fault in names and result.repetition <= options.repetitions]
    print(f"\n{provenance(commit, results)}\n\n{table(results, skipped)}")
    if options.only is None:
        write_page(results, skipped, commit)
    complete = len(results) == options.repetitions * (len(names) - len(skipped))
    return 0 if complete and all(result.clean for result in results) else 1


def _read(log: Path, commit: str) -> list[Result]:
    """What was measured on this commit so far."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    documents = [json.loads(line) for line in lines]
    return [Result(**document) for document in documents if document.pop("commit") == commit]


if __name__ == "__main__":
    run_command(main)
