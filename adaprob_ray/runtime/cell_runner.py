"""One cell, from lease to commit, alike in every executor: take the lease, run the stage, leave a commit or a failure."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from adaprob_ray.catalogue import register_folders
from adaprob_ray.errors import AdaprobError, CorruptArtefact, LeaseLost, NotDone, StoreError
from adaprob_ray.methods.base import derive_seed
from adaprob_ray.runtime.checkpoints import AttemptCheckpoints
from adaprob_ray.runtime.planning import AssumeExpired
from adaprob_ray.runtime.provenance import provenance
from adaprob_ray.runtime.tensorboard import TensorBoardWriter
from adaprob_ray.stages.models import StageContext, StageOutput
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Outcome

STAGES = "adaprob_ray.stages.models:STAGES"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What an executor is told beside its cells. `stages` names the table of stage functions, as module:name.

    `boards` is the local folder for TensorBoard, None for none; `run` a word for the leases.
    """

    store: str
    data_root: Path
    run: str
    tensorboard_dir: Path | None = None
    stages: str = STAGES

    @classmethod
    def start(cls, store: Store, data_root: Path, tensorboard_dir: Path | None, stages: str = STAGES) -> RunConfig:
        return cls(
            store=store.location,
            data_root=data_root,
            run=uuid.uuid4().hex[:8],
            tensorboard_dir=tensorboard_dir,
            stages=stages,
        )


def limit_threads(count: int) -> None:
    """All pools of this process to `count` threads. Sums depend on it, so it is the same in every executor."""
    torch.set_num_threads(count)
    threadpool_limits(count)


def choose_device(gpu: float) -> torch.device:
    """The card that was granted, never one that is merely visible. `gpu` is a count, so a share of memory is fenced too."""
    if gpu <= 0:
        return torch.device("cpu")
    torch.cuda.empty_cache()  # a reused process: what the last cell held is free again, and its peak forgotten
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.set_per_process_memory_fraction(min(gpu, 1.0))
    return torch.device("cuda", 0)


def _settle_randomness(cell: Cell) -> None:
    """Every generator that a stage uses is its own; the global ones are pinned too, so that nothing is inherited."""
    seed = derive_seed(cell.settings["seed"], cell.settings.get("repeat", 0), "global") % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32


def execute(
    cell: Cell, job: RunConfig, store: Store, *, gpu: float, exclusive: bool, expired_attempt: int | None = None
) -> Outcome:
    """Run one cell. Never raises for a failure of the cell: the outcome says what happened, the store keeps the log.

    `expired_attempt`: the attempt whose holder the planner found dead, if there is one.
    """
    start = time.monotonic()
    owner = f"{os.uname().nodename}:{os.getpid()}"
    watcher = None if expired_attempt is None else AssumeExpired(expired_attempt)
    try:
        attempt = store.begin(cell.key, cell.identity, owner=owner, run=job.run, watcher=watcher)
        if attempt is None:
            return Outcome("cached" if store.log(cell.key).done is not None else "leased")
    except StoreError as error:
        return Outcome("failed", time.monotonic() - start, describe(error))
    checkpoints = AttemptCheckpoints(store, attempt)
    try:
        product, facts = _produce(cell, job, store, checkpoints, gpu=gpu, exclusive=exclusive)
        for name, data in product.files.items():
            attempt.write(name, data)
        attempt.commit(facts)
    except KeyboardInterrupt:
        attempt.release()
        raise
    except LeaseLost:
        checkpoints.drop_if_done()  # the successor has dropped its own; ours may have come after
        return Outcome("leased")
    except (CorruptArtefact, NotDone) as error:
        attempt.release()
        return Outcome("inputs_corrupt", revoked=(error.key,))
    except Exception as error:
        failure = describe(error)
        with contextlib.suppress(StoreError):  # where storage is down the failure cannot be kept: the lease goes silent
            attempt.fail(failure["class"], failure["message"], traceback.format_exc())
        return Outcome("failed", time.monotonic() - start, failure)
    checkpoints.drop()
    return Outcome("done", time.monotonic() - start)


def _produce(
    cell: Cell, job: RunConfig, store: Store, checkpoints: AttemptCheckpoints, *, gpu: float, exclusive: bool
) -> tuple[StageOutput, dict[str, Any]]:
    """What the stage leaves, and the facts to commit: the stage's own, and where and with what it ran."""
    start = time.perf_counter()
    threads = int(cell.resources.get("cpu", 1))
    limit_threads(threads)
    device = choose_device(gpu)
    _settle_randomness(cell)
    where = provenance(device, threads=threads, exclusive=exclusive)
    checkpoints.provenance = where
    register_folders(job.data_root)
    with TensorBoardWriter(job.tensorboard_dir, cell) as board:
        limit = cell.resources.get("timeout_seconds")
        workspace = StageContext(
            store=store,
            data_root=job.data_root,
            device=device,
            report=board.scalars,
            deadline=None if limit is None else time.monotonic() + limit,
            checkpoints=checkpoints,
        )
        product = _stage(job.stages, cell.stage)(cell, workspace)
        facts = {**product.facts, "cell_seconds": time.perf_counter() - start, **where}
        if facts.get("run_continued_after_epochs"):  # nobody knows what ran beside the attempts before this one
            facts["exclusive"] = False
        if device.type == "cuda":
            facts["run_peak_bytes"] = torch.cuda.max_memory_allocated(device)
        board.finish(facts)
    return product, facts


def _stage(stages: str, name: str) -> Any:
    module, _, table = stages.partition(":")
    return getattr(importlib.import_module(module), table)[name]


def describe(error: Exception) -> Mapping[str, str]:
    """The class of a failure decides about another try."""
    kind = error.failure_class if isinstance(error, AdaprobError) else "code"
    if isinstance(error, torch.OutOfMemoryError):
        kind = "out_of_memory"
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return {"class": kind, "message": message[:500]}
