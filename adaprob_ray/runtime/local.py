"""The same cells in this process, one at a time, without Ray."""

from __future__ import annotations

import time

import torch

from adaprob_ray.runtime.cell_runner import RunConfig, execute
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.store import Store
from adaprob_ray.sweep.plan import Plan

POLL_SECONDS = 1.0


def run(plan: Plan, config: RunConfig, store: Store, leases: Leases, progress: ProgressReporter) -> None:
    """Work a plan off. A GPU, if this machine has one and a cell asks for a share, is used whole."""
    while not plan.exhausted():
        leases.refresh_leases(plan)
        ready = plan.ready()
        if not ready:
            progress.update()
            time.sleep(POLL_SECONDS)
            continue
        cell = ready[0]
        plan.started(cell)
        progress.update()
        gpu = 1.0 if cell.resources.gpu and torch.cuda.is_available() else 0.0
        expired = leases.expired.get(cell.key)
        plan.finished(cell, execute(cell, config, store, gpu=gpu, exclusive=True, expired_attempt=expired))
        progress.update(cell)
