"""The same cells in this process, one at a time, without Ray."""

from __future__ import annotations

import time

import torch

from adaprob_ray.runtime.execute import Job, execute
from adaprob_ray.runtime.progress import Progress
from adaprob_ray.runtime.source import Leases
from adaprob_ray.store import Store
from adaprob_ray.sweep.plan import Plan

POLL_SECONDS = 1.0


def run(plan: Plan, job: Job, store: Store, leases: Leases, progress: Progress) -> None:
    """Work a plan off. A GPU, if this machine has one and a cell asks for a share, is used whole."""
    while not plan.exhausted():
        leases.look_again(plan)
        ready = plan.ready()
        if not ready:
            progress.update()
            time.sleep(POLL_SECONDS)
            continue
        cell = ready[0]
        plan.started(cell)
        progress.update()
        gpu = 1.0 if cell.resources.get("gpu") and torch.cuda.is_available() else 0.0
        dead = leases.dead.get(cell.key)
        plan.finished(cell, execute(cell, job, store, gpu=gpu, exclusive=True, dead=dead))
        progress.update(cell)
