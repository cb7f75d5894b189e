"""One cell, from lease to commit, in the same way in every executor."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from adaprob_ray.catalogue import register_prepared_folders
from adaprob_ray.errors import CorruptArtefact, Failure, LeaseLost, NoArtefact, NotDone, StoreError
from adaprob_ray.runtime.allocator import reuse_freed_memory
from adaprob_ray.runtime.attempt_checkpoints import AttemptCheckpoints
from adaprob_ray.runtime.device import limit_threads, seed_global_generators, select_device
from adaprob_ray.runtime.method_source import source_facts
from adaprob_ray.runtime.provenance import provenance
from adaprob_ray.runtime.tensorboard import TensorBoardWriter, file_mark
from adaprob_ray.runtime.tensorboard_layout import TensorBoardRun
from adaprob_ray.runtime.tensorboard_mirror import CellUpload
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.store import Store
from adaprob_ray.store.lease_watcher import AssumeExpired
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.user_code.folders import look_in, looked_in
from adaprob_ray.user_code.source import check_sources, loaded_sources

CATALOGUE = "adaprob_ray.catalogue:REGISTRY"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What an executor gets besides its cells; it is sent to every worker.

    store: location of the store.
    run: identifies this run in its leases.
    tensorboard_dir: folder of the store for TensorBoard files, which every worker sees; None for none.
    tensorboard_sweep: name of the sweep if the store is at a URI: cells send their TensorBoard files there.
    epoch_metrics: whether an unlearning shows metrics after each epoch.
    tsne: whether an evaluation shows an embedding of the outputs.
    registry: where workers import the registry from, as module:name.
    folders: in which workers look for modules of the user.
    sources: digests of these modules, by name, as the cells were planned with.
    """

    store: str
    data_root: Path
    run: str
    tensorboard_dir: Path | None = None
    tensorboard_sweep: str | None = None
    epoch_metrics: bool = True
    tsne: bool = False
    registry: str = CATALOGUE
    folders: tuple[str, ...] = ()
    sources: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        store: Store,
        data_root: Path,
        tensorboard_dir: Path | None,
        registry: str = CATALOGUE,
        *,
        tensorboard_sweep: str | None = None,
        epoch_metrics: bool = True,
        tsne: bool = False,
    ) -> RunConfig:
        """The configuration of a new run."""
        return cls(
            store=store.location,
            data_root=data_root,
            run=uuid.uuid4().hex[:8],
            tensorboard_dir=tensorboard_dir,
            tensorboard_sweep=tensorboard_sweep,
            epoch_metrics=epoch_metrics,
            tsne=tsne,
            registry=registry,
            folders=looked_in(),
            sources=loaded_sources(),
        )

    def load_registry(self) -> Registry:
        """Import the registry that `registry` names."""
        module, _, name = self.registry.partition(":")
        registry: Registry = getattr(importlib.import_module(module), name)
        look_in(*self.folders)
        return registry

    def load_names(self, registry: Registry, cell: Cell) -> None:
        """Import what a cell names by path. Raises InputError if this fails, or if it is not what the run started with."""
        registry.load(cell)
        check_sources(self.sources)


def execute(
    cell: Cell,
    config: RunConfig,
    store: Store,
    *,
    gpu: float,
    exclusive: bool,
    expired_attempt: int | None = None,
    runs: tuple[TensorBoardRun, ...] = (),
) -> Outcome:
    """Run one cell. A failure of the cell is never raised: the outcome tells it, and the store keeps the log.

    Args:
        cell: whose lease is taken; nothing is run if it is done or another run holds it.
        config: of the run.
        store: where the parents' artefacts are read and those of the cell are written.
        gpu: GPUs granted, 0 for the CPU.
        exclusive: whether no other cell of the sweep runs on this host at the same time, as far as the run knows.
        expired_attempt: the attempt whose holder the planner knows to be dead, None if there is none.
        runs: of TensorBoard, that the cell writes to; by default one of its own.

    Returns:
        How it ended.

    Raises:
        KeyboardInterrupt: if it was interrupted; the lease is released.
    """
    start = time.monotonic()
    owner = f"{os.uname().nodename}:{os.getpid()}"
    watcher = None if expired_attempt is None else AssumeExpired(expired_attempt)
    try:
        attempt = store.begin(cell.key, cell.identity, owner=owner, run=config.run, gpu=gpu, watcher=watcher)
        if attempt is None:
            return Outcome("cached" if store.log(cell.key).done is not None else "leased")
    except StoreError as error:
        return Outcome("failed", time.monotonic() - start, Failure.from_error(error))
    checkpoints = AttemptCheckpoints(store, attempt)
    writer = _tensorboard_writer(cell, config, store, runs or (TensorBoardRun(cell.title),))
    try:
        output, facts = _run_stage(cell, config, store, checkpoints, writer, gpu=gpu, exclusive=exclusive)
        for name, data in output.files.items():
            attempt.write(name, data)
        attempt.commit(facts)
    except KeyboardInterrupt:
        attempt.release()
        raise
    except LeaseLost:
        checkpoints.drop_if_done()  # the successor has dropped its own; this attempt may have saved one after that
        return Outcome("leased")
    except (CorruptArtefact, NotDone) as error:
        attempt.release()
        return Outcome("inputs_corrupt", revoked=(error.key,))
    except NoArtefact as error:  # the parent was executed meanwhile, by a run of a sweep that keeps less
        attempt.release()
        store.revoke(error.key, error.number, f"its {error.name} is needed now and was not kept")
        return Outcome("inputs_corrupt", revoked=(error.key,))
    except Exception as error:
        failure = Failure.from_error(error)
        with contextlib.suppress(StoreError):  # where storage is down, the lease expires instead
            attempt.fail(replace(failure, traceback=traceback.format_exc()))
        return Outcome("failed", time.monotonic() - start, failure, display_error=writer.error)
    checkpoints.drop()
    return Outcome(
        "done",
        time.monotonic() - start,
        peak_bytes=facts.get("run_peak_bytes"),
        card_bytes=facts.get("run_card_bytes"),
        display_error=writer.error,
    )


def _tensorboard_writer(
    cell: Cell, config: RunConfig, store: Store, runs: tuple[TensorBoardRun, ...]
) -> TensorBoardWriter:
    sweep, folders = config.tensorboard_sweep, [run.folder for run in runs]
    return TensorBoardWriter(
        config.tensorboard_dir,
        cell,
        runs,
        None if sweep is None else partial(CellUpload, store, sweep, folders, file_mark(cell)),
        umask=store.objects.umask,
        epoch_metrics=config.epoch_metrics,
        tsne=config.tsne,
    )


def _run_stage(
    cell: Cell,
    config: RunConfig,
    store: Store,
    checkpoints: AttemptCheckpoints,
    writer: TensorBoardWriter,
    *,
    gpu: float,
    exclusive: bool,
) -> tuple[StageOutput, dict[str, Any]]:
    """The output of the stage, and the facts to commit: those of the stage, and where and with what it ran."""
    start = time.perf_counter()
    with writer:
        registry = config.load_registry()
        config.load_names(registry, cell)
        reuse_freed_memory()
        limit_threads(cell.resources.cpu)
        device = select_device(gpu)
        seed_global_generators(cell)
        where = provenance(device, threads=cell.resources.cpu, exclusive=exclusive)
        checkpoints.provenance = where
        register_prepared_folders(config.data_root)
        limit = cell.resources.timeout_seconds
        context = StageContext(
            store=store,
            registry=registry,
            data_root=config.data_root,
            device=device,
            report=writer.report,
            display=writer if writer.is_open else None,
            deadline=None if limit is None else time.monotonic() + limit,
            checkpoints=checkpoints,
        )
        source = source_facts(cell, registry)
        output: StageOutput = registry.stages[cell.stage].run(cell, context)
        facts: dict[str, Any] = {**output.facts, "cell_seconds": time.perf_counter() - start, **where, **source}
        facts |= registry.network_facts(cell.settings)
        if facts.get("run_continued_after_epochs"):  # nobody knows what ran at the same time as the earlier attempts
            facts["exclusive"] = False
        if device.type == "cuda":
            facts["run_peak_bytes"] = torch.cuda.max_memory_allocated(device)
            facts["run_card_bytes"] = torch.cuda.get_device_properties(device).total_memory
        writer.finish(output.facts)
    return output, facts
