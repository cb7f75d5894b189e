"""Run a search: trials are asked as results come in, and their cells run like those of any sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from adaprob_ray.runtime.cell_runner import CATALOGUE, RunConfig
from adaprob_ray.runtime.launch import execute_plan
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.machine_resources import NO_LIMITS, Limits, check_limits
from adaprob_ray.runtime.planning import check_data, invalidate_incomplete
from adaprob_ray.runtime.search_layout import SearchLayout
from adaprob_ray.runtime.search_source import SearchSource
from adaprob_ray.runtime.tensorboard_driver import DEFAULT_OPTIONS, TensorBoardDriver, TensorBoardOptions
from adaprob_ray.search.gc_pauses import no_gc_pauses
from adaprob_ray.search.search_file import SearchFile
from adaprob_ray.search.study import Study
from adaprob_ray.store import Store
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.registry import Registry


@dataclass(frozen=True)
class SearchResult:
    """The search as it ended, where TensorBoard files are, and a line for each cell that had to be computed again."""

    source: SearchSource
    tensorboard_dir: Path
    recomputed: tuple[str, ...]


def studies_of(search: SearchFile, registry: Registry) -> list[Study]:
    """The studies of a search file. Raises InputError if a method declines to run at one of its points."""
    return [Study.create(search, target, registry) for target in search.targets]


def read_search(search: SearchFile, store: Store, registry: Registry) -> SearchSource:
    """The trials and results that the store has. Nothing is asked, and nothing is written."""
    return SearchSource(studies_of(search, registry), store, Leases(store), trials=search.section.trials, ask=False)


def check_search(
    search: SearchFile, data_root: Path, registry: Registry, limits: Limits = NO_LIMITS, address: str | None = None
) -> None:
    """Before a store is created: check the data that trials will read, and the resources. Raises InputError."""
    for study in studies_of(search, registry):
        plan = Plan(study.base.cells)
        check_data(plan, data_root, registry)
        check_limits(plan, limits, address)


def run_search(
    search: SearchFile,
    store: Store,
    *,
    data_root: Path,
    executor: str = "ray",
    address: str | None = None,
    limits: Limits = NO_LIMITS,
    registry: str = CATALOGUE,
    warn: Callable[[str], None] = lambda line: None,
    tensorboard: TensorBoardOptions = DEFAULT_OPTIONS,
) -> SearchResult:
    """Ask for trials and execute their cells until each study has all its trials.

    Args:
        search: The search file.
        store: Where trials and results are.
        data_root: Folder of the data sets.
        executor: "ray", or "local" for this process, one cell at a time.
        address: Of a Ray cluster; None starts a private local Ray.
        limits: What a private Ray or this process may use of this machine.
        registry: Where workers import the registry from, as module:name.
        warn: Gets one line for each warning about the cluster, before any cell starts.
        tensorboard: What is written for TensorBoard.

    Returns:
        The search as it ended.

    Raises:
        InputError: Before any work, when data are missing, resources cannot be had, or a check of the cluster fails.
        KeyboardInterrupt: If the run was interrupted; leases are released.
    """
    config = RunConfig.create(store, data_root.absolute(), None, registry)
    loaded = config.load_registry()
    leases = Leases(store)
    studies = studies_of(search, loaded)
    known = SearchSource(studies, store, leases, trials=search.section.trials, ask=False)
    recomputed = tuple(invalidate_incomplete(known.cells, store))
    with no_gc_pauses():
        source = SearchSource(studies, store, leases, trials=search.section.trials)
        check_data(source, data_root, loaded)
        driver = TensorBoardDriver(store, search.name, source.cells, tensorboard, warn, layout=SearchLayout(source))
        config = replace(config, **driver.run_config())
        execute_plan(
            source, config, store, leases, driver, executor=executor, address=address, limits=limits, warn=warn
        )
    return SearchResult(source, driver.folder, recomputed)
