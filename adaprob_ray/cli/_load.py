"""What the commands load: data sets, the cells of a sweep file, a store. Nothing here is imported before it is needed."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaprob_ray.errors import InputError, NoStore, unknown_name

if TYPE_CHECKING:
    from adaprob_ray.data.dataset import Dataset
    from adaprob_ray.store import Store
    from adaprob_ray.sweep.cell import Cell
    from adaprob_ray.sweep.plan import Plan
    from adaprob_ray.sweep.sweep import Sweep


def data_root() -> Path:
    """The folder of the data sets."""
    from adaprob_ray import catalogue

    return catalogue.data_root()


def load_datasets() -> Mapping[str, Dataset]:
    """Every data set by name, those prepared from image folders included."""
    from adaprob_ray.catalogue import DATASETS, register_prepared_folders

    register_prepared_folders(data_root())
    return DATASETS


def select_datasets(names: tuple[str, ...]) -> list[Dataset]:
    """The data sets with these names. Raises InputError, one line for each unknown name."""
    datasets = load_datasets()
    faults = [unknown_name("data set", name, datasets) for name in names if name not in datasets]
    if faults:
        raise InputError(*faults)
    return [datasets[name] for name in names]


def load_sweep(path: str) -> Sweep:
    """The sweep file, with the data sets registered that it may name. Prints a warning for each key under a former name."""
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.sweep.sweep import Sweep

    load_datasets()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # reported below, without a place in the code
        sweep = Sweep.load(path, REGISTRY)
    for line in sweep.deprecations:
        click.echo(f"warning: {path}: {line}", err=True)
    return sweep


def load_sweep_or_search(path: str, location: str) -> Sweep:
    """The sweep file; or of a search file, the sweep of all trials that the store at `location` has."""
    from adaprob_ray.catalogue import REGISTRY
    from adaprob_ray.search.search_file import SearchFile, is_search_file
    from adaprob_ray.sweep.sweep import Sweep

    if not is_search_file(path):
        return load_sweep(path)
    from adaprob_ray.runtime.search import read_search

    load_datasets()
    search, store = SearchFile.load(path, REGISTRY), open_store(location)
    cells = {} if store is None else read_search(search, store, REGISTRY).cells
    return Sweep(name=search.name, file=search.file, text=search.text, cells=cells, skipped=())


def load_cells(path: str, only: str | None, *, trials_in: str | None = None) -> tuple[Sweep, Mapping[str, Cell]]:
    """The sweep file, and its selected cells by key; with `trials_in`, a store, a search file is accepted too."""
    from adaprob_ray.sweep.select import select_cells

    sweep = load_sweep(path) if trials_in is None else load_sweep_or_search(path, trials_in)
    return sweep, sweep.cells if only is None else select_cells(sweep.cells, only)


def open_store(location: str) -> Store | None:
    """The store, if it exists. Writes nothing."""
    from adaprob_ray.store import Store

    try:
        return Store.open(location, create=False)
    except NoStore:
        return None


def load_plan(
    path: str, location: str, only: str | None, *, skip_failed: Collection[str] = (), rerun: str | None = None
) -> tuple[Sweep, Plan, Store | None]:
    """The sweep file, its selected cells planned against the store, and the store, if it exists. Writes nothing.

    Cells that meet the conditions `rerun` count as not done, and those that depend on them.
    """
    from adaprob_ray.runtime.planning import plan_against
    from adaprob_ray.sweep.select import select_to_recompute

    sweep, cells = load_cells(path, only)
    recompute = () if rerun is None else select_to_recompute(cells, rerun)
    store = open_store(location)
    return sweep, plan_against(cells, store, skip_failed=skip_failed, recompute=recompute), store
