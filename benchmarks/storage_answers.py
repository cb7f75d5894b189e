"""A sweep on a storage whose first answer to each write is wrong: nothing is lost, done twice, or wrong.

    python -m benchmarks.storage_answers                        all answers, both executors, at least 200 cells each
    python -m benchmarks.storage_answers --seeds 2 --executor local --storage s3 --answer 409

The storages are moto's S3 server behind a proxy, and a folder whose writes fail as those of NFS do. Exits with 1 unless each
count is 0.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaprob_ray.runtime import launch
from adaprob_ray.runtime.cell_runner import CATALOGUE
from adaprob_ray.runtime.tensorboard_driver import TensorBoardOptions
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from benchmarks import run_command
from benchmarks.faults.faulty_folder import FOLDER_ANSWERS, answering
from benchmarks.faults.proxy import BUCKET, Answer, FaultyS3
from benchmarks.faults.sweep import comparable_records, sweep_cells, sweep_text, undisturbed_records

ANSWERS: Mapping[str, Answer] = {
    "409": Answer(409),
    "412": Answer(412),
    "429": Answer(429),
    "500": Answer(500),
    "503": Answer(503),
    "no answer": Answer(),
    "409 though written": Answer(409, forward=True),
    "412 though written": Answer(412, forward=True),
    "500 though written": Answer(500, forward=True),
    "504 though written": Answer(504, forward=True),
    "no answer though written": Answer(forward=True),
}
SEEDS = 17  # 12 cells each


@dataclass(frozen=True, kw_only=True)
class Result:
    """Cells of a sweep, how many requests were answered wrongly, and what came of it.

    lost: cells that are not done. twice: cells with a second attempt. wrong: Records that differ from an undisturbed run's.
    """

    cells: int
    answered: int
    lost: int
    twice: int
    wrong: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing was lost, done twice or wrong."""
        return not (self.lost or self.twice or self.wrong)


def run_with_answer(
    server: FaultyS3, answer: Answer, expected: Mapping[str, Mapping[str, Any]], *, seeds: int, executor: str
) -> Result:
    """Run the sweep while the first try of each write gets `answer`. AWS_* must lead to the proxy.

    Args:
        server: The storage.
        answer: What it answers.
        expected: The Records of an undisturbed run.
        seeds: The number of seeds.
        executor: "local" or "ray".

    Returns:
        What came of it.
    """
    store = Store.open(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    # Not the objects that are put again and again: an answer for each path, and only for the first request.
    server.tell(lambda command, path, count: answer if command == "PUT" and count == 0 and "/cells/" in path else None)
    cells = _run(store, seeds, executor, CATALOGUE)
    answered = server.answered
    server.tell(lambda command, path, count: None)
    return _result(store, cells, answered, expected)


def run_in_folder(
    folder: Path, name: str, expected: Mapping[str, Mapping[str, Any]], *, seeds: int, executor: str
) -> Result:
    """As `run_with_answer`, in an empty folder that gives the answer of this name."""
    store = Store.open(folder / "store")
    counts = folder / "answers"
    with answering(name, counts):
        cells = _run(store, seeds, executor, "benchmarks.faults.faulty_folder:REGISTRY")
    return _result(store, cells, counts.stat().st_size, expected)


def _run(store: Store, seeds: int, executor: str, registry: str) -> Mapping[str, Cell]:
    cells = sweep_cells(sweep_text(seeds=seeds))
    launch.run(
        cells,
        store,
        sweep="answers",
        data_root=Path("nowhere"),
        executor=executor,
        registry=registry,
        tensorboard=TensorBoardOptions(enabled=False),
    )
    return cells


def _result(
    store: Store, cells: Mapping[str, Cell], answered: int, expected: Mapping[str, Mapping[str, Any]]
) -> Result:
    logs = store.survey()
    records = comparable_records(store, cells)
    return Result(
        cells=len(cells),
        answered=answered,
        lost=sum(key not in logs or logs[key].done is None for key in cells),
        twice=sum(len(logs[key].leases) > 1 for key in cells if key in logs),
        wrong=sum(records.get(key) != record for key, record in expected.items()),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--executor", choices=["local", "ray"], action="append")
    parser.add_argument("--storage", choices=["s3", "folder"], action="append")
    parser.add_argument("--answer", choices=[*ANSWERS, *FOLDER_ANSWERS], action="append")
    options = parser.parse_args()
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        expected = undisturbed_records(Path(folder), seeds=options.seeds)
    server = FaultyS3()
    os.environ |= {"AWS_ENDPOINT_URL": server.endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    for executor in options.executor or ["local", "ray"]:
        for storage, names in (("s3", ANSWERS), ("folder", FOLDER_ANSWERS)):
            if storage not in (options.storage or ["s3", "folder"]):
                continue
            for name in names:
                if name not in (options.answer or names):
                    continue
                if storage == "s3":
                    result = run_with_answer(server, ANSWERS[name], expected, seeds=options.seeds, executor=executor)
                else:
                    with tempfile.TemporaryDirectory() as folder:
                        result = run_in_folder(Path(folder), name, expected, seeds=options.seeds, executor=executor)
                counts = f"{result.lost} lost, {result.twice} twice, {result.wrong} wrong"
                print(
                    f"{executor:5} {storage:6} {name:24} {result.cells} cells, {result.answered} answers: {counts}",
                    flush=True,
                )
                totals.update(sound=result.is_sound, runs=1)
    server.close()
    print(f"{totals['sound']} of {totals['runs']} runs are sound")
    return 0 if totals["sound"] == totals["runs"] else 1


if __name__ == "__main__":
    run_command(main)
