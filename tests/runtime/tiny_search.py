"""A search whose cells take no time, run in this process or by the command, and what a store says of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from search_tables import STUBS
from search_world import SEARCH, parse
from small_world import with_value
from tiny_sweep import HERE

from adaprob_ray.errors import Diverged, Failure
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.search import SearchResult, run_search, studies_of
from adaprob_ray.runtime.search_source import SearchSource
from adaprob_ray.stages.base import StageContext
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome


def space() -> dict[str, Any]:
    return {"lr": {"log": [1e-4, 1.0]}, "epochs": {"int": [1, 10]}}


# More trials than the sampler draws at random, so that results decide about the last.
TINY_SEARCH: Mapping[str, Any] = {
    **SEARCH,
    "name": "tiny_search",
    "methods": {"retrain": {}, "finetune": {}, "scrub": {}},
    "metrics": ["errors"],
    "search": {
        "trials": 14,
        "seeds": [11, 12],
        "rule": "oracle",
        "lag": 3,
        "space": {"finetune": space(), "scrub": space()},
    },
}
# Retrained models, the original and their evaluations for two seeds; and for each trial and seed a model and its evaluation.
CELLS = 2 * 4 + 2 * 14 * 2 * 2
TABLE = "search_tables:STUBS"


def changed(**search: Any) -> dict[str, Any]:
    """The search with other values in its section."""
    document = dict(TINY_SEARCH)
    for name, value in search.items():
        document = with_value(document, f"search.{name}", value)
    return document


def search(store: Store, document: Mapping[str, Any] = TINY_SEARCH) -> SearchResult:
    """Run in this process."""
    return run_search(parse(document), store, data_root=Path("nowhere"), executor="local", registry=TABLE)


def stored_trials(store: Store) -> dict[str, bytes]:
    """Every trial file, by path."""
    paths = sorted(entry["path"] for entry in store.objects.list("searches") if "/trials/" in entry["path"])
    return {path: store.objects.get(path) or b"" for path in paths}


def results(source: SearchSource) -> list[tuple[Any, ...]]:
    """Number, parameters, state and values of every trial."""
    return [
        (str(progress.study.target), trial.number, dict(trial.params), trial.state, trial.values, trial.seed_values)
        for progress in source.studies
        for trial in progress.trials
    ]


def states(source: SearchSource) -> list[list[str]]:
    """The states of each study's trials."""
    return [[trial.state for trial in progress.trials] for progress in source.studies]


def source_of(store: Store, document: Mapping[str, Any] = TINY_SEARCH, **options: Any) -> SearchSource:
    file = parse(document)
    return SearchSource(studies_of(file, STUBS), store, Leases(store), trials=file.section.trials, **options)


def simulate(source: SearchSource, store: Store, slots: int, rng: random.Random, *, cells: int = 10**6) -> None:
    """Execute the cells, or so many of them, up to `slots` at once, ending them in a random order."""
    running: list[Cell] = []
    while not source.exhausted() and len(source.executed) < cells:
        for cell in source.ready()[: slots - len(running)]:
            source.started(cell)
            running.append(cell)
        cell = running.pop(rng.randrange(len(running)))
        source.finished(cell, execute(cell, store))


def execute(cell: Cell, store: Store) -> Outcome:
    """The stub of one cell, without what a worker does around it."""
    attempt = store.begin(cell.key, cell.identity, owner="test", run="run")
    assert attempt is not None
    context = StageContext(store=store, registry=STUBS, data_root=Path(), device=None, report=print)  # type: ignore[arg-type]
    try:
        output = STUBS.stages[cell.stage].run(cell, context)
    except Diverged as error:
        failure = Failure.from_error(error)
        attempt.fail(failure)
        return Outcome("failed", failure=failure)
    attempt.commit(output.facts)
    return Outcome("done", seconds=1.0)


@dataclass
class SearchCommand:
    """`adaprob-ray search` on the stub stages, in a process group of its own."""

    folder: Path
    document: Mapping[str, Any] = field(default_factory=lambda: TINY_SEARCH)

    def __post_init__(self) -> None:
        self.store, self.marks = self.folder / "store", self.folder / "marks"
        self.marks.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "search.yaml"
        self.file.write_text(yaml.safe_dump(dict(self.document), sort_keys=False))

    def start(self, *more: str, **environment: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(HERE / "driver.py"), TABLE, "search", str(self.file), "--store", str(self.store)]
        return subprocess.Popen(
            [*command, "--executor", "local", *more],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, "ADAPROB_TEST_MARKS": str(self.marks), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *more: str, **environment: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = self.start(*more, **environment)
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err

    def opened(self) -> Store:
        return Store.open(self.store, create=False)
