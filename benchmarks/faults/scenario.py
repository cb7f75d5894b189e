"""One fault, once, in this process: python -m benchmarks.faults.scenario FAULT --folder F … For the table see __main__.py."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.faults.experiment import Experiment, Result, with_checkout, write_result
from benchmarks.faults.hosts import NAMESPACE
from benchmarks.faults.injections import FAULTS, has_namespaces, s3_for

# Bytes of the store that becomes full.
STORE_BYTES = 8_000_000


def run_in_namespaces(
    name: str,
    *,
    folder: Path,
    undisturbed: Path,
    repetition: int = 1,
    seeds: int,
    executor: str = "ray",
    timeout: float,
) -> Result:
    """Run one experiment in a process of its own, in namespaces of its own where this process may create them.

    Args:
        name: Of the fault.
        folder: An empty folder for everything; its path must be short, because Ray puts sockets there.
        undisturbed: The Records of a run that nothing disturbs, as JSON.
        repetition: From 1.
        seeds: Size of the sweep.
        executor: "ray" or "local".
        timeout: Seconds after which the experiment is given up.

    Returns:
        What it showed.

    Raises:
        RuntimeError: If it could not be carried out.
    """
    command = [sys.executable, "-m", "benchmarks.faults.scenario", name, "--folder", str(folder)]
    command += ["--undisturbed", str(undisturbed), "--repetition", str(repetition)]
    command += ["--seeds", str(seeds), "--executor", executor]
    prefix = [*NAMESPACE, "--net"] if has_namespaces() else []
    log = folder / "scenario.log"
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [*prefix, *command],
            env=with_checkout(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{name}: did not end within {timeout:.0f} s; see {folder}") from None
        finally:
            process.kill()
            process.wait()
    if code:
        raise RuntimeError(f"{name}: exit code {code}; see {folder}\n{log.read_text(encoding='utf-8')[-3000:]}")
    return Result(**json.loads((folder / "result.json").read_text(encoding="utf-8")))


def run_here(
    name: str, *, folder: Path, undisturbed: Path, repetition: int = 1, seeds: int, executor: str = "ray"
) -> Result:
    """Run one experiment from this process, without namespaces; arguments as of `run_in_namespaces`."""
    fault = FAULTS[name]
    s3 = s3_for(fault)
    experiment = Experiment(folder, seeds=seeds, executor=executor, nan=fault.nan, s3=s3, failing=fault.failing)
    try:
        fault.inject(experiment, repetition)
        return experiment.result(name, repetition, json.loads(undisturbed.read_text(encoding="utf-8")))
    finally:
        for process in experiment.processes:
            process.kill()
            process.wait()
        if s3 is not None:
            s3.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--undisturbed", type=Path, required=True)
    parser.add_argument("--repetition", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--executor", default="ray", choices=("ray", "local"))
    options = parser.parse_args()
    os.environ["TMPDIR"] = str(options.folder)  # Ray's files too
    if has_namespaces():
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if options.fault == "full":
        store = options.folder / "store"
        store.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STORE_BYTES}", "faults", str(store)], check=True)
    result = run_here(
        options.fault,
        folder=options.folder,
        undisturbed=options.undisturbed,
        repetition=options.repetition,
        seeds=options.seeds,
        executor=options.executor,
    )
    write_result(result, options.folder / "result.json")


if __name__ == "__main__":
    main()
