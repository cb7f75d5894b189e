"""Mutated sweep files and store objects, given to the commands: python -m benchmarks.fuzz

No input may cause a traceback, a command that does not end within ten seconds, an undocumented exit code, or, where it is
refused, anything written; a damaged store may neither lose a Record nor return a wrong one. Mutations are numbered: with the
same --seed, number N is the same input on every machine. Those that cause a fault are copied to --out. Images have a
command of their own: python -m benchmarks.fuzz_images
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adaprob_ray.store import Store
from benchmarks import run_command
from benchmarks.fuzz import store_objects, sweep_files

# Of this process: an input that makes a command fill the memory ends in a MemoryError, and not the machine.
MAX_ADDRESS_SPACE = 16 * 2**30
SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"


@contextmanager
def _working_folder() -> Iterator[Path]:
    """An empty folder that is the working folder of the block."""
    previous = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(previous)


class Campaign:
    """Runs the checks of one kind of input, until all are done or time is up, and counts the faults."""

    def __init__(self, kind: str, count: int, first: int, end: float, out: Path, processes: int) -> None:
        self._kind, self._numbers, self._end, self._out = kind, range(first, first + count), end, out
        self._process_every = max(1, count // processes) if processes else 0

    def run(self, check: Callable[[int, Path, bool], tuple[str, list[str]]]) -> int:
        """Call `check(number, empty folder, as_process)` for each number; the number of inputs with faults."""
        faulty = done = 0
        for number in self._numbers:
            if time.monotonic() > self._end:
                print(f"{self._kind}: time is up")
                break
            as_process = self._process_every > 0 and number % self._process_every == 0
            with _working_folder() as folder:
                title, faults = check(number, folder, as_process)
                done += 1
                if faults:
                    faulty += 1
                    copy = self._out / f"{self._kind}-{number}"
                    shutil.rmtree(copy, ignore_errors=True)
                    shutil.copytree(folder, copy, symlinks=True)
                    print(
                        f"{self._kind} {number}: {title}\n" + "\n".join(f"    {fault}" for fault in faults), flush=True
                    )
        print(f"{self._kind}: {done} of {len(self._numbers)} inputs, {faulty} with faults", flush=True)
        return faulty


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=2000, help="number of mutated sweep files")
    parser.add_argument("--objects", type=int, default=500, help="number of mutated store objects")
    parser.add_argument(
        "--processes", type=int, default=50, help="how many are given to processes of their own as well"
    )
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each kind of input")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"))
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    processes = options.processes // 2
    faulty = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-base-") as name:
        if options.sweeps:
            files = sweep_files.base_files(SWEEPS)
            empty = Store.open(Path(name) / "empty").location

            def check_sweep(number: int, folder: Path, as_process: bool) -> tuple[str, list[str]]:
                data = sweep_files.mutated(options.seed, number, files)
                return f"{len(data)} bytes", sweep_files.check(data, folder, empty, as_process=as_process)

            end = time.monotonic() + 60 * options.minutes
            faulty += Campaign("sweep", options.sweeps, options.first, end, out, processes).run(check_sweep)
        if options.objects:
            finished = store_objects.make_finished_store(Path(name))

            def check_object(number: int, folder: Path, as_process: bool) -> tuple[str, list[str]]:
                return store_objects.check(options.seed, number, finished, folder, as_process=as_process)

            end = time.monotonic() + 60 * options.minutes
            faulty += Campaign("object", options.objects, options.first, end, out, processes).run(check_object)
    return 1 if faulty else 0


if __name__ == "__main__":
    run_command(main)
